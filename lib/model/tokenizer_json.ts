import { RubricateError } from "../errors";
import { JsonLimit } from "../files/json";
import { limits } from "../limits";
import type { Steps } from "../steps";
import { MergeTable } from "./bpe";
import {
  afterBlanks,
  type Extent,
  kindOf,
  type Members,
  memberOf,
  membersOf,
  namedIn,
  parseInPieces,
  requireShort,
  runBytes,
  valueAt,
  valuesIn,
} from "./json_pieces";
import { TokenTable } from "./token_table";

export type Json = Record<string, unknown>;

/** What tokenizer.json says. */
export interface TokenizerDocument {
  /** Without `model.vocab` and `model.merges` where these are in the tables. */
  readonly document: Json;
  /** The tables of a plain byte-pair encoding, which @huggingface/tokenizers is not asked to build. */
  readonly bpe: { readonly vocabulary: TokenTable; readonly merges: MergeTable } | undefined;
}

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** An object whose long members are still text. */
interface Opened {
  readonly known: Json;
  readonly long: ReadonlyMap<string, Extent>;
}

/** Members of the document, and of its model: a real one has some ten. */
const maxMembers = 1024;

/** Reads an object's members but for some, of which only the place is found. */
function* opened(bytes: Buffer, value: Extent, left: readonly string[]): Steps<Opened> {
  const known: Json = {};
  const long = new Map<string, Extent>();
  for (const run of (yield* membersOf(bytes, value, 1, maxMembers)).runs) {
    const member = memberOf(bytes, run);
    long.delete(member.name); // the last of several counts
    if (left.includes(member.name) && kindOf(bytes, member.value) !== "other") long.set(member.name, member.value);
    else
      Object.defineProperty(known, member.name, {
        value: yield* parseInPieces(bytes, member.value),
        writable: true,
        enumerable: true,
        configurable: true,
      });
    if (long.has(member.name)) delete known[member.name];
    yield;
  }
  return { known, long };
}

/**
 * Parses tokenizer.json in steps, the vocabulary and the merges of a byte-pair encoding into tables.
 * @param file what errors call it
 * @throws {RubricateError} ERR_TOKENIZER where it is malformed
 * @throws {Error} where a merge names a token that the vocabulary lacks
 */
export function* parseTokenizerJson(bytes: Buffer, file: string): Steps<TokenizerDocument> {
  const fail = (what: string) => new RubricateError("ERR_TOKENIZER", `${file} ${what}`);
  try {
    const whole = { start: afterBlanks(bytes, 0), end: bytes.length };
    if (kindOf(bytes, whole) !== "object") {
      if (bytes.length <= reportedBytes) valueAt(bytes, whole);
      throw fail("does not hold a JSON object");
    }
    const root = yield* opened(bytes, whole, ["model"]);
    const model = root.long.get("model");
    if (!model || kindOf(bytes, model) !== "object") throw fail("has no `model` object");
    const { known, long } = yield* opened(bytes, model, ["vocab", "merges"]);
    const document: Json = { ...root.known, model: known };
    const vocab = long.get("vocab");
    const merges = long.get("merges");
    if (!vocab) throw fail("has no `model.vocab`");
    if (known.type !== "BPE") {
      for (const [name, extent] of long) known[name] = yield* parseInPieces(bytes, extent, limits.vocabularyValues);
      return { document, bpe: undefined };
    }
    if (kindOf(bytes, vocab) !== "object") throw fail("has no object `model.vocab`");
    if (!merges || kindOf(bytes, merges) !== "array") throw fail("has no `model.merges`");
    if (known.end_of_word_suffix || known.continuing_subword_prefix) {
      known.vocab = yield* parseInPieces(bytes, vocab, limits.vocabularyValues);
      known.merges = yield* parseInPieces(bytes, merges, limits.vocabularyValues);
      if (!Object.values(known.vocab as Json).every(isTokenId)) throw fail(badId);
      return { document, bpe: undefined };
    }
    const vocabulary = yield* tableOf(bytes, yield* membersOf(bytes, vocab, runBytes), fail);
    return { document, bpe: { vocabulary, merges: yield* mergesOf(bytes, merges, vocabulary) } };
  } catch (cause) {
    if (cause instanceof JsonLimit) throw fail(`cannot be used: ${cause.message}`);
    if (!(cause instanceof SyntaxError)) throw cause;
    throw fail(`is not valid JSON: ${reasonOf(bytes) ?? cause.message}`);
  }
}

const badId = "has a token whose id is not an integer in [0, 2^24)";

/** An absurd id would make tables of that length. */
function isTokenId(id: unknown): id is number {
  return Number.isInteger(id) && (id as number) >= 0 && (id as number) < 1 << 24;
}

/** A file that is parsed once more to say where it is wrong. */
const reportedBytes = 1 << 20;

/** What `JSON.parse` finds wrong with the whole: it knows better where. */
function reasonOf(bytes: Buffer): string | undefined {
  if (bytes.length > reportedBytes) return undefined;
  try {
    JSON.parse(bytes.toString("utf8"));
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function* tableOf(bytes: Buffer, members: Members, fail: (what: string) => Error): Steps<TokenTable> {
  const table = new TokenTable(members.count);
  for (const run of members.runs) {
    requireShort(run);
    for (const [token, id] of namedIn(bytes, run)) {
      if (!isTokenId(id)) throw fail(badId);
      table.add(token, id);
    }
    yield;
  }
  return table;
}

function* mergesOf(bytes: Buffer, extent: Extent, vocabulary: TokenTable): Steps<MergeTable> {
  const members = yield* membersOf(bytes, extent, runBytes);
  const table = new MergeTable(members.count);
  for (const run of members.runs) {
    requireShort(run);
    for (const merge of valuesIn(bytes, run)) table.add(merge as string | [string, string], vocabulary);
    yield;
  }
  return table;
}

import { invalid, oneLine, RubricateError } from "../errors";
import { JsonLimit, type JsonObject } from "../files/json";
import { limits } from "../limits";
import type { Steps } from "../steps";
import { MergeTable } from "./bpe_tables";
import {
  afterBlanks,
  type Extent,
  kindOf,
  type Members,
  memberOf,
  membersOf,
  namedIn,
  parseInPieces,
  runBytes,
  valueAt,
  valuesIn,
} from "./json_pieces";
import { checkAddedToken } from "./schema";
import { TokenTable } from "./token_table";

/** What tokenizer.json says. */
export interface TokenizerDocument {
  /** Without `model.vocab` and `model.merges`. */
  readonly document: JsonObject;
  /** The tables of the byte-pair encoding, which @huggingface/tokenizers is not asked to build. */
  readonly bpe: { readonly vocabulary: TokenTable; readonly merges: MergeTable };
}

/** An object whose long members are still text. */
interface Opened {
  readonly known: JsonObject;
  readonly long: ReadonlyMap<string, Extent>;
}

/** Members of the document, and of its model: a real one has some ten. */
const maxMembers = 1024;

/** Reads an object's members but for some, of which only the place is found. */
function* opened(bytes: Buffer, value: Extent, left: readonly string[], file: string): Steps<Opened> {
  let parsed = 0;
  const known: JsonObject = {};
  const long = new Map<string, Extent>();
  for (const run of (yield* membersOf(bytes, value, 1, maxMembers)).runs) {
    const member = memberOf(bytes, run);
    long.delete(member.name); // the last of several counts
    if (left.includes(member.name) && kindOf(bytes, member.value) !== "other") long.set(member.name, member.value);
    else {
      parsed += member.value.end - member.value.start;
      if (parsed > limits.tokenizerPartsBytes)
        throw invalid(
          `the size of ${file} without its tokens and merges`,
          `at most ${limits.tokenizerPartsBytes} bytes`,
          parsed,
          "ERR_TOKENIZER",
        );
      Object.defineProperty(known, member.name, {
        value: yield* parseInPieces(bytes, member.value),
        writable: true,
        enumerable: true,
        configurable: true,
      });
    }
    if (long.has(member.name)) delete known[member.name];
    yield;
  }
  return { known, long };
}

/**
 * Parses tokenizer.json in steps, the vocabulary and the merges into tables.
 * @param file what errors call it
 * @throws {RubricateError} ERR_TOKENIZER where it is malformed or its model is not a byte-pair encoding
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
    const root = yield* opened(bytes, whole, ["model", "added_tokens"], file);
    const model = root.long.get("model");
    if (!model || kindOf(bytes, model) !== "object") throw fail("has no `model` object");
    const { known, long } = yield* opened(bytes, model, ["vocab", "merges"], file);
    const document: JsonObject = { ...root.known, model: known };
    const added = root.long.get("added_tokens");
    if (added) document.added_tokens = yield* addedTokensOf(bytes, added, file);
    const vocab = long.get("vocab");
    const merges = long.get("merges");
    if (!vocab) throw fail("has no `model.vocab`");
    // Files of 2019 have no type; only a byte-pair encoding has merges.
    if (known.type !== "BPE" && !(known.type === undefined && merges))
      throw invalid(`model.type in ${file}`, '"BPE"', known.type, "ERR_TOKENIZER");
    if (kindOf(bytes, vocab) !== "object") throw fail("has no object `model.vocab`");
    if (!merges || kindOf(bytes, merges) !== "array") throw fail("has no `model.merges`");
    const vocabulary = yield* tableOf(bytes, vocab, file);
    return { document, bpe: { vocabulary, merges: yield* mergesOf(bytes, merges, vocabulary, file) } };
  } catch (cause) {
    if (cause instanceof JsonLimit) throw fail(`cannot be used: ${cause.message}`);
    if (!(cause instanceof SyntaxError)) throw cause;
    throw fail(`is not valid JSON: ${oneLine(reasonOf(bytes) ?? cause.message)}`);
  }
}

/** Bytes of the shortest entry of a vocabulary, and of the shortest merge, with their commas. */
const leastEntry = 5;
const leastMerge = 6;

/** Tables are made for as many entries as there are commas, so that these must be possible. */
function requireRoom(count: number, { start, end }: Extent, least: number, where: string): void {
  if (count * least > end - start + least)
    throw new RubricateError("ERR_TOKENIZER", `Expected entries of at least ${least} bytes for ${where}`);
}

/**
 * One more than the largest id that is accepted: tables are as long as the largest id.
 * @param tokens how many there are
 */
export function idLimit(tokens: number): number {
  return Math.min(limits.tokenId + 1, limits.unusedTokenIds + 8 * tokens);
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

/** Runs of members, none of which is too long to be parsed at once. */
function* shortRuns(bytes: Buffer, extent: Extent, where: string): Steps<Members> {
  const members = yield* membersOf(bytes, extent, runBytes);
  for (const { start, end } of members.runs)
    if (end - start > runBytes + limits.tokenizerEntryBytes)
      throw new RubricateError(
        "ERR_TOKENIZER",
        `Expected entries of at most ${limits.tokenizerEntryBytes} bytes for ${where} but received a longer one`,
      );
  return members;
}

function* addedTokensOf(bytes: Buffer, extent: Extent, file: string): Steps<JsonObject[]> {
  if (kindOf(bytes, extent) !== "array") throw invalid(`added_tokens in ${file}`, "a list", {}, "ERR_TOKENIZER");
  const { count, runs } = yield* shortRuns(bytes, extent, `added_tokens in ${file}`);
  if (count > limits.addedTokens)
    throw invalid(`the number of added tokens in ${file}`, `at most ${limits.addedTokens}`, count, "ERR_TOKENIZER");
  const tokens: JsonObject[] = [];
  for (const run of runs) {
    for (const token of valuesIn(bytes, run)) {
      checkAddedToken(token, `added_tokens[${tokens.length}]`, file);
      tokens.push(token);
    }
    yield;
  }
  return tokens;
}

function* tableOf(bytes: Buffer, extent: Extent, file: string): Steps<TokenTable> {
  const members = yield* shortRuns(bytes, extent, `model.vocab in ${file}`);
  requireRoom(members.count, extent, leastEntry, `model.vocab in ${file}`);
  const table = new TokenTable(members.count);
  const largest = idLimit(members.count);
  for (const run of members.runs) {
    for (const [token, id] of namedIn(bytes, run)) {
      if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= largest)
        throw invalid(`an id of model.vocab in ${file}`, `an integer in [0, ${largest})`, id, "ERR_TOKENIZER");
      if (token.length > limits.tokenCharacters)
        throw invalid(
          `the length of a token in ${file}`,
          `at most ${limits.tokenCharacters}`,
          token.length,
          "ERR_TOKENIZER",
        );
      table.add(token, id as number);
    }
    yield;
  }
  return table;
}

function* mergesOf(bytes: Buffer, extent: Extent, vocabulary: TokenTable, file: string): Steps<MergeTable> {
  const members = yield* shortRuns(bytes, extent, `model.merges in ${file}`);
  requireRoom(members.count, extent, leastMerge, `model.merges in ${file}`);
  const table = new MergeTable(members.count);
  for (const run of members.runs) {
    for (const merge of valuesIn(bytes, run)) {
      if (!isMerge(merge))
        throw invalid(
          `an entry of model.merges in ${file}`,
          '"left right" or ["left", "right"]',
          merge,
          "ERR_TOKENIZER",
        );
      table.add(merge, vocabulary);
    }
    yield;
  }
  return table;
}

function isMerge(merge: unknown): merge is string | [string, string] {
  if (typeof merge === "string") return merge.indexOf(" ") > 0;
  return Array.isArray(merge) && merge.length === 2 && merge.every((token) => typeof token === "string");
}

/** Reads the documents of a tokenizer: tokens and merges go into tables, and of the rest what is used is parsed. */
import { escaped, invalid, oneLine, RubricateError } from "../errors";
import { isObject, type JsonObject } from "../files/json";
import { JsonLimit } from "../files/json_shape";
import { limits } from "../limits";
import type { AddedTokenList } from "./added_list";
import { MergeTable } from "./bpe_tables";
import {
  afterBlanks,
  checkInPieces,
  type Extent,
  eachRun,
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
import type { SpecialTokens } from "./special_tokens";
import { idLimit, TokenTable } from "./token_table";
import { PieceTable } from "./unigram_pieces";

/** What tokenizer.json says, except for its added tokens. */
interface TokenizerDocument {
  /** Without `model.vocab`, `model.merges` and `added_tokens`. */
  readonly document: JsonObject;
  readonly vocabulary: TokenTable;
  readonly merges: MergeTable;
  /** Pieces of a unigram model, which has no merges. */
  readonly pieces?: PieceTable;
}

/** An object whose long members are still text. */
interface Opened {
  readonly known: JsonObject;
  readonly long: ReadonlyMap<string, Extent>;
}

/** What is read of an object. */
interface Wanted {
  /** Members of which only the place is found, where they are objects or arrays. */
  readonly left: readonly string[];
  /** Bytes of all others. */
  readonly most?: number;
  /** Whether one of the others is kept. Without this, all are. */
  readonly keeps?: (name: string) => boolean;
}

/** Members of the document, and of its model: a real one has some ten. */
const maxMembers = 1024;

function opened(bytes: Buffer, value: Extent, { left, most, keeps }: Wanted, file: string): Opened {
  let parsed = 0;
  const known: JsonObject = {};
  const long = new Map<string, Extent>();
  for (const run of membersOf(bytes, value, 1, maxMembers).runs) {
    const member = memberOf(bytes, run);
    long.delete(member.name); // the last of several counts
    delete known[member.name];
    if (left.includes(member.name) && kindOf(bytes, member.value) !== "other") {
      long.set(member.name, member.value);
      continue;
    }
    parsed += member.value.end - member.value.start;
    if (most !== undefined && parsed > most)
      throw invalid(
        `the size of ${file} without its tokens and merges`,
        `at most ${most} bytes`,
        parsed,
        "ERR_TOKENIZER",
      );
    if (keeps && !keeps(member.name)) checkInPieces(bytes, member.value);
    else
      Object.defineProperty(known, member.name, {
        value: parseInPieces(bytes, member.value, keeps && limits.documentValues),
        writable: true,
        enumerable: true,
        configurable: true,
      });
  }
  return { known, long };
}

/**
 * Parses tokenizer.json, the vocabulary and the merges into tables, the added tokens into a list.
 * @param file what errors call it
 * @throws {RubricateError} ERR_TOKENIZER where it is malformed or its model is neither a byte-pair encoding nor a unigram model
 * @throws {Error} where a merge names a token that the vocabulary lacks
 */
export function parseTokenizerJson(bytes: Buffer, file: string, list: AddedTokenList): TokenizerDocument {
  const fail = (what: string) => new RubricateError("ERR_TOKENIZER", `${file} ${what}`);
  try {
    const whole = { start: afterBlanks(bytes, 0), end: bytes.length };
    if (kindOf(bytes, whole) !== "object") {
      if (bytes.length <= reportedBytes) valueAt(bytes, whole);
      throw fail("does not hold a JSON object");
    }
    const most = limits.tokenizerPartsBytes;
    const root = opened(bytes, whole, { left: ["model", "added_tokens"], most }, file);
    const model = root.long.get("model");
    if (!model || kindOf(bytes, model) !== "object") throw fail("has no `model` object");
    const { known, long } = opened(bytes, model, { left: ["vocab", "merges"], most }, file);
    const added = root.long.get("added_tokens");
    if (added) addAddedTokens(bytes, added, file, list);
    const vocab = long.get("vocab");
    const merges = long.get("merges");
    if (!vocab) throw fail("has no `model.vocab`");
    if (known.type === "Unigram") {
      const document = { ...root.known, model: known };
      return { document, merges: new MergeTable(0), ...piecesOf(bytes, vocab, known.unk_id, file) };
    }
    // Files of 2019 have no type; only a byte-pair encoding has merges.
    if (known.type !== "BPE" && !(known.type === undefined && merges))
      throw invalid(`model.type in ${file}`, '"Unigram" or "BPE"', known.type, "ERR_TOKENIZER");
    if (kindOf(bytes, vocab) !== "object") throw fail("has no object `model.vocab`");
    if (!merges || kindOf(bytes, merges) !== "array") throw fail("has no `model.merges`");
    const vocabulary = tableOf(bytes, vocab, file);
    const document = { ...root.known, model: known };
    return { document, vocabulary, merges: mergesOf(bytes, merges, vocabulary, file) };
  } catch (cause) {
    if (cause instanceof JsonLimit) throw fail(`cannot be used: ${cause.message}`);
    if (!(cause instanceof SyntaxError)) throw cause;
    throw fail(`is not valid JSON: ${oneLine(reasonOf(bytes) ?? cause.message)}`);
  }
}

/** Whether a member of a document is used. */
export type Used = (name: string) => boolean;

/**
 * Reads another document of the tokenizer's folder: the members that are used, and added tokens into the list. The rest is
 * only checked.
 * @throws {RubricateError} ERR_TOKENIZER
 */
export function parseDocument(bytes: Buffer, file: string, used: Used, list?: AddedTokenList): JsonObject {
  return withinObject(bytes, file, (whole) => {
    const left = list ? ["added_tokens_decoder"] : [];
    const { known, long } = opened(bytes, whole, { left, keeps: used }, file);
    const added = long.get("added_tokens_decoder");
    if (list && added) {
      known.added_tokens_decoder = {}; // others ask whether there is one
      if (kindOf(bytes, added) === "object") addDeclaredTokens(bytes, added, file, list);
      else checkInPieces(bytes, added);
    }
    return known;
  });
}

/** Calls `read` with the extent of the object that the document is. @throws {RubricateError} ERR_TOKENIZER */
function withinObject<T>(bytes: Buffer, file: string, read: (whole: Extent) => T): T {
  const fail = (what: string) => new RubricateError("ERR_TOKENIZER", `${file} ${what}`);
  try {
    const whole = { start: afterBlanks(bytes, 0), end: bytes.length };
    if (kindOf(bytes, whole) === "object") return read(whole);
    checkInPieces(bytes, whole);
    throw fail("does not hold a JSON object");
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw fail(`is not valid JSON: ${oneLine(reasonOf(bytes) ?? cause.message)}`);
  }
}

/**
 * Reads added_tokens.json, in which older tokenizers have the ids of their added tokens by content. What tokenizer.json says
 * of an id counts more.
 * @param special tokens of this list are special ones
 * @throws {RubricateError} ERR_TOKENIZER
 */
export function addTokensBeside(bytes: Buffer, file: string, list: AddedTokenList, special: SpecialTokens): void {
  withinObject(bytes, file, (extent) => {
    const { count } = shortRuns(bytes, extent, file);
    if (count > limits.addedTokens)
      throw invalid(`the number of added tokens in ${file}`, `at most ${limits.addedTokens}`, count, "ERR_TOKENIZER");
    list.reserve(count, extent.end - extent.start);
    const taken = list.takenIds();
    eachRun(bytes, extent, 1, (run) => {
      const { name: content, value } = memberOf(bytes, run);
      const id = valueAt(bytes, value);
      const token = { content, id, special: special.contents.has(content) } as JsonObject;
      checkAddedToken(token, `an entry of ${escaped(content)}`, file);
      if (!taken.has(id as number)) list.declareBeside(id as number, token);
    });
  });
}

function addDeclaredTokens(bytes: Buffer, extent: Extent, file: string, list: AddedTokenList): void {
  const { count } = shortRuns(bytes, extent, `added_tokens_decoder in ${file}`);
  if (count > limits.addedTokens)
    throw invalid(`the number of added tokens in ${file}`, `at most ${limits.addedTokens}`, count, "ERR_TOKENIZER");
  list.reserve(count, extent.end - extent.start);
  const ids = new Set<number>();
  // One by one: of an object whose names are large numbers, V8 would make a sparse array.
  eachRun(bytes, extent, 1, (run) => {
    const { name, value } = memberOf(bytes, run);
    const token = valueAt(bytes, value);
    const id = /^\d{1,15}$/.test(name) ? Number(name) : Number.NaN;
    if (!isObject(token)) throw invalid(`added_tokens_decoder[${escaped(name)}]`, "an object", token, "ERR_TOKENIZER");
    checkAddedToken({ ...token, id }, `added_tokens_decoder[${escaped(name)}]`, file);
    if (ids.has(id))
      throw invalid(`added_tokens_decoder[${escaped(name)}] in ${file}`, "an id of its own", id, "ERR_TOKENIZER");
    ids.add(id);
    list.declare(id, token, file);
  });
}

/** Bytes of the shortest entry of a vocabulary, and of the shortest merge, with their commas. */
const leastEntry = 5;
const leastMerge = 6;
const leastPiece = 7;

/** Tables are made for as many entries as there are commas, so that these must be possible. */
function requireRoom(count: number, { start, end }: Extent, least: number, where: string): void {
  if (count * least > end - start + least)
    throw new RubricateError("ERR_TOKENIZER", `Expected entries of at least ${least} bytes for ${where}`);
}

/** A file that is parsed once more to find its error. */
const reportedBytes = 1 << 18;

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

/** Runs of members, none of which is too long for one `JSON.parse`. */
function shortRuns(bytes: Buffer, extent: Extent, where: string): Members {
  const members = membersOf(bytes, extent, runBytes);
  for (const { start, end } of members.runs)
    if (end - start > runBytes + limits.tokenizerEntryBytes)
      throw new RubricateError(
        "ERR_TOKENIZER",
        `Expected entries of at most ${limits.tokenizerEntryBytes} bytes for ${where} but received a longer one`,
      );
  return members;
}

function addAddedTokens(bytes: Buffer, extent: Extent, file: string, list: AddedTokenList): void {
  if (kindOf(bytes, extent) !== "array") throw invalid(`added_tokens in ${file}`, "a list", {}, "ERR_TOKENIZER");
  const { count, runs } = shortRuns(bytes, extent, `added_tokens in ${file}`);
  if (count > limits.addedTokens)
    throw invalid(`the number of added tokens in ${file}`, `at most ${limits.addedTokens}`, count, "ERR_TOKENIZER");
  list.reserve(count, extent.end - extent.start);
  let at = 0;
  for (const run of runs)
    for (const token of valuesIn(bytes, run)) {
      checkAddedToken(token, `added_tokens[${at}]`, file);
      list.add(token.id as number, token, file);
      at++;
    }
}

function tableOf(bytes: Buffer, extent: Extent, file: string): TokenTable {
  const members = shortRuns(bytes, extent, `model.vocab in ${file}`);
  requireRoom(members.count, extent, leastEntry, `model.vocab in ${file}`);
  const largest = idLimit(members.count);
  const table = new TokenTable(members.count, extent.end - extent.start, largest);
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
  }
  return table;
}

/** The vocabulary of a unigram model, a list of pieces with their scores: a piece's id is its place. */
function piecesOf(bytes: Buffer, extent: Extent, unknownId: unknown, file: string) {
  const where = `model.vocab in ${file}`;
  if (kindOf(bytes, extent) !== "array")
    throw new RubricateError("ERR_TOKENIZER", `${file} has no list \`model.vocab\``);
  const { count, runs } = shortRuns(bytes, extent, where);
  requireRoom(count, extent, leastPiece, where);
  if (unknownId !== null && unknownId !== undefined && !(Number.isInteger(unknownId) && (unknownId as number) < count))
    throw invalid(`model.unk_id in ${file}`, `an integer in [0, ${count})`, unknownId, "ERR_TOKENIZER");
  const largest = Math.min(count, limits.tokenId + 1);
  const vocabulary = new TokenTable(count, extent.end - extent.start, largest);
  const pieces = new PieceTable(count);
  for (const run of runs)
    for (const entry of valuesIn(bytes, run)) {
      if (!isPiece(entry))
        throw invalid(`an entry of ${where}`, "[piece, score], the score a finite number", entry, "ERR_TOKENIZER");
      const [piece, score] = entry;
      const id = vocabulary.size;
      if (piece.length > limits.pieceCharacters)
        throw invalid(
          `the length of a piece in ${file}`,
          `at most ${limits.pieceCharacters}`,
          piece.length,
          "ERR_TOKENIZER",
        );
      if (id === largest || !pieces.add(piece, id, score))
        throw invalid(`an entry of ${where}`, `one of ${largest} pieces, each once`, piece, "ERR_TOKENIZER");
      vocabulary.add(piece, id);
    }
  return { vocabulary, pieces };
}

function isPiece(entry: unknown): entry is [piece: string, score: number] {
  return Array.isArray(entry) && entry.length === 2 && typeof entry[0] === "string" && Number.isFinite(entry[1]);
}

function mergesOf(bytes: Buffer, extent: Extent, vocabulary: TokenTable, file: string): MergeTable {
  const members = shortRuns(bytes, extent, `model.merges in ${file}`);
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
  }
  return table;
}

function isMerge(merge: unknown): merge is string | [string, string] {
  if (typeof merge === "string") return merge.indexOf(" ") > 0;
  return Array.isArray(merge) && merge.length === 2 && merge.every((token) => typeof token === "string");
}

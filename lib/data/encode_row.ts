import { oneLine, quoted, RubricateError, reasonOf } from "../errors";
import { parseExact } from "../files/exact_json";
import { checkShape, JsonLimit } from "../files/json_shape";
import { limits } from "../limits";
import { atOnce } from "../steps";
import { TemplateLimit } from "../template/budget";
import { endOf, joined, promptAndCompletion } from "../tokenizer/sequence";
import type { Tokenizer } from "../tokenizer/tokenizer";
import { assistantSpans } from "./chat_spans";
import { type DataFormat, type Row, readRow, UnusableRow } from "./rows";
import { tokensInSpans } from "./token_spans";

/** What decides how rows become examples. */
export interface EncodingOptions {
  readonly format: DataFormat;
  /** Tokens of an example at most; longer ones lose their end. */
  readonly maxLength: number;
  /** Which tokens are learned: completions and the assistant's turns, or all. Text is learned whole in both cases. */
  readonly loss: "completion" | "all";
  /** Ids of the model are below it; rows with others cannot be used. Default: any id. */
  readonly vocabularySize?: number | undefined;
}

/** A row as token ids. */
export interface EncodedRow {
  /** [tokens], at most `maxLength`. */
  readonly tokenIds: Int32Array<ArrayBuffer>;
  /** 1 where the token is a target, [tokens]; element 0 is 0. */
  readonly supervised: Uint8Array<ArrayBuffer>;
  /** Number of targets, at least 1. */
  readonly supervisedCount: number;
  /** The largest of its ids. */
  readonly highestId: number;
  /** Whether the row has more tokens. How many is not known: the rest is not tokenized. */
  readonly truncated: boolean;
  /** Fields of the row that its chat template does not name, so that it leaves them out. */
  readonly ignored: readonly string[];
  readonly isChat: boolean;
  /** How many of its tokens stand for characters that the vocabulary cannot spell. */
  readonly unknown: number;
  /** Whether such characters became nothing. */
  readonly drops: boolean;
}

/** A shorter line cannot take much memory, whatever is in it; its levels alone may be too many. */
const plainBytes = 1 << 16;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Whether a line opens so many arrays and objects that their levels have to be counted. */
function mayBeDeep(line: Uint8Array): boolean {
  if (line.length < 2 * limits.jsonNesting) return false;
  let opened = 0;
  for (const byte of line) if (byte === 0x5b || byte === 0x7b) opened++;
  return opened > limits.jsonNesting;
}

/**
 * Reads and encodes a line of a JSONL file.
 * @param line the line's bytes without its end
 * @throws {UnusableRow} where the row is to be left out
 * @throws {RubricateError} ERR_TEMPLATE where the tokenizer has no chat template that can be parsed
 */
export function encodeLine(line: Uint8Array, tokenizer: Tokenizer, options: EncodingOptions): EncodedRow {
  return encodeValue(parsedRow(line), tokenizer, options);
}

/** The JSON of a row. @throws {UnusableRow} */
export function parsedRow(line: Uint8Array): unknown {
  try {
    if (line.length > plainBytes || mayBeDeep(line)) atOnce(checkShape(line, limits.lineValues));
    return parseExact(utf8.decode(line));
  } catch (error) {
    if (error instanceof JsonLimit) throw new UnusableRow(error.message);
    const reason = error instanceof SyntaxError ? `not valid JSON: ${oneLine(error.message)}` : "not valid UTF-8";
    throw new UnusableRow(reason);
  }
}

/** As `encodeLine`, of what the line says. */
export function encodeValue(value: unknown, tokenizer: Tokenizer, options: EncodingOptions): EncodedRow {
  try {
    return encodeRow(readRow(value, options.format, tokenizer.chatTemplate !== undefined), tokenizer, options);
  } catch (error) {
    if (error instanceof UnusableRow || error instanceof RubricateError) throw error;
    throw new UnusableRow(`it cannot be encoded: ${oneLine(reasonOf(error))}`); // such as a stack that is not deep enough
  }
}

/** As `encodeLine`, of a row that has been read. */
function encodeRow(row: Row, tokenizer: Tokenizer, options: EncodingOptions): EncodedRow {
  const dropped = tokenizer.droppedCharacters;
  // One token more than are kept, to see whether the row is truncated.
  const { tokenIds, supervised } = tokens(row, tokenizer, options.loss, options.maxLength + 1);
  const length = Math.min(tokenIds.length, options.maxLength);
  const truncated = length < tokenIds.length;
  if (options.loss === "all") supervised.fill(1);
  supervised[0] = 0; // nothing predicts the first token
  let supervisedCount = 0;
  for (let at = 1; at < length; at++) supervisedCount += supervised[at]!;
  if (supervisedCount === 0) {
    if (tokenIds.length < 2) throw new UnusableRow("it has fewer than two tokens");
    throw new UnusableRow(
      truncated
        ? `none of its first ${length} tokens is supervised, and the row is truncated to these`
        : "none of its tokens is supervised (the assistant says nothing in it)",
    );
  }
  const highestId = requireVocabulary(tokenIds, length, tokenizer, options.vocabularySize);
  let unknown = 0;
  if (tokenizer.unknownId !== undefined)
    for (let at = 0; at < length; at++) if (tokenIds[at] === tokenizer.unknownId) unknown++;
  return {
    unknown,
    drops: tokenizer.droppedCharacters > dropped,
    tokenIds: tokenIds.slice(0, length),
    supervised: supervised.slice(0, length),
    supervisedCount,
    highestId,
    truncated,
    isChat: row.kind === "chat",
    ignored: row.kind === "chat" ? tokenizer.templateFor(row.tools).ignoredFields(row.messages, row.tools) : [],
  };
}

/** @returns the largest of the first ids @throws {UnusableRow} where the model has none of that number */
function requireVocabulary(
  tokenIds: Int32Array,
  length: number,
  tokenizer: Tokenizer,
  size = limits.tokenId + 1,
): number {
  let highest = 0;
  for (let at = 0; at < length; at++) {
    const id = tokenIds[at]!;
    if (id >= size) throw new UnusableRow(`it has the token id ${beyondVocabulary(tokenizer, id, size)}`);
    if (id > highest) highest = id;
  }
  return highest;
}

/** Says what a token is that the model does not have, and what to do. */
export function beyondVocabulary(tokenizer: Tokenizer, id: number, size: number): string {
  const text = tokenizer.tokenText(id);
  const name = text === undefined ? `${id}` : `${id}, ${quoted(text)}`;
  return (
    `${name}; the tokenizer has ${tokenizer.vocabSize - size} more tokens than the model: resize the model's embedding, remove ` +
    "the token from the tokenizer, or read the data with this model's tokenizer"
  );
}

interface Tokens {
  tokenIds: Int32Array;
  supervised: Uint8Array;
}

/** @param most tokens that are wanted; there may be a few more */
function tokens(row: Row, tokenizer: Tokenizer, loss: EncodingOptions["loss"], most: number): Tokens {
  if (row.kind === "chat") return chatTokens(row, tokenizer, loss, most);
  const [prompt, completion] = row.kind === "prompt" ? [row.prompt, row.completion] : ["", row.text];
  const encode = (text: string, count: number, continues: boolean) => encodeStart(tokenizer, text, count, continues);
  const { tokenIds: text, promptLength } = promptAndCompletion(tokenizer, prompt, completion, most, encode);
  const tokenIds = joined(text, endOf(tokenizer, text));
  return { tokenIds, supervised: new Uint8Array(tokenIds.length).fill(1, promptLength) };
}

/** What the tokenizer refuses of a text concerns that row. */
function encodeStart(tokenizer: Tokenizer, text: string, most: number, continues = false): Int32Array<ArrayBuffer> {
  try {
    return tokenizer.encodeStart(text, most, continues);
  } catch (error) {
    if (error instanceof RubricateError && error.code === "ERR_TOKENIZER") throw new UnusableRow(error.message);
    throw error;
  }
}

function chatTokens(
  row: Row & { kind: "chat" },
  tokenizer: Tokenizer,
  loss: EncodingOptions["loss"],
  most: number,
): Tokens {
  const { messages, given, tools } = row;
  tokenizer.checkChatTemplate(tools);
  if (loss === "all") {
    const text = ofTemplate(() => tokenizer.applyChatTemplate(messages, tools ? { tools } : {}));
    const tokenIds = encodeStart(tokenizer, text, most);
    return { tokenIds, supervised: new Uint8Array(tokenIds.length) };
  }
  const chat = ofTemplate(() => assistantSpans(tokenizer, messages, given, tools));
  // The template alone writes BOS and the ends of turns.
  const tokenIds = encodeStart(tokenizer, chat.text, most);
  return { tokenIds, supervised: ofTemplate(() => tokensInSpans(tokenizer, tokenIds, chat)) };
}

/** What a template refuses of one conversation concerns that row, and so does a limit that it exceeds, unless all rows do. */
function ofTemplate<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof RubricateError)) throw error;
    if (["ERR_ARGUMENT", "ERR_TOKENIZER"].includes(error.code)) throw new UnusableRow(error.message); // too much of something
    const { cause } = error;
    throw new UnusableRow(
      error.message,
      { cause: error },
      cause instanceof TemplateLimit || cause instanceof RangeError,
    );
  }
}

/**
 * All that this package takes from @huggingface/tokenizers, and all that it puts in the place of the library's own. This
 * reaches into the library's instances, so package.json names its exact version, 0.2.0, which a test compares; look through
 * this file before changing that.
 *
 * Taken: post-processors; the decoders that do as the Rust library (tokenizers 0.23) does; the translation of patterns from
 * the Rust library's syntax. Replaced, with the reason:
 * - vocabulary, merges, added tokens, encoding: a string and an object for each token and merge take half a second and
 *   fifteen times the file's bytes, and nothing of it can be shared between threads;
 * - normalizers and pre-tokenizers: they differ beyond ASCII (`splitsOf`, normalizers.ts) and hold all words of a text at the same time;
 * - the decoder ByteFallback: of bytes that are no UTF-8 it keeps what is; the Rust library makes each of them U+FFFD;
 * - the decoder ByteLevel: it decodes what is between added tokens apart, and makes NUL of a character outside its table;
 * - the decoder Metaspace: it drops the first space, prepended or not, and no other of the first token;
 * - the decoder Replace: it takes `$` in the content for a reference to the match.
 */
import { isObject, type JsonObject } from "../files/json";
import { linearForm } from "./pattern_safety";

/** The parts of the library in use; its own types are ES modules, which CommonJS cannot name. */
interface LibraryTokenizer {
  readonly post_processor: ((tokens: string[], pair: null, special: boolean) => { tokens: string[] }) | null;
  readonly decoder: LibraryDecoder | null;
}
interface LibraryDecoder {
  (tokens: string[]): string;
  readonly config: { readonly type?: string; readonly content?: string; readonly prepend_scheme?: string };
  readonly decoders?: readonly LibraryDecoder[];
  readonly pattern?: RegExp;
  decode_chain(tokens: string[]): string[];
}
interface Library {
  readonly Tokenizer: new (tokenizer: object, config: object) => LibraryTokenizer;
  readonly ReplaceNormalizer: new (config: object) => { readonly pattern: RegExp };
  readonly SplitPreTokenizer: new (config: object) => { readonly pattern: RegExp };
}

/** Loaded when it is first used: the thread that makes tables needs it for few of them. */
const library = () => require("@huggingface/tokenizers") as Library;

/** Decodes tokens, and has those that are added to a text. */
export interface DecoderAndAffixes {
  decode(tokens: string[]): string;
  /** Whether the decoder has tokens of single bytes. */
  readonly hasByteFallback: boolean;
  /** Whether it replaces in the joined text, so that a token may change the text of those before it. */
  readonly replacesInWhole: boolean;
  /** Tokens that the post-processor puts before and after a text; undefined where the text's own do not come out once. */
  readonly affixes: readonly [before: string[], after: string[]] | undefined;
}

/** @throws {Error} where a part cannot be built */
export function buildDecoder(tokenizer: JsonObject): DecoderAndAffixes {
  const { Tokenizer } = library();
  const { decoder, post_processor } = new Tokenizer(
    {
      decoder: tokenizer.decoder,
      post_processor: tokenizer.post_processor,
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: null,
      model: { type: "BPE", vocab: {}, merges: [] },
    },
    {},
  );
  repairDecoder(decoder);
  return {
    decode: (tokens) => (decoder ? decoder(tokens) : tokens.join(" ")),
    hasByteFallback: hasByteFallback(decoder),
    replacesInWhole: replacesInWhole(decoder),
    affixes: affixesOf(post_processor),
  };
}

/** Replaces the decoders that differ from the `tokenizers` library in Rust. */
function repairDecoder(decoder: LibraryDecoder | null): void {
  for (const inner of decoder?.decoders ?? []) repairDecoder(inner);
  if (!decoder) return;
  const { type, content = "", prepend_scheme } = decoder.config;
  if (type === "ByteFallback") decoder.decode_chain = decodeByteRuns;
  if (type === "ByteLevel") decoder.decode_chain = decodeByteLevel;
  if (type === "Metaspace") decoder.decode_chain = (tokens) => decodeMetaspace(tokens, prepend_scheme !== "never");
  const { pattern } = decoder;
  if (type === "Replace" && pattern)
    decoder.decode_chain = (tokens) => tokens.map(eachTokenOnce((token) => token.replaceAll(pattern, () => content)));
}

function hasByteFallback(decoder: LibraryDecoder | null): boolean {
  return decoder?.config.type === "ByteFallback" || (decoder?.decoders ?? []).some(hasByteFallback);
}

function replacesInWhole(decoder: LibraryDecoder | null): boolean {
  const types = (one: LibraryDecoder): unknown[] => one.decoders?.flatMap(types) ?? [one.config.type];
  const all = decoder ? types(decoder) : [];
  const joined = all.findIndex((type) => type === "Fuse" || type === "ByteLevel");
  return joined >= 0 && all.lastIndexOf("Replace") > joined;
}

const sentinel = "\uFFFF the text itself";

function affixesOf(processor: LibraryTokenizer["post_processor"]): DecoderAndAffixes["affixes"] {
  const tokens = processor?.([sentinel], null, true).tokens ?? [sentinel];
  const at = tokens.indexOf(sentinel);
  return at < 0 || tokens.lastIndexOf(sentinel) !== at ? undefined : [tokens.slice(0, at), tokens.slice(at + 1)];
}

export const byteToken = /^<0x([0-9A-Fa-f]{2})>$/;
const byteTokenLength = "<0x00>".length;

/** A run of byte tokens is text if all of it is UTF-8, else one U+FFFD a byte. */
export function decodeByteRuns(tokens: string[]): string[] {
  const result: string[] = [];
  let run: number[] = [];
  const flush = () => {
    if (run.length === 0) return;
    result.push(textOfBytes(run));
    run = [];
  };
  for (const token of tokens) {
    const byte = token.length === byteTokenLength ? byteToken.exec(token) : null;
    if (byte) run.push(Number.parseInt(byte[1]!, 16));
    else {
      flush();
      result.push(token);
    }
  }
  flush();
  return result;
}

function textOfBytes(run: readonly number[]): string {
  if (run.length === 1) return run[0]! < 0x80 ? String.fromCharCode(run[0]!) : "\uFFFD";
  const bytes = Buffer.from(run);
  const text = bytes.toString("utf8");
  // A U+FFFD is the replacement of wrong bytes, or a character of the text.
  const valid = !text.includes("\uFFFD") || Buffer.from(text).equals(bytes);
  return valid ? text : "\uFFFD".repeat(run.length);
}

/** GPT-2's table of printable characters for the 256 bytes, inverted; -1 for other characters. */
const byteOfCharacter: Int16Array = (() => {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  const bytes = new Int16Array(2 ** 16).fill(-1);
  let beyond = 256;
  for (let byte = 0; byte < 256; byte++) bytes[printable(byte) ? byte : beyond++] = byte;
  return bytes;
})();

/** UTF-8 has at most three bytes for a UTF-16 unit. */
const mostBytes = 3;

/** All tokens' bytes, put together and then read as UTF-8; a token with a character outside the table is taken literally. */
export function decodeByteLevel(tokens: string[]): string[] {
  let size = 0;
  for (const token of tokens) size += token.length;
  let bytes = Buffer.allocUnsafe(size);
  let end = 0;
  for (const token of tokens) {
    const { length } = token;
    let at = 0;
    for (; at < length; at++) {
      const byte = byteOfCharacter[token.charCodeAt(at)]!;
      if (byte < 0) break;
      bytes[end + at] = byte;
    }
    if (at === length) {
      end += length;
      continue;
    }
    size += (mostBytes - 1) * length; // a byte for each unit is there
    if (size > bytes.length) {
      const larger = Buffer.allocUnsafe(2 * size);
      bytes.copy(larger, 0, 0, end);
      bytes = larger;
    }
    end += bytes.write(token, end, "utf8");
  }
  return [bytes.toString("utf8", 0, end)];
}

/** A function of tokens that looks at each token once, however often it occurs. */
function eachTokenOnce(decode: (token: string) => string): (token: string) => string {
  const known = new Map<string, string>();
  return (token) => {
    let text = known.get(token);
    if (text === undefined) {
      text = decode(token);
      known.set(token, text);
    }
    return text;
  };
}

/** Each "▁" is a space; those of the first token are dropped if they were prepended. */
function decodeMetaspace(tokens: string[], prepended: boolean): string[] {
  const spaced = eachTokenOnce((token) => token.replaceAll("▁", " "));
  return tokens.map((token, at) => (at === 0 && prepended ? token.replaceAll("▁", "") : spaced(token)));
}

/** The pattern of a Replace. @throws {SyntaxError} where it is no regular expression */
export function replacePattern(part: JsonObject): RegExp {
  return new (library().ReplaceNormalizer)(part).pattern;
}

/** The pattern of a Split. @throws {SyntaxError} where it is no regular expression */
export function splitPattern(part: JsonObject): RegExp {
  return new (library().SplitPreTokenizer)(part).pattern;
}

const split = (Regex: string, behavior: "Isolated" | "Removed", invert = false): JsonObject => ({
  type: "Split",
  pattern: { Regex },
  behavior,
  invert,
});
const punctuation = "[\\p{P}!-/:-@\\[-`{-~]";
const words = split("\\S+", "Removed", true);

/**
 * A pre-tokenizer with what the library's own classes do differently made a Split, whose pattern the library translates
 * from the Rust library's syntax: digits, punctuation and space beyond ASCII, and the words of a Metaspace.
 */
export function splitsOf(part: unknown): JsonObject | null {
  if (!isObject(part)) return null;
  const sequence = (...pretokenizers: JsonObject[]): JsonObject => ({ type: "Sequence", pretokenizers });
  switch (part.type) {
    case "Sequence":
      return sequence(...((part.pretokenizers ?? []) as unknown[]).map((one) => splitsOf(one)!));
    case "Digits":
      return split(part.individual_digits === true ? "\\p{N}" : "\\p{N}+", "Isolated");
    case "Punctuation":
      return split(
        part.behavior === "Contiguous" ? `${punctuation}+` : punctuation,
        part.behavior === "Removed" ? "Removed" : "Isolated",
      );
    case "Whitespace":
      return split("\\w+|[^\\w\\s]+", "Removed", true);
    case "WhitespaceSplit":
      return words;
    case "BertPreTokenizer":
      return sequence(words, split(punctuation, "Isolated"));
    case "Split": {
      const { Regex } = part.pattern as { Regex?: string };
      return Regex === undefined ? part : { ...part, pattern: { Regex: linearForm(Regex) } };
    }
    case "Metaspace":
      return part.split === false ? part : sequence(part, split("▁[^▁]*|[^▁]+", "Isolated"));
    default:
      return part;
  }
}

/** Normalizers as the Rust library does them; those of @huggingface/tokenizers differ, or take too much memory. */
import { RubricateError } from "../errors";
import type { JsonObject } from "../files/json";
import { limits } from "../limits";
import { replacePattern } from "./library";
import { withStack } from "./match";

type Normalizer = (text: string) => string;

/** @throws {SyntaxError} where a pattern is no regular expression */
export function normalizerOf(part: JsonObject | null): Normalizer | null {
  if (part === null) return null;
  if (part.type !== "Sequence") return bounded(singleNormalizer(part));
  const normalizers = ((part.normalizers ?? []) as JsonObject[]).map((one) => normalizerOf(one)!);
  return (text) => normalizers.reduce((result, normalize) => normalize(result), text);
}

/** What SentencePiece's normalizer for translation removes, and what it makes a space of. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are removed
const nmtRemoved = /[\x01-\x08\v\x0e-\x1f\x7f\x8f\x9f]/g;
const nmtSpaces = /[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g;

/** A normalizer without what it puts before a text or takes away there: for a text that goes on with one before. */
export function withinText(part: JsonObject | null): JsonObject | null {
  switch (part?.type) {
    case "Sequence":
      return {
        ...part,
        normalizers: ((part.normalizers ?? []) as JsonObject[]).flatMap((one) => withinText(one) ?? []),
      };
    case "Prepend":
      return null;
    case "Strip":
      return { ...part, strip_left: false };
    default:
      return part;
  }
}

function singleNormalizer(part: JsonObject): Normalizer {
  switch (part.type) {
    case "Prepend":
      return (text) => (text === "" ? "" : `${part.prepend}${text}`);
    case "Replace": {
      const pattern = replacePattern(part);
      const content = part.content as string;
      const sought = String((part.pattern as JsonObject).String ?? "");
      const replace =
        [...sought].length === 1
          ? inParts((text) => text.split(sought).join(content))
          : (text: string) => withStack(() => replacedAll(text, pattern, content));
      return (text) => {
        requireRoom(text.length * Math.max(1, content.length / 4));
        return replace(text);
      };
    }
    case "Strip": {
      const { strip_left, strip_right } = part;
      return (text) => stripped(text, strip_left === true, strip_right === true);
    }
    case "StripAccents":
      return inParts((text) => text.replace(/\p{Mn}/gu, ""));
    case "Nmt":
      return inParts((text) => text.replace(nmtRemoved, "").replace(nmtSpaces, " "));
    case "Lowercase":
      // Character by character: of a whole word, JavaScript would make the last Σ another letter.
      return inParts((text) => text.replace(/\p{Changes_When_Lowercased}/gu, (character) => character.toLowerCase()));
    default:
      return (text) => text.normalize(part.type as string);
  }
}

/** Text that one `replace` takes: V8 keeps all matches until the end, which takes many times the memory of a long text. */
const partLength = 1 << 16;

/** A normalizer of single characters, done part by part. */
export function inParts(normalize: Normalizer): Normalizer {
  return (text) => {
    if (text.length <= partLength) return normalize(text);
    const parts: string[] = [];
    for (let start = 0; start < text.length; ) {
      let end = start + partLength;
      if (end < text.length && text.codePointAt(end - 1)! > 0xffff) end--; // both halves of a character together
      parts.push(normalize(text.slice(start, end)));
      start = end;
    }
    return parts.join("");
  };
}

/** As `replaceAll` with a function that returns the content. */
function replacedAll(text: string, pattern: RegExp, content: string): string {
  if (text.length <= partLength) return text.replaceAll(pattern, () => content);
  const parts: string[] = [];
  let pieces: string[] = [];
  let start = 0;
  for (const match of text.matchAll(pattern)) {
    pieces.push(text.slice(start, match.index), content);
    start = match.index + match[0].length;
    if (pieces.length < 4096) continue;
    parts.push(pieces.join(""));
    pieces = [];
  }
  parts.push(pieces.join(""), text.slice(start));
  return parts.join("");
}

const isSpace = /^\p{White_Space}$/u;

function stripped(text: string, left: boolean, right: boolean): string {
  let start = 0;
  let end = text.length;
  if (left) while (start < end && isSpace.test(text[start]!)) start++;
  if (right) while (end > start && isSpace.test(text[end - 1]!)) end--;
  return text.slice(start, end);
}

function bounded(normalize: Normalizer): Normalizer {
  return (text) => {
    const result = normalize(text);
    if (result.length > text.length) requireRoom(result.length);
    return result;
  };
}

/** Normalizers that follow each other could multiply the text's length without bound. */
function requireRoom(length: number): void {
  if (length <= 2 * limits.textCharacters) return;
  throw new RubricateError(
    "ERR_TOKENIZER",
    `Expected at most ${2 * limits.textCharacters} characters of normalized text but the tokenizer's normalizer makes more`,
  );
}

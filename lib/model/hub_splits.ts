/** Normalizers and pre-tokenizers, done as the Rust library does where @huggingface/tokenizers differs. */
import { RubricateError } from "../errors";
import { limits } from "../limits";
import { linearForm } from "./pattern_safety";
import { isObject, type Json } from "./tokenizer_schema";

const hub = require("@huggingface/tokenizers") as {
  ReplaceNormalizer: new (config: object) => { readonly pattern: RegExp };
};

const split = (Regex: string, behavior: "Isolated" | "Removed", invert = false): Json => ({
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
export function splitsOf(part: unknown): Json | null {
  if (!isObject(part)) return null;
  const sequence = (...pretokenizers: Json[]): Json => ({ type: "Sequence", pretokenizers });
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

type Normalizer = (text: string) => string;

/** @throws {SyntaxError} where a pattern is no regular expression */
export function normalizerOf(part: Json | null): Normalizer | null {
  if (part === null) return null;
  if (part.type !== "Sequence") return bounded(singleNormalizer(part));
  const normalizers = ((part.normalizers ?? []) as Json[]).map((one) => normalizerOf(one)!);
  return (text) => normalizers.reduce((result, normalize) => normalize(result), text);
}

function singleNormalizer(part: Json): Normalizer {
  switch (part.type) {
    case "Prepend":
      return (text) => (text === "" ? "" : `${part.prepend}${text}`);
    case "Replace": {
      const { pattern } = new hub.ReplaceNormalizer(part);
      const content = part.content as string;
      return (text) => {
        requireRoom(text.length * Math.max(1, content.length / 4));
        return text.replaceAll(pattern, () => content); // a string would have its $ interpreted
      };
    }
    case "Strip": {
      const { strip_left, strip_right } = part;
      return (text) => stripped(text, strip_left === true, strip_right === true);
    }
    case "StripAccents":
      return (text) => text.replace(/\p{Mn}/gu, "");
    case "Lowercase":
      // Character by character: of a whole word, JavaScript would make the last Σ another letter.
      return (text) => text.replace(/\p{Changes_When_Lowercased}/gu, (character) => character.toLowerCase());
    default:
      return (text) => text.normalize(part.type as string);
  }
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

/**
 * Pre-tokenizers that hand on one word after another, so that a long text is never held as a list of words, and its rest is
 * not looked at once enough ids are found.
 */
import type { JsonObject } from "../files/json";
import { splitPattern, splitsOf } from "./library";
import { withStack } from "./match";
import { inParts } from "./normalizers";
import { dividerOf } from "./split_behavior";

/** The section of a text that goes on with the one before: nothing is put before it. */
export const continued = -1;

/**
 * Takes a word, or a text to split.
 * @param section number of the text among those between added tokens, or `continued`
 * @returns false where no more words are wanted
 */
type WordSink = (text: string, section: number) => boolean;

/** GPT-2's pattern with Unicode's white space: JavaScript's \s has U+FEFF and lacks U+0085. */
const gpt2 =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** Characters that a byte-level vocabulary spells the bytes with: a printable one is itself. */
export const byteCharacters: readonly string[] = (() => {
  let others = 0;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(printable ? byte : 256 + others++);
  });
})();

export function byteLevelSpelling(text: string): string {
  let spelling = "";
  for (const byte of Buffer.from(text)) spelling += byteCharacters[byte];
  return spelling;
}

/** What a pre-tokenizer comes to. */
export interface PreTokenizer {
  /** Splits a text into words and hands them on. */
  readonly split: WordSink;
  /** Whether the words are still to be spelled by bytes: the encoder does that, and only with words that it does not know. */
  readonly byteLevel: boolean;
}

/** @throws {Error} where a pattern cannot be compiled */
export function preTokenizerOf(part: JsonObject | null, sink: WordSink): PreTokenizer {
  const stages = stagesOf(splitsOf(part));
  const byteLevel = stages.at(-1)?.type === "ByteLevel";
  let split = sink;
  for (const [fromEnd, stage] of stages.reverse().entries()) split = stageOf(stage, split, byteLevel && fromEnd === 0);
  return { split, byteLevel };
}

function stagesOf(part: JsonObject | null): JsonObject[] {
  if (part === null) return [];
  return part.type === "Sequence" ? (part.pretokenizers as JsonObject[]).flatMap(stagesOf) : [part];
}

const spelled = inParts((text) => text.split(" ").join("▁"));

/** @param last whether the encoder spells bytes */
function stageOf(part: JsonObject, next: WordSink, last: boolean): WordSink {
  switch (part.type) {
    case "ByteLevel": {
      const sink: WordSink = last ? next : (word, section) => next(byteLevelSpelling(word), section);
      const split = part.use_regex === false ? sink : splitAt(gpt2, { gaps: false, matches: true }, sink);
      if (part.add_prefix_space !== true) return split;
      return (text, section) => split(text.startsWith(" ") || section === continued ? text : ` ${text}`, section);
    }
    case "Metaspace": {
      const scheme = part.prepend_scheme ?? "always";
      return (text, section) => {
        const words = spelled(text);
        const begins = scheme === "always" ? section !== continued : scheme === "first" && section === 0;
        const prepends = begins && !words.startsWith("▁");
        return next(prepends ? `▁${words}` : words, section);
      };
    }
    default: {
      const pattern = splitPattern(part);
      const divide = dividerOf(part, pattern);
      if (divide) return (text, section) => withStack(() => divide(text)).every((piece) => next(piece, section));
      const removed = part.behavior === "Removed";
      const inverted = part.invert === true;
      return splitAt(pattern, { gaps: !(removed && inverted), matches: !removed || inverted }, next);
    }
  }
}

/** Hands on what matches a pattern, what stands between the matches, or both. */
function splitAt(pattern: RegExp, wants: { gaps: boolean; matches: boolean }, next: WordSink): WordSink {
  const { gaps, matches } = wants;
  return (text, section) => {
    let start = 0;
    pattern.lastIndex = 0;
    for (let match = matchOf(pattern, text); match !== null; match = matchOf(pattern, text)) {
      const { index } = match;
      const word = match[0];
      if (gaps && index > start && !next(text.slice(start, index), section)) return false;
      start = index + word.length;
      if (word === "") pattern.lastIndex += text.codePointAt(index)! > 0xffff ? 2 : 1;
      else if (matches && !next(word, section)) return false;
    }
    return !(gaps && start < text.length) || next(text.slice(start), section);
  };
}

function matchOf(pattern: RegExp, text: string): RegExpExecArray | null {
  return withStack(() => pattern.exec(text));
}

/** Tokenization of mteval-v13a, for BLEU and NIST. */
import type { Steps } from "../steps";

/** What `\s` and `strip()` of Python take as whitespace; JavaScript's `\s` has U+FEFF and lacks some control characters. */
const space = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const spaces = new RegExp(`${space}+`, "gu");
const outerSpace = new RegExp(`^${space}+|${space}+$`, "gu");

const entities: readonly (readonly [string, string])[] = [
  ["&quot;", '"'],
  ["&amp;", "&"],
  ["&lt;", "<"],
  ["&gt;", ">"],
];

/** UTF-16 code units of a text that are split in one step, and up to the next whitespace. */
const partLength = 1024;
const nextSpace = new RegExp(space, "gu");

/** Where a part of a line ends that begins at `start`: at whitespace, over which no rule below reaches. */
function endOfPart(line: string, start: number): number {
  if (start + partLength >= line.length) return line.length;
  nextSpace.lastIndex = start + partLength;
  return nextSpace.exec(line)?.index ?? line.length;
}

/**
 * The lower-case tokens of a text, as e2e-metrics makes them (`metrics/pymteval.py`, after mteval-v13a.pl without its international
 * tokenization). ASCII punctuation other than `' , - .` becomes a token; a period or comma unless it is between digits; a dash
 * after a digit. A text without any token gives one empty token, since a Python split does: so the length of an empty
 * prediction is 1.
 */
export function* mtevalTokens(text: string): Steps<string[]> {
  let line = text.replaceAll("<skipped>", "").replaceAll("-\n", "").replaceAll("\n", " ");
  for (const [entity, character] of entities) line = line.replaceAll(entity, character);
  const tokens: string[] = [];
  for (let start = 0; start < line.length; ) {
    const end = endOfPart(line, start);
    const part = ` ${line.slice(start, end)} `
      .replace(/[!-&(-+/:-@[-`{-~]/gu, " $& ")
      .replace(/([^0-9])([.,])/gu, "$1 $2 ")
      .replace(/([.,])([^0-9])/gu, " $1 $2")
      .replace(/([0-9])-/gu, "$1 - ")
      .replace(spaces, " ")
      .replace(outerSpace, "");
    if (part !== "") for (const token of part.split(" ")) tokens.push(token.toLowerCase());
    start = end;
    yield;
  }
  return tokens.length === 0 ? [""] : tokens;
}

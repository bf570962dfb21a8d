/** Tokenization of mteval-v13a, for BLEU and NIST. */

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

/**
 * The lower-case tokens of a text, as e2e-metrics makes them (`metrics/pymteval.py`, after mteval-v13a.pl without its international
 * tokenization). ASCII punctuation other than `' , - .` becomes a token; a period or comma unless it is between digits; a dash
 * after a digit. A text without any token gives one empty token, since a Python split does: so the length of an empty
 * prediction is 1.
 */
export function mtevalTokens(text: string): string[] {
  let line = text.replaceAll("<skipped>", "").replaceAll("-\n", "").replaceAll("\n", " ");
  for (const [entity, character] of entities) line = line.replaceAll(entity, character);
  line = ` ${line} `
    .replace(/[!-&(-+/:-@[-`{-~]/gu, " $& ")
    .replace(/([^0-9])([.,])/gu, "$1 $2 ")
    .replace(/([.,])([^0-9])/gu, " $1 $2")
    .replace(/([0-9])-/gu, "$1 - ")
    .replace(spaces, " ")
    .replace(outerSpace, "");
  return line.split(" ").map((token) => token.toLowerCase());
}

/** Tokenization in the manner of the Penn Treebank, for ROUGE-L and CIDEr. */
import type { Steps } from "../steps";
import { inOneStep } from "./ngrams";

/** Tokens that pycocoevalcap removes; others, such as brackets and currencies, count. */
const removed = new Set(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"]);

/** What a token is written as. Brackets are not among the removed ones, since the tokenizer lower-cases them first. */
const spellings: ReadonlyMap<string, string> = new Map([
  ["(", "-lrb-"],
  [")", "-rrb-"],
  ["[", "-lsb-"],
  ["]", "-rsb-"],
  ["{", "-lcb-"],
  ["}", "-rcb-"],
  ['"', "''"],
  ["“", "``"],
  ["”", "''"],
  ["«", "``"],
  ["»", "''"],
  ["…", "..."],
  ["–", "--"],
  ["—", "--"],
  ["£", "#"],
  ["€", "$"],
  ["¢", "cents"],
]);

/** Words that keep their period. */
const abbreviations =
  "mr|mrs|ms|dr|prof|st|ave|blvd|rd|jr|sr|co|corp|inc|ltd|bros|gen|col|capt|lt|sgt|rev|hon|gov|sen|rep|dept|univ|assn|etc|vs|" +
  "jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|mon|tue|tues|wed|thu|thurs|fri";

const alphanumeric = "[\\p{L}\\p{M}\\p{N}]";
const letter = "[\\p{L}\\p{M}]";
const ends = `(?!${alphanumeric})`;
const clitic = `'(?:s|m|d|ll|re|ve)${ends}`;

/** The kinds of tokens, the first that fits. Where there are groups, each is a token. */
const kinds: readonly string[] = [
  // A URL, an address of e-mail; without the punctuation after it.
  String.raw`(?:https?:\/\/|www\.)[^\s"<>|(){}]*[^\s"<>|(){}.,;:!?'-]`,
  String.raw`[\p{L}\p{N}_.+-]{1,64}@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+`,
  // p.m., U.S., Ltd.
  String.raw`(?:${letter}\.){2,}`,
  String.raw`(?:${abbreviations})\.${ends}`,
  `(can)(not)${ends}|(gon|wan)(na)${ends}|(got)(ta)${ends}|(gim|lem)(me)${ends}`,
  // is n't, Brown 's
  `(${letter}+)(n't)${ends}|n't${ends}`,
  clitic,
  // 1,000.50, 10:30, 3/4, 20-25
  String.raw`\p{N}+(?:[.,:/-]\p{N}+)+`,
  // family-friendly, and/or, O'Brien
  `${alphanumeric}+(?:(?!${clitic})[-/_']${alphanumeric}+)*`,
  String.raw`\.{2,}|-{2,}|''|${"``"}|\S`,
];
const tokenPattern = new RegExp(kinds.map((kind) => `(?:${kind})`).join("|"), "giu");

/** How a token is written: several dots or dashes as those of the treebank. */
function spelled(token: string): string {
  if (/^\.{2,}$/u.test(token)) return "...";
  if (/^-{2,}$/u.test(token)) return "--";
  return spellings.get(token) ?? token;
}

/**
 * The lower-case tokens of a text without punctuation, in the manner of Stanford's PTBTokenizer, which e2e-metrics runs in Java for
 * ROUGE-L and CIDEr. It agrees on the conventions of the Penn Treebank (`is n't`, `Brown 's`, `can not`, hyphens kept, `£` as `#`,
 * brackets as `-lrb-`, decimals, abbreviations), not on every rule: rarer abbreviations, markup, telephone numbers and
 * emoticons may differ.
 */
export function* ptbTokens(text: string): Steps<string[]> {
  const tokens: string[] = [];
  let done = 0;
  for (const match of text.replace(/[‘’]/gu, "'").matchAll(tokenPattern)) {
    if (++done % inOneStep === 0) yield;
    const parts = match.slice(1).filter((part) => part !== undefined);
    for (const part of parts.length === 0 ? [match[0]] : parts) {
      const token = spelled(part);
      if (!removed.has(token)) tokens.push(token.toLowerCase());
    }
  }
  return tokens;
}

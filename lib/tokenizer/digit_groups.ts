/**
 * Patterns that split numbers into groups of three digits from the right. As regular expressions they look through the rest
 * of a number at each of its groups, which takes time that grows with its square; here each number is gone through once.
 */

interface Grouping {
  /** Runs of these digits. */
  readonly digits: RegExp;
  /** Whether a number is split from the text next to it. */
  readonly whole: boolean;
  /** What must not follow a number. */
  readonly refused?: RegExp;
}

const digit = "(\\\\d|\\\\p\\{N[d]?\\}|\\[0-9\\])";
const three = (reference: string) => `\\((?:\\?:)?${reference}\\{3\\}\\)`;
const forms: readonly [RegExp, Omit<Grouping, "digits">][] = [
  // \d{1,3}(?=(?:\d{3})*\b)
  [new RegExp(`^(\\\\d)\\{1,3\\}\\(\\?=${three("\\1")}\\*\\\\b\\)$`), { whole: true, refused: word() }],
  // \p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|$))
  [new RegExp(`^(\\\\p\\{N\\})\\{1,3\\}\\(\\?=${three("\\1")}\\*\\(\\?:\\\\P\\{N\\}\\|\\$\\)\\)$`), { whole: true }],
  // (?=(\d{3})+(?!\d))
  [new RegExp(`^\\(\\?=(?=\\((?:\\?:)?${digit})${three("\\1")}\\+\\(\\?!\\1\\)\\)$`), { whole: false }],
];

/** What the Rust library counts as a part of a word. */
function word(): RegExp {
  return /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u00B2\u00B3\u00B9\u00BC-\u00BE]/u;
}

/** @returns a function that splits a text as a Split of this pattern does, or undefined for other patterns */
export function digitGrouper(source: string): ((text: string) => string[]) | undefined {
  for (const [form, grouping] of forms) {
    const found = form.exec(source);
    if (!found) continue;
    const digits = new RegExp(`${found[1] === "\\d" ? "\\p{Nd}" : found[1]}+`, "gu");
    return (text) => grouped(text, { ...grouping, digits });
  }
  return undefined;
}

function grouped(text: string, { digits, whole, refused }: Grouping): string[] {
  const pieces: string[] = [];
  let start = 0;
  const cut = (at: number) => {
    if (at > start) pieces.push(text.slice(start, at));
    start = at;
  };
  for (const { index, 0: number } of text.matchAll(digits)) {
    const end = index + number.length;
    if (refused?.test(text.slice(end, end + 2))) continue;
    let left = 0;
    for (let at = index; at < end; at += widthAt(text, at)) left++;
    for (let at = index; at < end; at += widthAt(text, at), left--)
      if (left % 3 === 0 || (whole && at === index)) cut(at);
    if (whole) cut(end);
  }
  cut(text.length);
  return pieces;
}

const widthAt = (text: string, at: number) => (text.codePointAt(at)! > 0xffff ? 2 : 1);

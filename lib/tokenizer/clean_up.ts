/** Spaces before punctuation are taken away, as transformers' `clean_up_tokenization` does it: of a whole text, or as it grows. */

const replacements = [
  [" .", "."],
  [" ?", "?"],
  [" !", "!"],
  [" ,", ","],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
] as const;

export function cleanedUp(text: string): string {
  return replacements.reduce((result, [from, to]) => result.replaceAll(from, to), text);
}

/** Characters of the longest replacement, but for one: so many without a space between two places keep them apart. */
const apart = 3;

/** Cleans up a text that comes in pieces: what it gives, put together, is the whole text cleaned up. */
export class CleanUp {
  /** What is not certain. */
  waiting = "";
  /** Of what waits: places that were looked at. */
  private seen = 0;

  /** @returns what is certain now, cleaned up */
  push(piece: string): string {
    this.waiting += piece;
    const { waiting } = this;
    let certain = 0;
    for (let at = this.seen; at < waiting.length; at++) if (isBorder(waiting, at)) certain = at;
    this.seen = waiting.length - certain;
    this.waiting = waiting.slice(certain);
    return certain === 0 ? "" : cleanedUp(waiting.slice(0, certain));
  }

  /** @returns the rest */
  end(): string {
    const rest = cleanedUp(this.waiting);
    this.waiting = "";
    this.seen = 0;
    return rest;
  }
}

/**
 * Whether nothing is replaced over a place, whatever replacements came before. Replacements begin with a space and take
 * nothing but spaces away. So it is between the characters of a word that are far enough from the space before it; and
 * before a space, where what is before that is none of the characters that come before an apostrophe.
 */
function isBorder(text: string, at: number): boolean {
  if (at === 0) return false;
  const before = text[at - 1]!;
  if (text[at] === " " && !" 'n".includes(before)) return true;
  return at >= apart && !text.slice(at - apart, at).includes(" ");
}

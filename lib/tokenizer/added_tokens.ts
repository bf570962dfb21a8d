/** Finding added tokens in text, leftmost and longest first, as the Rust library does. */
import { eachIn, type Steps, sortedIn } from "../steps";
import type { AddedToken } from "./files";

/** A stretch of text: an added token, or what is between two of them. */
interface Piece {
  readonly text: string;
  readonly token?: AddedToken;
}

/** An added token as it is looked for. */
export interface SoughtToken {
  /** What stands in the text: the content, or what the normalizer makes of it. */
  readonly text: string;
  readonly token: AddedToken;
}

const trailingSpace = /\p{White_Space}+$/u;
const leadingSpace = /^\p{White_Space}+/u;

/**
 * Splits text at added tokens. The sorted list is searched instead of a trie: @huggingface/tokenizers has one of objects,
 * which takes a hundred times the memory of the tokens.
 */
export class AddedTokenSplitter {
  private constructor(
    private readonly sorted: readonly SoughtToken[],
    private readonly range: ReadonlyMap<number, readonly [number, number]>,
    /** 1 for the characters that a token begins with: most characters of a long text need no more than this look. */
    private readonly begins: Uint8Array,
  ) {}

  /** @param tokens of several with the same text, the last is found */
  static *of(tokens: Iterable<SoughtToken>): Steps<AddedTokenSplitter> {
    const byText = new Map<string, SoughtToken>();
    yield* eachIn(tokens, (one) => {
      if (one.text !== "") byText.set(one.text, one);
    });
    const sorted = yield* sortedIn([...byText.values()], (a, b) => (a.text < b.text ? -1 : 1));
    const range = new Map<number, readonly [number, number]>();
    const begins = new Uint8Array(1 << 16);
    let at = 0;
    yield* eachIn(sorted, ({ text }) => {
      const first = text.charCodeAt(0);
      range.set(first, [range.get(first)?.[0] ?? at, ++at]);
      begins[first] = 1;
    });
    return new AddedTokenSplitter(sorted, range, begins);
  }

  /** The tokens and what is between them, one after another; space that a token takes with it is left out. */
  *split(text: string): Generator<Piece, void> {
    let start = 0;
    let skips = false;
    const between = (end: number, token?: AddedToken) => {
      const piece = text.slice(start, end);
      const begun = skips ? piece.replace(leadingSpace, "") : piece;
      return token?.lstrip ? trimmedEnd(begun) : begun;
    };
    for (let at = this.firstFrom(text, 0); at < text.length; at = this.firstFrom(text, at)) {
      const found = this.longestAt(text, at);
      if (found === undefined) {
        at++;
        continue;
      }
      const end = at + found.text.length;
      if (found.token.single_word && !standsAlone(text, at, end)) {
        at = end; // it stays text, all of it
        continue;
      }
      const before = between(at, found.token);
      if (before !== "") yield { text: before };
      yield found;
      at = end;
      start = at;
      skips = found.token.rstrip;
    }
    const rest = between(text.length);
    if (rest !== "") yield { text: rest };
  }

  /** First place from `at` on where a token may begin, or the end. */
  private firstFrom(text: string, at: number): number {
    if (this.sorted.length === 0) return text.length;
    const { begins } = this;
    while (at < text.length && begins[text.charCodeAt(at)] === 0) at++;
    return at;
  }

  private longestAt(text: string, at: number): SoughtToken | undefined {
    const range = this.range.get(text.charCodeAt(at));
    if (range === undefined) return undefined;
    let [low, high] = range;
    let found: SoughtToken | undefined;
    for (let length = 1; low < high; length++) {
      // The shortest of those with the same beginning is the first of them.
      if (this.sorted[low]!.text.length === length) found = this.sorted[low++];
      if (low === high || at + length === text.length) break;
      const next = text.charCodeAt(at + length);
      // Most often all of them have the same character there, or none has that one.
      const first = this.sorted[low]!.text.charCodeAt(length);
      const last = this.sorted[high - 1]!.text.charCodeAt(length);
      if (next < first || next > last) break;
      if (first === last) continue;
      [low, high] = [this.bound(low, high, length, next), this.bound(low, high, length, next + 1)];
    }
    return found;
  }

  /** First place in [low, high) whose text has at least that character at `index`. */
  private bound(low: number, high: number, index: number, character: number): number {
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.sorted[middle]!.text.charCodeAt(index) < character) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const wordBefore = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]$/u;
const wordAfter = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u;

/** Whether no character of a word is beside [start, end). */
function standsAlone(text: string, start: number, end: number): boolean {
  return !wordBefore.test(text.slice(Math.max(0, start - 2), start)) && !wordAfter.test(text.slice(end, end + 2));
}

/** Looks from the end: a regular expression would try every run of spaces from its start. */
function trimmedEnd(text: string): string {
  let end = text.length;
  while (end > 0 && trailingSpace.test(text[end - 1]!)) end--;
  return text.slice(0, end);
}

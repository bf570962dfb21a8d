/** Finding added tokens in text, leftmost and longest first, as the Rust library does. */
import { type AddedTokens, flags, type SoughtColumns } from "./added_list";
import { TokenTable } from "./token_table";

/** An added token found in a text. */
interface Found {
  readonly id: number;
  readonly flags: number;
  /** UTF-16 units that it takes there. */
  readonly length: number;
}

/** A stretch of text: an added token, or what is between two of them. */
type Piece = { readonly text: string; readonly id: undefined } | { readonly id: number };

const trailingSpace = /\p{White_Space}+$/u;
const leadingSpace = /^\p{White_Space}+/u;
const spaceAt = /\p{White_Space}*/uy;

/**
 * Splits text at added tokens. The sorted list is searched instead of a trie: @huggingface/tokenizers has one of objects,
 * which takes a hundred times the memory of the tokens.
 */
export class AddedTokenSplitter {
  private readonly table: TokenTable;
  private readonly order: Int32Array;
  /** Places in the order, [start, end), of the tokens that begin with a character. */
  private readonly range = new Map<number, [number, number]>();
  /** 1 for the characters that a token begins with: most characters of a long text need no more than this look. */
  private readonly begins: Uint8Array;

  constructor(
    sought: SoughtColumns,
    private readonly added: AddedTokens,
  ) {
    this.table = new TokenTable(sought.table);
    this.order = sought.order;
    this.begins = new Uint8Array(this.order.length === 0 ? 0 : 1 << 16);
    for (let at = 0; at < this.order.length; at++) {
      const first = this.table.unitAt(this.order[at]!, 0);
      const known = this.range.get(first);
      if (known) known[1] = at + 1;
      else this.range.set(first, [at, at + 1]);
      this.begins[first] = 1;
    }
  }

  /** The tokens and what is between them, one after another, without the space that a token strips. */
  *split(text: string): Generator<Piece, void> {
    let start = 0;
    let skips = false;
    let spaceEnd = 0;
    const between = (end: number, bits: number) => {
      const piece = text.slice(start, end);
      const begun = skips ? piece.replace(leadingSpace, "") : piece;
      return bits & flags.lstrip ? trimmedEnd(begun) : begun;
    };
    for (let at = this.firstFrom(text, 0); at < text.length; at = this.firstFrom(text, at)) {
      const found = this.longestAt(text, at);
      if (found === undefined) {
        at++;
        continue;
      }
      const end = at + found.length;
      if (found.flags & flags.singleWord && !standsAlone(text, at, end)) {
        at = end; // it stays text, all of it
        continue;
      }
      // A token of spaces that strips those before it may stand in what the last token stripped: nothing of it is left.
      if (skips && found.flags & flags.lstrip && end <= spaceEnd) {
        at = end;
        continue;
      }
      const before = between(at, found.flags);
      if (before !== "") yield { text: before, id: undefined };
      yield { id: found.id };
      at = end;
      start = at;
      skips = (found.flags & flags.rstrip) !== 0;
      if (skips && at >= spaceEnd) spaceEnd = endOfSpace(text, at); // once for a run of spaces, which may be all tokens
    }
    const rest = between(text.length, 0);
    if (rest !== "") yield { text: rest, id: undefined };
  }

  /** First place from `at` on where a token may begin, or the end. */
  private firstFrom(text: string, at: number): number {
    if (this.order.length === 0) return text.length;
    const { begins } = this;
    while (at < text.length && begins[text.charCodeAt(at)] === 0) at++;
    return at;
  }

  private longestAt(text: string, at: number): Found | undefined {
    const range = this.range.get(text.charCodeAt(at));
    if (range === undefined) return undefined;
    const { table, order } = this;
    let [low, high] = range;
    let found = -1;
    for (let length = 1; low < high; length++) {
      // The shortest of those with the same beginning is the first of them.
      if (table.lengthAt(order[low]!) === length) found = order[low++]!;
      if (low === high || at + length === text.length) break;
      const next = text.charCodeAt(at + length);
      // Most often all of them have the same character there, or none has that one.
      const first = table.unitAt(order[low]!, length);
      const last = table.unitAt(order[high - 1]!, length);
      if (next < first || next > last) break;
      if (first === last) continue;
      [low, high] = [this.bound(low, high, length, next), this.bound(low, high, length, next + 1)];
    }
    if (found < 0) return undefined;
    const id = table.idAt(found);
    return { id, flags: this.added.flags(id), length: table.lengthAt(found) };
  }

  /** First place in [low, high) whose text has at least that character at `index`. */
  private bound(low: number, high: number, index: number, character: number): number {
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.table.unitAt(this.order[middle]!, index) < character) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const wordBefore = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]$/u;
const wordAfter = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u;

/** Whether no character of a word is next to [start, end). */
function standsAlone(text: string, start: number, end: number): boolean {
  return !wordBefore.test(text.slice(Math.max(0, start - 2), start)) && !wordAfter.test(text.slice(end, end + 2));
}

function endOfSpace(text: string, start: number): number {
  spaceAt.lastIndex = start;
  spaceAt.exec(text);
  return spaceAt.lastIndex;
}

/** Looks from the end: a regular expression would try every run of spaces from its start. */
function trimmedEnd(text: string): string {
  let end = text.length;
  while (end > 0 && trailingSpace.test(text[end - 1]!)) end--;
  return text.slice(0, end);
}

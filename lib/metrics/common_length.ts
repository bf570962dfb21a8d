/** The longest common subsequence, by 32 tokens at a time. */
import type { Steps } from "../steps";

/** Words of bits in one step: some tens of microseconds. */
const wordsInOneStep = 4096;

/** Where a token is in a text, in 32 places at a time: the bits of `masks[i]` are places from `32 * words[i]` on. */
interface Places {
  readonly words: number[];
  readonly masks: number[];
}

function* placesOf(tokens: readonly string[]): Steps<Map<string, Places>> {
  const places = new Map<string, Places>();
  for (const [at, token] of tokens.entries()) {
    if (at % wordsInOneStep === wordsInOneStep - 1) yield;
    let own = places.get(token);
    if (!own) {
      own = { words: [], masks: [] };
      places.set(token, own);
    }
    const word = at >>> 5;
    if (own.words.at(-1) !== word) {
      own.words.push(word);
      own.masks.push(0);
    }
    own.masks[own.masks.length - 1]! |= 1 << (at & 31);
  }
  return places;
}

/** One more token of the other text. @returns the number of words that it took */
function advance(row: Uint32Array, { words, masks }: Places): number {
  let carry = 0;
  let passed = 0;
  for (let i = 0, word = 0; i < words.length; i++) {
    // A word without the token: it only passes a carry on, and only if all its bits are set.
    for (; carry !== 0 && word < words[i]!; word++, passed++) carry = increment(row, word);
    word = words[i]!;
    const bits = row[word]!;
    const matched = (bits & masks[i]!) >>> 0;
    const sum = bits + matched + carry;
    carry = sum > 0xffffffff ? 1 : 0;
    row[word] = sum | (bits & ~matched);
    word++;
  }
  for (let word = (words.at(-1) ?? 0) + 1; carry !== 0 && word < row.length; word++, passed++)
    carry = increment(row, word);
  return words.length + passed;
}

/** Adds a carry to a word without a match. @returns the carry that it passes on */
function increment(row: Uint32Array, word: number): number {
  const bits = row[word]!;
  row[word] = (bits + 1) | bits;
  return bits === 0xffffffff ? 1 : 0;
}

/**
 * Length of the longest common subsequence of two texts, by Hyyrö's algorithm (Bit-parallel LCS-length computation revisited, 2004). A
 * bit of the row that is 0 is a place of `b` at which the row of the table of lengths rises by 1: a token of `a` takes
 * `V = (V + (V & M)) | (V & ~M)`, where M has the token's places in `b`. Words without one are passed over.
 */
export function* commonLength(a: readonly string[], b: readonly string[]): Steps<number> {
  const places = yield* placesOf(b);
  const row = new Uint32Array(Math.ceil(b.length / 32)).fill(0xffffffff);
  let done = 0;
  for (const token of a) {
    const own = places.get(token);
    done += own ? advance(row, own) : 1;
    if (done < wordsInOneStep) continue;
    done = 0;
    yield;
  }
  let length = 0;
  for (let at = 0; at < b.length; at++) if (((row[at >>> 5]! >>> (at & 31)) & 1) === 0) length++;
  return length;
}

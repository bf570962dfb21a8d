/** What byte-pair encoding works on: the merges of a vocabulary, and the queue of those that a word allows. */
import { grown } from "../columns";
import { quoted } from "../errors";
import { sharedInts, slotCount, type TokenTable } from "./token_table";

/** The `model` object of tokenizer.json where its `type` is "BPE", but for its vocabulary and merges. */
export interface BpeOptions {
  readonly unk_token?: string | null;
  readonly fuse_unk?: boolean | null;
  readonly byte_fallback?: boolean | null;
  readonly ignore_merges?: boolean | null;
}

const positions = 2 ** 28;

/** Candidates for a merge, ordered by (rank, position): a binary heap of rank * 2^28 + position, exact in a double. */
export class MergeQueue {
  private keys = new Float64Array(256);
  private size = 0;
  /** What `pop` removed. */
  poppedRank = 0;
  poppedPosition = 0;

  get empty(): boolean {
    return this.size === 0;
  }

  push(rank: number, position: number): void {
    if (this.size === this.keys.length) this.keys = grown(this.keys, 2 * this.size);
    const { keys } = this;
    const key = rank * positions + position;
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keys[parent]! < key) break;
      keys[at] = keys[parent]!;
      at = parent;
    }
    keys[at] = key;
  }

  /** Removes the first candidate. */
  pop(): void {
    const { keys } = this;
    this.poppedRank = Math.floor(keys[0]! / positions);
    this.poppedPosition = keys[0]! - this.poppedRank * positions;
    const size = --this.size;
    const last = keys[size]!;
    let at = 0;
    for (let child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && keys[child + 1]! < keys[child]!) child++;
      if (last <= keys[child]!) break;
      keys[at] = keys[child]!;
      at = child;
    }
    keys[at] = last;
  }

  /** Gives back what an unusually long word needed. */
  shrink(): void {
    if (this.keys.length > 1 << 16) this.keys = new Float64Array(256);
  }
}

/** Numbers by pair of numbers, in memory of one thread: open addressing, since a Map of so many pairs is the slowest part. */
export class PairMap {
  private readonly mask: number;
  /** 0 where a slot is free, else one more than the number. */
  private readonly lefts: Int32Array;
  private readonly rights: Int32Array;
  private readonly values: Int32Array;

  /** @param pairs how many will be set at most */
  constructor(pairs: number) {
    const size = slotCount(pairs);
    this.mask = size - 1;
    this.lefts = new Int32Array(size);
    this.rights = new Int32Array(size);
    this.values = new Int32Array(size);
  }

  set(left: number, right: number, value: number): void {
    const at = this.slot(left, right);
    this.lefts[at] = left + 1;
    this.rights[at] = right;
    this.values[at] = value;
  }

  /** @returns the value, or -1 where there is none */
  get(left: number, right: number): number {
    const at = this.slot(left, right);
    return this.lefts[at] === 0 ? -1 : this.values[at]!;
  }

  private slot(left: number, right: number): number {
    let at = hashOfPair(left, right) & this.mask;
    while (this.lefts[at] !== 0 && (this.lefts[at] !== left + 1 || this.rights[at] !== right))
      at = (at + 1) & this.mask;
    return at;
  }
}

function hashOfPair(left: number, right: number): number {
  const hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  return hash ^ (hash >>> 15);
}

/** Merges as they are posted to another thread, without a copy. */
export interface MergeColumns {
  /** One more than the rank, by the hash of the pair; 0 where a slot is free. */
  readonly slots: Int32Array<SharedArrayBuffer>;
  /** Token ids of the pair of each rank, [merges]. */
  readonly lefts: Int32Array<SharedArrayBuffer>;
  readonly rights: Int32Array<SharedArrayBuffer>;
  /** Token that the merge of each rank makes, [merges]. */
  readonly merged: Int32Array<SharedArrayBuffer>;
}

/** Merges by pair of token ids, in shared memory. */
export class MergeTable {
  /** Token that the merge of each rank makes. */
  readonly merged: Int32Array<SharedArrayBuffer>;
  private readonly slots: Int32Array<SharedArrayBuffer>;
  private readonly lefts: Int32Array<SharedArrayBuffer>;
  private readonly rights: Int32Array<SharedArrayBuffer>;
  private count = 0;

  /** @param merges how many will be added at most, or the columns of a table that is complete */
  constructor(merges: number | MergeColumns) {
    const isNew = typeof merges === "number";
    this.slots = isNew ? sharedInts(slotCount(merges)) : merges.slots;
    this.lefts = isNew ? sharedInts(merges) : merges.lefts;
    this.rights = isNew ? sharedInts(merges) : merges.rights;
    this.merged = isNew ? sharedInts(merges) : merges.merged;
  }

  /** The table for another thread. Nothing may be added to it any more. */
  get columns(): MergeColumns {
    const { slots, lefts, rights, merged } = this;
    return { slots, lefts, rights, merged };
  }

  /**
   * Adds the merge of the next rank. A pair that is given twice keeps its last rank, as in the tokenizers library.
   * @param merge the two tokens, or both with a space between them
   * @throws {Error} where the vocabulary lacks one of them, or what they make
   */
  add(merge: string | readonly [string, string], vocabulary: TokenTable): void {
    const rank = this.count++;
    const [left, right] = typeof merge === "string" ? splitOnce(merge) : merge;
    const id = (token: string, rest = "") => {
      const found = vocabulary.id(token, rest);
      if (found < 0) throw unknown(token + rest, `merge ${rank}`);
      return found;
    };
    const leftId = id(left);
    const rightId = id(right);
    this.merged[rank] = id(left, right);
    this.lefts[rank] = leftId;
    this.rights[rank] = rightId;
    this.slots[this.slot(leftId, rightId)] = rank + 1;
  }

  /** @returns the rank, or -1 where the two do not merge */
  rank(left: number, right: number): number {
    return this.slots[this.slot(left, right)]! - 1;
  }

  /** Calls back with every pair and its rank. */
  forEach(visit: (left: number, right: number, rank: number) => void): void {
    for (const slot of this.slots) if (slot !== 0) visit(this.lefts[slot - 1]!, this.rights[slot - 1]!, slot - 1);
  }

  private slot(left: number, right: number): number {
    const { slots, lefts, rights } = this;
    const mask = slots.length - 1;
    let at = hashOfPair(left, right) & mask;
    for (let slot = slots[at]!; slot !== 0; slot = slots[at]!) {
      if (lefts[slot - 1] === left && rights[slot - 1] === right) break;
      at = (at + 1) & mask;
    }
    return at;
  }
}

/** The error about a token that is missing. */
export function unknown(token: string, where: string): Error {
  return new Error(`${where} names ${quoted(token)}, which the vocabulary lacks`);
}

function splitOnce(merge: string): [string, string] {
  const space = merge.indexOf(" ");
  return [merge.slice(0, space), merge.slice(space + 1)];
}

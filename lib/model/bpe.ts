/**
 * Byte-pair encoding by a heap over merge ranks, on typed arrays: the order of merges is that of the `tokenizers`
 * library (lowest rank first, leftmost first among equals). A word of n characters costs O(n log n) time and about
 * 40 n bytes, so that whole documents without pre-tokenisation (LLaMA 1 and 2) can be encoded.
 */

import { quoted } from "../errors";
import type { TokenTable } from "./token_table";

/** The `model` object of tokenizer.json where its `type` is "BPE", but for its vocabulary and merges. */
export interface BpeOptions {
  readonly unk_token?: string | null;
  readonly fuse_unk?: boolean | null;
  readonly byte_fallback?: boolean | null;
  readonly ignore_merges?: boolean | null;
}

const cachedWordLength = 48;
const cachedWords = 20_000;

const positions = 2 ** 28;

/** Candidates for a merge, ordered by (rank, position): a binary heap of rank * 2^28 + position, exact in a double. */
class MergeQueue {
  private keys = new Float64Array(256);
  private size = 0;
  /** What `pop` removed. */
  poppedRank = 0;
  poppedPosition = 0;

  get empty(): boolean {
    return this.size === 0;
  }

  push(rank: number, position: number): void {
    if (this.size === this.keys.length) {
      const larger = new Float64Array(this.size * 2);
      larger.set(this.keys);
      this.keys = larger;
    }
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

/** Merges by pair of token ids: open addressing in typed arrays, since a Map of so many pairs is the slowest part. */
export class MergeTable {
  private readonly mask: number;
  /** 0 where a slot is free, else one more than the id. */
  private readonly lefts: Int32Array;
  private readonly rights: Int32Array;
  private readonly ranks: Int32Array;
  /** Token that the merge of each rank makes. */
  readonly merged: Int32Array;
  private count = 0;

  /** @param merges how many will be added at most */
  constructor(merges: number) {
    const size = 1 << (33 - Math.clz32(Math.max(merges, 8)));
    this.mask = size - 1;
    this.lefts = new Int32Array(size);
    this.rights = new Int32Array(size);
    this.ranks = new Int32Array(size);
    this.merged = new Int32Array(merges);
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
    const at = this.slot(leftId, rightId);
    this.lefts[at] = leftId + 1;
    this.rights[at] = rightId;
    this.ranks[at] = rank;
  }

  private slot(left: number, right: number): number {
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash ^= hash >>> 15;
    let at = hash & this.mask;
    while (this.lefts[at] !== 0 && (this.lefts[at] !== left + 1 || this.rights[at] !== right))
      at = (at + 1) & this.mask;
    return at;
  }

  /** @returns the rank, or -1 where the two do not merge */
  rank(left: number, right: number): number {
    const at = this.slot(left, right);
    return this.lefts[at] === 0 ? -1 : this.ranks[at]!;
  }
}

/** Encodes words (pre-tokens) to token strings of a BPE vocabulary. */
export class BytePairEncoder {
  private readonly tokens: (string | undefined)[];
  /** Ids of the characters up to U+FFFF, -1 for those out of vocabulary, -2 for those not met yet. */
  private readonly characters = new Int32Array(1 << 16).fill(-2);
  private readonly unknown: number | undefined;
  private readonly byteTokens: readonly (number | undefined)[] | undefined;
  private readonly queue = new MergeQueue();
  private readonly cache = new Map<string, readonly string[]>();
  private symbols = new Int32Array(256);
  private previous = new Int32Array(256);
  private next = new Int32Array(256);

  /** @throws {Error} where `unk_token` names a token that the vocabulary lacks */
  constructor(
    private readonly model: BpeOptions,
    private readonly vocabulary: TokenTable,
    private readonly merges: MergeTable,
  ) {
    this.tokens = new Array(vocabulary.idCount);
    if (model.unk_token != null) {
      this.unknown = vocabulary.id(model.unk_token);
      if (this.unknown < 0) throw unknown(model.unk_token, "unk_token");
    }
    if (model.byte_fallback)
      this.byteTokens = Array.from({ length: 256 }, (_, byte) => {
        const id = vocabulary.id(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
        return id < 0 ? undefined : id;
      });
  }

  private token(id: number): string {
    const token = this.tokens[id] ?? this.vocabulary.text(id)!;
    this.tokens[id] = token;
    return token;
  }

  /** Token strings of the words, in order. */
  encode(words: readonly string[]): string[] {
    const result: string[] = [];
    for (const word of words) for (const token of this.encodeWord(word)) result.push(token);
    return result;
  }

  private encodeWord(word: string): readonly string[] {
    if (this.model.ignore_merges && this.vocabulary.id(word) >= 0) return [word];
    const cached = this.cache.get(word);
    if (cached) return cached;
    const result = this.mergeWord(word);
    if (word.length <= cachedWordLength) {
      if (this.cache.size >= cachedWords) this.cache.clear();
      this.cache.set(word, result);
    }
    return result;
  }

  private mergeWord(word: string): string[] {
    const count = this.split(word);
    const { symbols, previous, next, queue } = this;
    for (let at = 0; at < count; at++) {
      previous[at] = at - 1;
      next[at] = at + 1 < count ? at + 1 : -1;
    }
    for (let at = 0; at + 1 < count; at++) this.offer(at, at + 1);
    while (!queue.empty) {
      queue.pop();
      const at = queue.poppedPosition;
      const right = next[at]!;
      // Candidates go stale when a neighbour was merged away; the pair now at the position tells.
      if (symbols[at]! < 0 || right < 0) continue;
      const rank = this.rank(at, right);
      const token = this.merges.merged[queue.poppedRank]!;
      if (rank < 0 || this.merges.merged[rank] !== token) continue;
      symbols[at] = token;
      symbols[right] = -1;
      const after = next[right]!;
      next[at] = after;
      if (after >= 0) {
        previous[after] = at;
        this.offer(at, after);
      }
      if (previous[at]! >= 0) this.offer(previous[at]!, at);
    }
    const result: string[] = [];
    if (count > 0) for (let at = 0; at >= 0; at = next[at]!) result.push(this.token(symbols[at]!));
    this.release();
    return result;
  }

  private rank(left: number, right: number): number {
    return this.merges.rank(this.symbols[left]!, this.symbols[right]!);
  }

  private offer(left: number, right: number): void {
    const rank = this.rank(left, right);
    if (rank >= 0) this.queue.push(rank, left);
  }

  /** Writes the symbols of the word's characters; those out of vocabulary become bytes, the unknown token, or nothing. */
  private split(word: string): number {
    this.reserve(word.length * (this.byteTokens ? 3 : 1));
    let count = 0;
    let unknownBefore = false;
    for (let at = 0; at < word.length; at++) {
      const code = word.codePointAt(at)!;
      if (code > 0xffff) at++;
      const id = this.character(code);
      if (id >= 0) {
        this.symbols[count++] = id;
        unknownBefore = false;
        continue;
      }
      const character = String.fromCodePoint(code);
      const bytes = this.bytesOf(character);
      if (bytes) {
        for (const byte of bytes) this.symbols[count++] = byte;
        unknownBefore = false;
      } else if (this.unknown !== undefined) {
        if (!(unknownBefore && this.model.fuse_unk)) this.symbols[count++] = this.unknown;
        unknownBefore = true;
      }
    }
    return count;
  }

  private character(code: number): number {
    if (code > 0xffff) return this.vocabulary.id(String.fromCodePoint(code));
    const known = this.characters[code]!;
    if (known > -2) return known;
    const id = this.vocabulary.id(String.fromCharCode(code));
    this.characters[code] = id;
    return id;
  }

  private bytesOf(character: string): number[] | undefined {
    if (!this.byteTokens) return undefined;
    const ids: number[] = [];
    for (const byte of Buffer.from(character)) {
      const id = this.byteTokens[byte];
      if (id === undefined) return undefined;
      ids.push(id);
    }
    return ids;
  }

  private reserve(length: number): void {
    if (length <= this.symbols.length) return;
    const size = Math.max(length, this.symbols.length * 2);
    this.symbols = new Int32Array(size);
    this.previous = new Int32Array(size);
    this.next = new Int32Array(size);
  }

  private release(): void {
    this.queue.shrink();
    if (this.symbols.length > 1 << 16) this.symbols = this.previous = this.next = new Int32Array(0);
  }
}

function unknown(token: string, where: string): Error {
  return new Error(`${where} names ${quoted(token)}, which the vocabulary lacks`);
}

function splitOnce(merge: string): [string, string] {
  const space = merge.indexOf(" ");
  return [merge.slice(0, space), merge.slice(space + 1)];
}

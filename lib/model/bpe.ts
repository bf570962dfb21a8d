/**
 * Byte-pair encoding by a heap over merge ranks, on typed arrays: the order of merges is that of the `tokenizers`
 * library (lowest rank first, leftmost first among equals). A word of n characters costs O(n log n) time and about
 * 40 n bytes, so that whole documents without pre-tokenisation (LLaMA 1 and 2) can be encoded.
 */

/** The `model` object of tokenizer.json where its `type` is "BPE". */
export interface BpeModel {
  readonly vocab: Record<string, number>;
  readonly merges: readonly (string | readonly [string, string])[];
  readonly unk_token?: string | null;
  readonly fuse_unk?: boolean | null;
  readonly byte_fallback?: boolean | null;
  readonly ignore_merges?: boolean | null;
}

const cachedWordLength = 48;
const cachedWords = 20_000;

/** Candidates for a merge, ordered by (rank, position): a binary heap in three parallel arrays that grow as needed. */
class MergeQueue {
  private ranks = new Int32Array(256);
  private positions = new Int32Array(256);
  private size = 0;

  get empty(): boolean {
    return this.size === 0;
  }

  private before(a: number, b: number): boolean {
    const difference = this.ranks[a]! - this.ranks[b]!;
    return difference < 0 || (difference === 0 && this.positions[a]! < this.positions[b]!);
  }

  private swap(a: number, b: number): void {
    const rank = this.ranks[a]!;
    const position = this.positions[a]!;
    this.ranks[a] = this.ranks[b]!;
    this.positions[a] = this.positions[b]!;
    this.ranks[b] = rank;
    this.positions[b] = position;
  }

  push(rank: number, position: number): void {
    if (this.size === this.ranks.length) {
      this.ranks = grown(this.ranks, this.size * 2);
      this.positions = grown(this.positions, this.size * 2);
    }
    let at = this.size++;
    this.ranks[at] = rank;
    this.positions[at] = position;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.before(at, parent)) break;
      this.swap(at, parent);
      at = parent;
    }
  }

  /** Removes the first candidate; read it from `poppedRank` and `poppedPosition`. */
  pop(): void {
    this.poppedRank = this.ranks[0]!;
    this.poppedPosition = this.positions[0]!;
    this.size--;
    if (this.size === 0) return;
    this.swap(0, this.size);
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= this.size) return;
      const child = left + 1 < this.size && this.before(left + 1, left) ? left + 1 : left;
      if (!this.before(child, at)) return;
      this.swap(at, child);
      at = child;
    }
  }

  poppedRank = 0;
  poppedPosition = 0;

  /** Gives back what an unusually long word needed. */
  shrink(): void {
    if (this.ranks.length > 1 << 16) {
      this.ranks = new Int32Array(256);
      this.positions = new Int32Array(256);
    }
  }
}

function grown(array: Int32Array, length: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(length);
  larger.set(array);
  return larger;
}

/** Encodes words (pre-tokens) to token strings of a BPE vocabulary. */
export class BytePairEncoder {
  private readonly tokens: string[] = [];
  private readonly ids: Map<string, number>;
  /** Rank of the merge of (left, right), keyed by left * tokens + right. */
  private readonly ranks = new Map<number, number>();
  /** Token that the merge of each rank makes. */
  private readonly merged: Int32Array;
  private readonly base: number;
  private readonly unknown: number | undefined;
  private readonly byteTokens: readonly (number | undefined)[] | undefined;
  private readonly queue = new MergeQueue();
  private readonly cache = new Map<string, readonly string[]>();
  private symbols = new Int32Array(256);
  private previous = new Int32Array(256);
  private next = new Int32Array(256);

  /**
   * @throws {Error} where a merge or `unk_token` names a token that the vocabulary lacks
   */
  constructor(private readonly model: BpeModel) {
    this.ids = new Map(Object.entries(model.vocab));
    for (const [token, id] of this.ids) this.tokens[id] = token;
    this.base = this.tokens.length;
    this.merged = new Int32Array(model.merges.length);
    for (const [rank, merge] of model.merges.entries()) this.addMerge(rank, merge);
    this.unknown = model.unk_token == null ? undefined : this.id(model.unk_token, "unk_token");
    if (model.byte_fallback)
      this.byteTokens = Array.from({ length: 256 }, (_, byte) =>
        this.ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`),
      );
  }

  private id(token: string, where: string): number {
    const id = this.ids.get(token);
    if (id === undefined) throw new Error(`${where} names ${JSON.stringify(token)}, which the vocabulary lacks`);
    return id;
  }

  private addMerge(rank: number, merge: string | readonly [string, string]): void {
    const [left, right] = typeof merge === "string" ? splitOnce(merge) : merge;
    const where = `merge ${rank}`;
    const key = this.id(left, where) * this.base + this.id(right, where);
    this.merged[rank] = this.id(left + right, where);
    this.ranks.set(key, rank); // a pair given twice keeps its last rank, as in the tokenizers library
  }

  /** Token strings of the words, in order. */
  encode(words: readonly string[]): string[] {
    const result: string[] = [];
    for (const word of words) for (const token of this.encodeWord(word)) result.push(token);
    return result;
  }

  private encodeWord(word: string): readonly string[] {
    if (this.model.ignore_merges && this.ids.has(word)) return [word];
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
      const token = this.merged[queue.poppedRank]!;
      if (rank === undefined || this.merged[rank] !== token) continue;
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
    if (count > 0) for (let at = 0; at >= 0; at = next[at]!) result.push(this.tokens[symbols[at]!]!);
    this.release();
    return result;
  }

  private rank(left: number, right: number): number | undefined {
    return this.ranks.get(this.symbols[left]! * this.base + this.symbols[right]!);
  }

  private offer(left: number, right: number): void {
    const rank = this.rank(left, right);
    if (rank !== undefined) this.queue.push(rank, left);
  }

  /** Writes the symbols of the word's characters; those out of vocabulary become bytes, the unknown token, or nothing. */
  private split(word: string): number {
    this.reserve(word.length * (this.byteTokens ? 3 : 1));
    let count = 0;
    let unknownBefore = false;
    for (const character of word) {
      const id = this.ids.get(character);
      if (id !== undefined) {
        this.symbols[count++] = id;
        unknownBefore = false;
        continue;
      }
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

function splitOnce(merge: string): [string, string] {
  const space = merge.indexOf(" ");
  return [merge.slice(0, space), merge.slice(space + 1)];
}

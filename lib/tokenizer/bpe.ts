/**
 * Byte-pair encoding by a heap over merge ranks, on typed arrays: the order of merges is that of the `tokenizers`
 * library (lowest rank first, leftmost first among equals). A long word is encoded in stretches (see `merge`), so that whole
 * documents without pre-tokenization (LLaMA 1 and 2) take little memory, and only as much time as the ids that are wanted.
 */
import { limits } from "../limits";
import { SymbolReader } from "./bpe_symbols";
import { type BpeOptions, MergeQueue, type MergeTable, PairMap } from "./bpe_tables";
import type { IdList } from "./id_list";
import { byteLevelSpelling } from "./pre_tokens";
import type { TokenTable } from "./token_table";

/** A BPE vocabulary. */
export interface BytePairModel {
  readonly options: BpeOptions;
  readonly vocabulary: TokenTable;
  readonly merges: MergeTable;
}

const cachedWordLength = 48;
const cachedWords = 20_000;
/** Symbols of a long word that are merged together at first. */
const usualStretch = 4096;
const never = 0x7fffffff;

/** Encodes words (pre-tokens) to ids. */
export class BytePairEncoder {
  private readonly reader: SymbolReader;
  private readonly queue = new MergeQueue();
  private readonly cache = new Map<string, readonly number[]>();
  private previous = new Int32Array(256);
  private next = new Int32Array(256);
  private risks: PairMap | undefined;
  private readonly divisible: boolean;

  /**
   * @param byteLevel whether words are spelled by their bytes
   * @param stretch symbols of a long word that are merged together at first
   * @throws {Error} where `unk_token` names a token that the vocabulary lacks
   */
  constructor(
    private readonly model: BytePairModel,
    private readonly byteLevel: boolean,
    private readonly stretch = usualStretch,
  ) {
    this.reader = new SymbolReader(model.options, model.vocabulary, byteLevel);
    this.divisible = model.vocabulary.isUnambiguous();
  }

  /** Characters so far that became nothing: the vocabulary has neither them nor a token for what it lacks. */
  get dropped(): number {
    return this.reader.dropped;
  }

  /** Appends the ids of a word, of a long one no more than its first that the list has room for. */
  encode(word: string, into: IdList): void {
    const cached = this.cache.get(word);
    if (cached) {
      for (const id of cached) into.push(id);
      return;
    }
    const start = into.length;
    const { dropped } = this;
    const whole = this.wholeWord(word);
    if (whole >= 0) into.push(whole);
    else this.mergeWord(word, into);
    if (word.length > cachedWordLength || this.dropped > dropped) return; // each time is counted
    if (this.cache.size >= cachedWords) this.cache.clear();
    this.cache.set(word, into.from(start));
  }

  /** The token that a word is without any merge, or -1. */
  private wholeWord(word: string): number {
    if (!this.model.options.ignore_merges || word.length > limits.tokenCharacters) return -1;
    return this.model.vocabulary.id(this.byteLevel ? byteLevelSpelling(word) : word);
  }

  private mergeWord(word: string, into: IdList): void {
    const { reader } = this;
    reader.start(word);
    for (let most = this.stretch; ; ) {
      reader.read(this.divisible ? most : never);
      const { count } = reader;
      if (reader.ended) {
        this.append(this.merge(count, -1), into);
        break;
      }
      const symbols = reader.symbols.slice(0, count);
      const certain = this.merge(most, this.model.vocabulary.firstUnit(symbols[most]!));
      this.append(certain, into);
      if (into.full) break;
      reader.symbols.set(symbols.subarray(certain));
      reader.count = count - certain;
      most = certain > 0 ? this.stretch : 2 * most;
    }
    reader.release();
    this.queue.shrink();
    if (this.next.length > 1 << 16) this.previous = this.next = new Int32Array(0);
  }

  /** Appends the ids of the tokens before a place. */
  private append(end: number, into: IdList): void {
    for (let at = 0; at >= 0 && at < end; at = this.next[at]!) into.push(this.reader.symbols[at]!);
  }

  /**
   * Merges the first symbols of what was read.
   *
   * Where the word continues, its end is not certain: what follows may merge with the last token at any time. `last` is the last
   * token that is certain. It stays so while no merge with what follows it can have come before those that were done: it
   * would need a lower rank than one of them (among equal ranks the left merge comes first). `risk` is the lowest rank that
   * it can have, given the character that follows. Tokens after `last` are left as they are. At the end no merge waits any
   * longer, so that `last` must be a token that merges with nothing that begins with that character. Nothing then ever merges
   * over its end: the word is encoded there as two words would be.
   * @param following first UTF-16 unit of the symbol that follows, or -1 where the word ends
   * @returns number of symbols whose tokens are certain
   */
  private merge(count: number, following: number): number {
    this.link(count);
    const { queue, next, previous } = this;
    const { symbols } = this.reader;
    const { merged } = this.model.merges;
    const ended = following < 0;
    let last = count - 1;
    let risk = ended ? never : this.risk(last, following);
    let highest = -1;
    while (!queue.empty) {
      queue.pop();
      const at = queue.poppedPosition;
      const right = next[at]!;
      // Candidates go stale when a neighbour was merged away; the pair now at the position decides.
      if (symbols[at]! < 0 || right < 0) continue;
      const rank = this.rank(at, right);
      const token = merged[queue.poppedRank]!;
      if (rank < 0 || merged[rank] !== token || right > last) continue;
      if (queue.poppedRank > highest) highest = queue.poppedRank;
      while (risk < highest) {
        last = previous[last]!;
        risk = last < 0 ? never : this.risk(last, following);
      }
      if (right > last) continue;
      symbols[at] = token;
      symbols[right] = -1;
      const after = next[right]!;
      next[at] = after;
      if (after >= 0) {
        previous[after] = at;
        this.offer(at, after);
      }
      if (previous[at]! >= 0) this.offer(previous[at]!, at);
      if (ended || right !== last) continue;
      last = at;
      risk = this.risk(last, following);
    }
    if (ended) return count;
    while (last >= 0 && this.risk(last, following) < never) last = previous[last]!;
    if (last < 0) return 0;
    return next[last]! < 0 ? count : next[last]!;
  }

  /** Makes a list of the symbols and offers their pairs. */
  private link(count: number): void {
    if (count > this.next.length) {
      const size = Math.max(count, this.next.length * 2);
      this.previous = new Int32Array(size);
      this.next = new Int32Array(size);
    }
    const { previous, next } = this;
    for (let at = 0; at < count; at++) {
      previous[at] = at - 1;
      next[at] = at + 1 < count ? at + 1 : -1;
    }
    for (let at = 0; at + 1 < count; at++) this.offer(at, at + 1);
  }

  private rank(left: number, right: number): number {
    const { symbols } = this.reader;
    return this.model.merges.rank(symbols[left]!, symbols[right]!);
  }

  private offer(left: number, right: number): void {
    const rank = this.rank(left, right);
    if (rank >= 0) this.queue.push(rank, left);
  }

  /** The lowest rank that a merge of a token with what follows it can have, for any merges of what follows. */
  private risk(at: number, following: number): number {
    this.risks ??= this.lowestRanks();
    const { symbols } = this.reader;
    const after = this.next[at]!;
    const unit = after < 0 ? following : this.model.vocabulary.firstUnit(symbols[after]!);
    const rank = this.risks.get(symbols[at]!, unit);
    return rank < 0 ? never : rank;
  }

  /** Lowest ranks of merges by their left token and the first UTF-16 unit of the right one. */
  private lowestRanks(): PairMap {
    const { merges, vocabulary } = this.model;
    const ranks = new PairMap(merges.merged.length);
    merges.forEach((left, right, rank) => {
      const unit = vocabulary.firstUnit(right);
      const known = ranks.get(left, unit);
      if (known < 0 || rank < known) ranks.set(left, unit, rank);
    });
    return ranks;
  }
}

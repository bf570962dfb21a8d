/**
 * The unigram model of SentencePiece (Kudo 2018): of all ways to split a word into pieces of the vocabulary, the one with the
 * largest sum of scores, found by Viterbi's algorithm. Sums, ties and unknown characters are those of the `tokenizers` library.
 */
import { RubricateError } from "../errors";
import type { IdList } from "./id_list";
import { byteLevelSpelling } from "./pre_tokens";
import type { PieceTable } from "./unigram_pieces";

/** The rest of the `model` object of tokenizer.json where its `type` is "Unigram". */
export interface UnigramOptions {
  readonly unk_id?: number | null;
  readonly byte_fallback?: boolean | null;
}

/** A unigram model. */
export interface UnigramModel {
  readonly options: UnigramOptions;
  readonly pieces: PieceTable;
}

/** What an unknown character costs, beside the lowest score of the vocabulary. */
const unknownPenalty = 10;
const cachedWordLength = 48;
const cachedWords = 20_000;
/** UTF-16 units of a long word whose pieces are held before it is seen which of them are certain. */
const usualStretch = 4096;

/** Encodes words (pre-tokens) to ids, in time in proportion to their length: a piece has a bounded length. */
export class UnigramEncoder {
  private readonly cache = new Map<string, readonly number[]>();
  private readonly unknownId: number;
  private readonly unknownScore: number;
  private readonly byteTokens: readonly number[] | undefined;
  /** Of the best pieces up to each place from `base` on: their score, where the last one begins, and its id. */
  private scores = new Float64Array(256);
  private begins = new Int32Array(256).fill(-1);
  private ids = new Int32Array(256);
  private base = 0;
  /** Places that may have a piece. */
  private used = 0;
  /** Unknown characters in a row, [start, end) of the word; they make one token. */
  private runStart = -1;
  private runEnd = -1;

  /**
   * @param byteLevel whether words are spelled by their bytes
   * @param stretch units of a long word that are held at first
   */
  constructor(
    private readonly pieces: PieceTable,
    { unk_id, byte_fallback }: UnigramOptions,
    private readonly byteLevel: boolean,
    private readonly stretch = usualStretch,
  ) {
    this.unknownId = unk_id ?? -1;
    this.unknownScore = pieces.lowestScore - unknownPenalty;
    if (byte_fallback)
      this.byteTokens = Array.from({ length: 256 }, (_, byte) =>
        pieces.id(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`),
      );
  }

  /**
   * Appends the ids of a word, of a long one no more than its first that the list has room for.
   * @throws {RubricateError} ERR_TOKENIZER for an unknown character where the vocabulary has no unknown token
   */
  encode(word: string, into: IdList): void {
    const cached = this.cache.get(word);
    if (cached) {
      for (const id of cached) into.push(id);
      return;
    }
    const start = into.length;
    this.split(this.byteLevel ? byteLevelSpelling(word) : word, into, word.length > cachedWordLength);
    if (word.length > cachedWordLength) return;
    if (this.cache.size >= cachedWords) this.cache.clear();
    this.cache.set(word, into.from(start));
  }

  /** @param mayEnd whether it ends where the list is full */
  private split(word: string, into: IdList, mayEnd: boolean): void {
    this.base = 0;
    this.runStart = -1;
    this.begins.fill(-1, 0, this.used);
    this.used = 1;
    this.scores[0] = 0;
    let reach = 0;
    let most = this.stretch;
    for (let at = 0; at < word.length; ) {
      // No piece goes over this place: what is before it is certain. Of a long word other places are looked for.
      let certain = reach === at ? at : this.base;
      if (certain === this.base && at - this.base >= most) {
        certain = this.commonPlace(at, reach);
        most = certain > this.base ? this.stretch : 2 * most;
      }
      if (certain > this.base) {
        this.append(certain, word, into);
        this.drop(certain, reach);
        if (mayEnd && into.full) return;
      }
      const width = word.codePointAt(at)! > 0xffff ? 2 : 1;
      reach = Math.max(reach, this.extend(word, at, width));
      at += width;
    }
    this.append(word.length, word, into);
    this.endRun(word, into);
    if (this.scores.length > 1 << 16) {
      this.scores = new Float64Array(256);
      this.begins = new Int32Array(256).fill(-1);
      this.used = 0;
      this.ids = new Int32Array(256);
    }
  }

  /** Offers all pieces that begin at a place, or that its character is unknown. @returns the furthest place that was offered one */
  private extend(word: string, at: number, width: number): number {
    const { pieces } = this;
    const score = this.scores[at - this.base]!;
    let single = false;
    let reach = at;
    for (let node = 0, end = at; end < word.length; ) {
      node = pieces.child(node, word.charCodeAt(end++));
      if (node < 0) break;
      const id = pieces.idAt(node);
      if (id < 0) continue;
      this.offer(end, score + pieces.score(id), at, id);
      reach = end;
      if (end - at === width) single = true;
    }
    if (single) return reach;
    if (this.offer(at + width, score + this.unknownScore, at, this.unknownId) && this.unknownId < 0)
      throw new RubricateError(
        "ERR_TOKENIZER",
        `Expected characters of the vocabulary, which has no unknown token, but the text has ${JSON.stringify(word.slice(at, at + width))}`,
      );
    return Math.max(reach, at + width);
  }

  /** Takes a piece if it is better than what ends there so far. @returns whether it is */
  private offer(end: number, score: number, begin: number, id: number): boolean {
    const place = end - this.base;
    this.reserve(place + 1);
    if (this.begins[place]! >= 0 && !(score > this.scores[place]!)) return false;
    this.scores[place] = score;
    this.begins[place] = begin;
    this.ids[place] = id;
    return true;
  }

  /** Places that are new have no piece. */
  private reserve(places: number): void {
    if (places > this.used) this.used = places;
    const { length } = this.begins;
    if (places <= length) return;
    const larger = <T extends Float64Array | Int32Array>(array: T, made: T): T => {
      made.set(array);
      return made;
    };
    const size = Math.max(places, 2 * length);
    this.scores = larger(this.scores, new Float64Array(size));
    this.begins = larger(this.begins, new Int32Array(size).fill(-1));
    this.ids = larger(this.ids, new Int32Array(size));
  }

  /** The last place that the best pieces up to each place from `at` on have in common: whatever follows, they go through it. */
  private commonPlace(at: number, reach: number): number {
    const { base, begins } = this;
    const live = new Set([at]);
    for (let end = at + 1; end <= reach; end++) if (begins[end - base]! >= 0) live.add(begins[end - base]!);
    for (let place = at; live.size > 1; place--) if (live.delete(place)) live.add(begins[place - base]!);
    return [...live][0]!;
  }

  /** Forgets the places before a certain one. */
  private drop(certain: number, reach: number): void {
    const shift = certain - this.base;
    const kept = reach + 1 - this.base;
    for (const array of [this.scores, this.begins, this.ids]) array.copyWithin(0, shift, kept);
    this.begins.fill(-1, kept - shift, kept);
    this.base = certain;
  }

  /** Appends the ids of the best pieces up to a place. */
  private append(end: number, word: string, into: IdList): void {
    const { base, begins, ids } = this;
    const ends: number[] = [];
    for (let at = end; at > base; at = begins[at - base]!) ends.push(at);
    for (const at of ends.reverse()) {
      const id = ids[at - base]!;
      if (id === this.unknownId) {
        if (this.runStart < 0) this.runStart = begins[at - base]!;
        this.runEnd = at;
      } else {
        this.endRun(word, into);
        into.push(id);
      }
    }
  }

  /** Appends what unknown characters in a row are: a token by chance, their bytes, or the unknown token. */
  private endRun(word: string, into: IdList): void {
    if (this.runStart < 0) return;
    const run = word.slice(this.runStart, this.runEnd);
    this.runStart = -1;
    const known = this.pieces.id(run);
    const bytes = known < 0 && this.byteTokens ? Array.from(Buffer.from(run), (byte) => this.byteTokens![byte]!) : [-1];
    if (known >= 0) into.push(known);
    else if (bytes.every((id) => id >= 0)) for (const id of bytes) into.push(id);
    else into.push(this.unknownId);
  }
}

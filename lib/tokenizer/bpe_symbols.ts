/** The symbols that a word begins as, before any merge. */
import { grown } from "../columns";
import { type BpeOptions, unknown } from "./bpe_tables";
import { byteCharacters } from "./pre_tokens";
import type { TokenTable } from "./token_table";

/** Reads one word after another, each as many symbols at a time as are wanted. */
export class SymbolReader {
  /** The symbols. Who takes some of them away writes what is left, and its number. */
  symbols = new Int32Array(256);
  count = 0;
  /** Characters so far that became nothing. */
  dropped = 0;
  private word = "";
  private at = 0;
  private unknownBefore = false;
  /** Ids of the characters up to U+FFFF, -1 for those out of vocabulary, -2 for those not met yet. */
  private readonly characters = new Int32Array(1 << 16).fill(-2);
  private readonly unknown: number | undefined;
  private readonly byteTokens: readonly (number | undefined)[] | undefined;

  /**
   * @param byteLevel whether words are spelled by their bytes
   * @throws {Error} where `unk_token` names a token that the vocabulary lacks
   */
  constructor(
    private readonly options: BpeOptions,
    private readonly vocabulary: TokenTable,
    private readonly byteLevel: boolean,
  ) {
    if (options.unk_token != null) {
      this.unknown = vocabulary.id(options.unk_token);
      if (this.unknown < 0) throw unknown(options.unk_token, "unk_token");
    }
    if (options.byte_fallback)
      this.byteTokens = Array.from({ length: 256 }, (_, byte) => {
        const id = vocabulary.id(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
        return id < 0 ? undefined : id;
      });
  }

  start(word: string): void {
    this.word = word;
    this.at = 0;
    this.count = 0;
    this.unknownBefore = false;
  }

  /** Whether the whole word was read. */
  get ended(): boolean {
    return this.at === this.word.length;
  }

  /** Reads until there are more than `most` symbols, or the word ends. */
  read(most: number): void {
    const { word } = this;
    while (this.at < word.length && this.count <= most) {
      if (this.count + symbolsOfCharacter > this.symbols.length)
        this.symbols = grown(this.symbols, 2 * this.symbols.length);
      const code = word.codePointAt(this.at)!;
      this.at += code > 0xffff ? 2 : 1;
      if (!this.byteLevel) this.append(code);
      else if (code < 0x80) this.append(byteCodes[code]!);
      else for (const byte of Buffer.from(String.fromCodePoint(code))) this.append(byteCodes[byte]!);
    }
  }

  /** Gives back what an unusually long word needed. */
  release(): void {
    this.word = "";
    this.at = 0;
    if (this.symbols.length > 1 << 16) this.symbols = new Int32Array(256);
  }

  /** A character out of vocabulary becomes bytes, the unknown token, or nothing. */
  private append(code: number): void {
    const id = this.character(code);
    if (id >= 0) {
      this.symbols[this.count++] = id;
      this.unknownBefore = false;
      return;
    }
    const bytes = this.bytesOf(code);
    if (bytes) {
      for (const byte of bytes) this.symbols[this.count++] = byte;
      this.unknownBefore = false;
    } else if (this.unknown !== undefined) {
      if (!(this.unknownBefore && this.options.fuse_unk)) this.symbols[this.count++] = this.unknown;
      this.unknownBefore = true;
    } else this.dropped++;
  }

  private character(code: number): number {
    if (code > 0xffff) return this.vocabulary.id(String.fromCodePoint(code));
    const known = this.characters[code]!;
    if (known > -2) return known;
    const id = this.vocabulary.id(String.fromCharCode(code));
    this.characters[code] = id;
    return id;
  }

  private bytesOf(code: number): number[] | undefined {
    if (!this.byteTokens) return undefined;
    const ids: number[] = [];
    for (const byte of Buffer.from(String.fromCodePoint(code))) {
      const id = this.byteTokens[byte];
      if (id === undefined) return undefined;
      ids.push(id);
    }
    return ids;
  }
}

/** At most: four bytes, each a character of two bytes that falls back to bytes. */
const symbolsOfCharacter = 8;
const byteCodes = byteCharacters.map((character) => character.charCodeAt(0));

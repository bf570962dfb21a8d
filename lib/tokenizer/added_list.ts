/** The added tokens of a tokenizer: gathered from its files, then a table in shared memory. */
import { grown } from "../columns";
import { invalid, quoted } from "../errors";
import type { JsonObject } from "../files/json";
import { limits } from "../limits";
import { checkAddedToken } from "./schema";
import type { SpecialTokens } from "./special_tokens";
import { hashOf, idLimit, sharedInts, slotCount, type TokenColumns, TokenTable } from "./token_table";

/** What a token of the list is, as bits. */
export const flags = { special: 1, lstrip: 2, rstrip: 4, singleWord: 8, normalized: 16 } as const;

function flagsOf(token: JsonObject): number {
  const normalized = typeof token.normalized === "boolean" ? token.normalized : token.special !== true;
  return (
    (token.special === true ? flags.special : 0) |
    (token.lstrip === true ? flags.lstrip : 0) |
    (token.rstrip === true ? flags.rstrip : 0) |
    (token.single_word === true ? flags.singleWord : 0) |
    (normalized ? flags.normalized : 0)
  );
}

/** Where a token of the list was named, as further bits. */
const named = { inTokenizer: 32, inConfig: 64, otherIdInConfig: 128, last: 256, specialBefore: 512 } as const;
const flagBits = named.inTokenizer - 1;

/** What is known of a token of tokenizer.json when another file names it. */
const kept = (bits: number) => (bits & named.inTokenizer) | (bits & flags.special ? named.specialBefore : 0);

/** How transformers loads the files. */
export interface Loading {
  /** Whether it rebuilds the tokenizer for its class: then it adds all tokens by ascending ids. */
  readonly rebuilt: boolean;
  /** Whether tokenizer_config.json has `added_tokens_decoder`: a rebuilt tokenizer has those tokens and special ones alone. */
  readonly declared: boolean;
}

/** Added tokens as the files name them, one after another. Typed arrays: an object each would be ten times as large. */
export class AddedTokenList {
  private size = 0;
  private ids = new Int32Array(0);
  private bits = new Uint16Array(0);
  private characters = new Uint16Array(0);
  private starts = new Int32Array(1);
  private lengths = new Int32Array(0);
  private units = 0;
  /** One more than the place of a token, by the hash of its content. */
  private slots = new Int32Array(0);

  /**
   * Makes room for more tokens.
   * @param units UTF-16 units of their contents at most
   */
  reserve(tokens: number, units: number): void {
    const { size } = this;
    const room = size + tokens; // may be less than before: tokens that were there already took no place
    this.ids = grown(this.ids.subarray(0, size), room);
    this.bits = grown(this.bits.subarray(0, size), room);
    this.starts = grown(this.starts.subarray(0, size + 1), room + 1);
    this.lengths = grown(this.lengths.subarray(0, size), room);
    this.characters = grown(this.characters.subarray(0, this.units), this.units + units);
    this.slots = new Int32Array(slotCount(room));
    for (let place = 0; place < this.size; place++) this.slots[this.slot(this.textAt(place))] = place + 1;
  }

  /**
   * Adds a token of tokenizer.json, for which there is room.
   * @throws {RubricateError} ERR_TOKENIZER where its content has another id already
   */
  add(id: number, token: JsonObject, file: string): void {
    const place = this.placeOf(token, id);
    if (this.ids[place] !== id) throw wrongId(token.content as string, file, this.ids[place]!, id);
    this.bits[place] = flagsOf(token) | named.inTokenizer;
  }

  /**
   * Adds a token of tokenizer_config.json, for which there is room. What it says of a token of tokenizer.json counts more,
   * its id apart.
   * @throws {RubricateError} ERR_TOKENIZER where its content is declared already
   */
  declare(id: number, token: JsonObject, file: string): void {
    const place = this.placeOf(token, id);
    const before = this.bits[place]!;
    if (before & named.inConfig) throw wrongId(token.content as string, file, this.ids[place]!, id);
    const other = this.ids[place] === id ? 0 : named.otherIdInConfig;
    this.bits[place] = flagsOf(token) | named.inConfig | kept(before) | other;
  }

  /** Ids that tokens have so far. */
  takenIds(): Set<number> {
    return new Set(this.ids.subarray(0, this.size));
  }

  /** Adds a token of added_tokens.json, for which there is room. */
  declareBeside(id: number, token: JsonObject): void {
    const place = this.placeOf(token, id);
    this.bits[place] = flagsOf(token) | named.inConfig | kept(this.bits[place]!);
  }

  /** Adds special tokens that no list has, after all others, and makes the named ones of the lists special. */
  addSpecial({ named: byName, extra }: SpecialTokens, { rebuilt, declared }: Loading, file: string): void {
    const contents = [...byName.values(), ...extra].map(({ content }) => content as string);
    this.reserve(contents.length, contents.join("").length);
    const listed = this.size;
    const add = (token: JsonObject) => {
      checkAddedToken({ ...token, id: 0 }, "a special token", file);
      const place = this.placeOf(token, limits.tokenId);
      const before = this.bits[place]!;
      if (place < listed && !(rebuilt && declared && !(before & (named.inConfig | named.last)))) return place;
      this.bits[place] = flagsOf(token) | named.last | kept(before);
      return place;
    };
    for (const token of byName.values()) this.bits[add({ ...token, special: true })]! |= flags.special;
    const isNamed = new Set(contents.slice(0, byName.size));
    for (const token of extra) add(isNamed.has(token.content as string) ? { ...token, special: true } : token);
  }

  /** The place of a token with this content; a new one where there is none. */
  private placeOf(token: JsonObject, id: number): number {
    const content = token.content as string;
    const slot = this.slot(content);
    if (this.slots[slot] !== 0) return this.slots[slot]! - 1;
    const place = this.size++;
    this.slots[slot] = this.size;
    this.ids[place] = id;
    this.starts[place] = this.units;
    this.lengths[place] = content.length;
    for (let at = 0; at < content.length; at++) this.characters[this.units++] = content.charCodeAt(at);
    return place;
  }

  private textAt(place: number): string {
    return Buffer.from(this.characters.buffer, 2 * this.starts[place]!, 2 * this.lengths[place]!).toString("utf16le");
  }

  private slot(content: string): number {
    const mask = this.slots.length - 1;
    let at = hashOf(content) & mask;
    while (this.slots[at]! > 0 && !this.holds(this.slots[at]! - 1, content)) at = (at + 1) & mask;
    return at;
  }

  private holds(place: number, content: string): boolean {
    return this.lengths[place] === content.length && this.textAt(place) === content;
  }

  /** Places in the order in which transformers adds the tokens. */
  private order(rebuilt: boolean): Int32Array {
    const { ids, bits } = this;
    const stage = (place: number) => {
      if (bits[place]! & named.last) return 2;
      return !rebuilt && bits[place]! & named.inTokenizer ? 0 : 1;
    };
    return Int32Array.from({ length: this.size }, (_, place) => place).sort(
      (a, b) => stage(a) - stage(b) || (stage(a) === 1 ? ids[a]! - ids[b]! : a - b),
    );
  }

  /**
   * Gives the tokens the ids that transformers gives them: that of the vocabulary, or else the next one, whatever the files
   * say. An id in tokenizer.json must be that one; those in tokenizer_config.json say only the order.
   */
  private assignIds(vocabulary: TokenTable, loading: Loading, file: string): void {
    const { rebuilt, declared } = loading;
    let next = vocabulary.size;
    for (const place of this.order(rebuilt)) {
      const content = this.textAt(place);
      const bits = this.bits[place]!;
      const listed = vocabulary.id(content);
      const id = listed >= 0 ? listed : next;
      if (listed < 0 && vocabulary.entryOf(id) >= 0)
        throw invalid(`the id of ${quoted(content)} in ${file}`, "an id of its own", id, "ERR_TOKENIZER");
      if (bits & named.inTokenizer) {
        if (this.ids[place] !== id) throw wrongId(content, file, id, this.ids[place]!);
        if (rebuilt && declared) this.requireDeclared(place, content, file);
      }
      this.ids[place] = id;
      next = Math.max(next, id + 1);
    }
  }

  /** A tokenizer that is rebuilt has no tokens of tokenizer.json but those that tokenizer_config.json declares. */
  private requireDeclared(place: number, content: string, file: string): void {
    const bits = this.bits[place]!;
    const isDeclared = (bits & named.inConfig) !== 0;
    if (isDeclared ? bits & named.otherIdInConfig : !(bits & named.last))
      throw invalid(
        `the id of ${quoted(content)} in added_tokens_decoder beside ${file}`,
        `${this.ids[place]}, as there,`,
        isDeclared ? "another" : undefined,
        "ERR_TOKENIZER",
      );
  }

  /**
   * The table, by ascending ids. Every added token has one id, and every id one text.
   * @throws {RubricateError} ERR_TOKENIZER
   */
  table(vocabulary: TokenTable, loading: Loading, file: string): AddedTokens {
    const { ids, size } = this;
    if (size > limits.addedTokens)
      throw invalid(`the number of added tokens in ${file}`, `at most ${limits.addedTokens}`, size, "ERR_TOKENIZER");
    this.assignIds(vocabulary, loading, file);
    const limit = idLimit(vocabulary.size + size);
    const table = new TokenTable(size, this.units, limit);
    const bits = new Uint8Array(new SharedArrayBuffer(size));
    const places = Int32Array.from({ length: size }, (_, place) => place);
    for (const place of places.sort((a, b) => ids[a]! - ids[b]!)) {
      const content = this.textAt(place);
      if (ids[place]! >= limit)
        throw invalid(
          `the id of ${quoted(content)} in ${file}`,
          `an integer in [0, ${limit})`,
          ids[place],
          "ERR_TOKENIZER",
        );
      const dropped = loading.rebuilt && loading.declared && !(this.bits[place]! & named.last);
      const wasSpecial = !dropped && this.bits[place]! & named.specialBefore;
      bits[table.size] = (this.bits[place]! & flagBits) | (wasSpecial ? flags.special : 0);
      table.add(content, ids[place]!);
    }
    return new AddedTokens({ table: table.columns, bits });
  }
}

function wrongId(content: string, file: string, expected: number, received: number) {
  return invalid(`the id of ${quoted(content)} in ${file}`, `${expected}, as elsewhere,`, received, "ERR_TOKENIZER");
}

/** Added tokens as they are posted to another thread, without a copy. */
export interface AddedColumns {
  readonly table: TokenColumns;
  /** `flags` of each entry, [entries]. */
  readonly bits: Uint8Array<SharedArrayBuffer>;
}

/** Added tokens by id and by text; entries by ascending ids. */
export class AddedTokens {
  readonly table: TokenTable;

  constructor(readonly columns: AddedColumns) {
    this.table = new TokenTable(columns.table);
  }

  /** An entry as the files would say it. */
  described(entry: number): JsonObject {
    const bits = this.columns.bits[entry]!;
    return {
      id: this.table.idAt(entry),
      content: this.table.textAt(entry),
      special: (bits & flags.special) !== 0,
      lstrip: (bits & flags.lstrip) !== 0,
      rstrip: (bits & flags.rstrip) !== 0,
      single_word: (bits & flags.singleWord) !== 0,
      normalized: (bits & flags.normalized) !== 0,
    };
  }

  /** The `flags` of the token with an id; 0 where there is none. */
  flags(id: number): number {
    return this.columns.bits[this.table.entryOf(id)] ?? 0;
  }
}

/** Texts to search, as they are posted to another thread, without a copy. */
export interface SoughtColumns {
  /** Ids of added tokens by their texts as they are searched. */
  readonly table: TokenColumns;
  /** Entries of those that are searched, by their texts' UTF-16 units. */
  readonly order: Int32Array<SharedArrayBuffer>;
}

/**
 * The added tokens that are searched after the normalizer, or before it.
 * @param textOf the normalizer, for tokens that are searched after it; without one, their contents
 */
export function soughtIn(
  added: AddedTokens,
  normalized: boolean,
  textOf?: ((content: string) => string) | null,
): SoughtColumns {
  const { bits } = added.columns;
  const entries: number[] = [];
  for (let entry = 0; entry < added.table.size; entry++)
    if (((bits[entry]! & flags.normalized) !== 0) === normalized) entries.push(entry);
  let { table } = added;
  if (textOf && normalized) {
    table = new TokenTable(entries.length);
    // Of several with the same text, the last is found.
    for (const entry of entries) table.add(textOf(added.table.textAt(entry)), added.table.idAt(entry));
    entries.length = 0;
    for (let entry = 0; entry < table.size; entry++) if (table.lengthAt(entry) > 0) entries.push(entry);
  }
  const order = sharedInts(entries.length);
  order.set(entries);
  order.sort((a, b) => table.compare(a, b));
  return { table: table.columns, order };
}

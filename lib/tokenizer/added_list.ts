/** The added tokens of a tokenizer: gathered from its files, then a table in shared memory. */
import { grown } from "../columns";
import { invalid, quoted } from "../errors";
import type { JsonObject } from "../files/json";
import { limits } from "../limits";
import { idLimit, sharedInts, slotCount, type TokenColumns, TokenTable } from "./token_table";

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

/** Added tokens as the files name them, one after another. Typed arrays: an object each would be ten times as large. */
export class AddedTokenList {
  private size = 0;
  private ids = new Int32Array(0);
  private flags = new Uint8Array(0);
  private characters = new Uint16Array(0);
  private starts = new Int32Array(1);
  private lengths = new Int32Array(0);
  private units = 0;
  /** One more than the place of a token, by its id. */
  private slots = new Int32Array(0);

  /**
   * Makes room for more tokens.
   * @param units UTF-16 units of their contents at most
   */
  reserve(tokens: number, units: number): void {
    const room = this.size + tokens;
    this.ids = grown(this.ids, room);
    this.flags = grown(this.flags, room);
    this.starts = grown(this.starts, room + 1);
    this.lengths = grown(this.lengths, room);
    this.characters = grown(this.characters.subarray(0, this.units), this.units + units);
    this.slots = new Int32Array(slotCount(room));
    for (let place = 0; place < this.size; place++) this.slots[this.slot(this.ids[place]!)] = place + 1;
  }

  /** The content of the token with an id. */
  content(id: number): string | undefined {
    const place = this.slots[this.slot(id)]! - 1;
    return place < 0 ? undefined : this.textAt(place);
  }

  /** Adds a token, for which there is room, or replaces the one with the same id. */
  set(id: number, token: JsonObject): void {
    const slot = this.slot(id);
    if (this.slots[slot] === 0) this.slots[slot] = ++this.size;
    const place = this.slots[slot]! - 1;
    const content = token.content as string;
    this.ids[place] = id;
    this.flags[place] = flagsOf(token);
    this.starts[place] = this.units;
    this.lengths[place] = content.length;
    for (let at = 0; at < content.length; at++) this.characters[this.units++] = content.charCodeAt(at);
  }

  /** Makes a special token of the first one with this content. @returns whether there is one */
  makeSpecial(content: string): boolean {
    for (let place = 0; place < this.size; place++)
      if (this.lengths[place] === content.length && this.textAt(place) === content) {
        this.flags[place]! |= flags.special;
        return true;
      }
    return false;
  }

  private textAt(place: number): string {
    return Buffer.from(this.characters.buffer, 2 * this.starts[place]!, 2 * this.lengths[place]!).toString("utf16le");
  }

  private slot(id: number): number {
    const mask = this.slots.length - 1;
    let at = (Math.imul(id, 0x9e3779b1) >>> 7) & mask;
    while (this.slots[at]! > 0 && this.ids[this.slots[at]! - 1] !== id) at = (at + 1) & mask;
    return at;
  }

  /**
   * The table, by ascending ids. Every added token has one id, and every id one text. Where the vocabulary has the text too,
   * the Rust library takes the vocabulary's id.
   * @throws {RubricateError} ERR_TOKENIZER
   */
  table(vocabulary: TokenTable, file: string): AddedTokens {
    const { ids, size } = this;
    if (size > limits.addedTokens)
      throw invalid(`the number of added tokens in ${file}`, `at most ${limits.addedTokens}`, size, "ERR_TOKENIZER");
    const limit = idLimit(vocabulary.size + size);
    const table = new TokenTable(size, this.units, limit);
    const bits = new Uint8Array(new SharedArrayBuffer(size));
    const places = Int32Array.from({ length: size }, (_, place) => place);
    for (const place of places.sort((a, b) => ids[a]! - ids[b]!)) {
      const id = ids[place]!;
      const content = this.textAt(place);
      if (id >= limit)
        throw invalid(`the id of ${quoted(content)} in ${file}`, `an integer in [0, ${limit})`, id, "ERR_TOKENIZER");
      const listed = vocabulary.id(content);
      const before = table.id(content);
      const other = before >= 0 ? before : listed >= 0 ? listed : id;
      if (other !== id)
        throw invalid(`the id of ${quoted(content)} in ${file}`, `${other}, as elsewhere,`, id, "ERR_TOKENIZER");
      bits[table.size] = this.flags[place]!;
      table.add(content, id);
    }
    return new AddedTokens({ table: table.columns, bits });
  }
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

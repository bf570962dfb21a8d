/** The added tokens of a tokenizer: gathered from its files, then a table in shared memory. */
import { invalid, quoted } from "../errors";
import type { JsonObject } from "../files/json";
import { limits } from "../limits";
import { idLimit, sharedInts, type TokenColumns, TokenTable } from "./token_table";

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

/** Added tokens as the files name them, one after another. Lists of numbers and texts: an object each would be three times as large. */
export class AddedTokenList {
  private readonly ids: number[] = [];
  private readonly contents: string[] = [];
  private readonly flags: number[] = [];
  private readonly places = new Map<number, number>();

  get size(): number {
    return this.ids.length;
  }

  /** The content of the token with an id. */
  content(id: number): string | undefined {
    const place = this.places.get(id);
    return place === undefined ? undefined : this.contents[place];
  }

  /** Adds a token, which replaces one with the same id. @throws {RubricateError} ERR_TOKENIZER where there are too many */
  set(id: number, token: JsonObject, file: string): void {
    const place = this.places.get(id) ?? this.ids.length;
    if (place >= limits.addedTokens)
      throw invalid(
        `the number of added tokens in ${file}`,
        `at most ${limits.addedTokens}`,
        place + 1,
        "ERR_TOKENIZER",
      );
    this.places.set(id, place);
    this.ids[place] = id;
    this.contents[place] = token.content as string;
    this.flags[place] = flagsOf(token);
  }

  /** Makes a special token of the first one with this content. @returns whether there is one */
  makeSpecial(content: string): boolean {
    const place = this.contents.indexOf(content);
    if (place < 0) return false;
    this.flags[place]! |= flags.special;
    return true;
  }

  /**
   * The table, by ascending ids. Every added token has one id, and every id one text. Where the vocabulary has the text too,
   * the Rust library takes the vocabulary's id.
   * @throws {RubricateError} ERR_TOKENIZER
   */
  table(vocabulary: TokenTable, file: string): AddedTokens {
    const { ids, contents } = this;
    const limit = idLimit(vocabulary.size + ids.length);
    const table = new TokenTable(ids.length);
    const bits = new Uint8Array(new SharedArrayBuffer(ids.length));
    for (const place of Int32Array.from(ids.keys()).sort((a, b) => ids[a]! - ids[b]!)) {
      const id = ids[place]!;
      const content = contents[place]!;
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

  /** The `flags` of the token with an id; 0 where there is none. */
  flags(id: number): number {
    return this.columns.bits[this.table.entryOf(id)] ?? 0;
  }
}

/** Texts to look for, as they are posted to another thread, without a copy. */
export interface SoughtColumns {
  /** Ids of added tokens by what stands in the text. */
  readonly table: TokenColumns;
  /** Entries of those that are looked for, by their texts' UTF-16 units. */
  readonly order: Int32Array<SharedArrayBuffer>;
}

/**
 * The added tokens that are looked for after the normalizer, or before it.
 * @param textOf how a token that is looked for after it stands in the text there; without one, as it is
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

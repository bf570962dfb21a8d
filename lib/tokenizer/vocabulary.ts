import type { TokenTable } from "./token_table";

/** Tokens by id, added ones included. */
export class Vocabulary {
  /**
   * @param texts the list that @huggingface/tokenizers decodes with; texts of the table get into it when they are asked for
   * @param table what is not in the list
   * @param added ids of the added tokens
   */
  constructor(
    private readonly texts: (string | undefined)[],
    private readonly table: TokenTable,
    private readonly added: ReadonlyMap<string, number>,
  ) {}

  /** One more than the largest id. */
  get size(): number {
    return this.texts.length;
  }

  /** The token as the vocabulary spells it. */
  text(id: number): string | undefined {
    const known = this.texts[id];
    if (known !== undefined) return known;
    const text = this.table.text(id);
    if (text !== undefined) this.texts[id] = text;
    return text;
  }

  /** The id of a token. */
  id(text: string): number | undefined {
    const added = this.added.get(text);
    if (added !== undefined) return added;
    const found = this.table.id(text);
    // An added token may stand at the place of one of the table's.
    return found >= 0 && this.text(found) === text ? found : undefined;
  }
}

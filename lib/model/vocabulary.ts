import type { TokenTable } from "./token_table";

/** Tokens by id, added ones included. */
export class Vocabulary {
  /**
   * @param texts the list that @huggingface/tokenizers decodes with; texts of the table get into it when they are asked for
   * @param table what is not in the list
   */
  constructor(
    private readonly texts: (string | undefined)[],
    private readonly table: TokenTable | undefined,
  ) {}

  /** One more than the largest id. */
  get size(): number {
    return this.texts.length;
  }

  /** The token as the vocabulary spells it. */
  text(id: number): string | undefined {
    const known = this.texts[id];
    if (known !== undefined || !this.table) return known;
    const text = this.table.text(id);
    if (text !== undefined) this.texts[id] = text;
    return text;
  }

  /** The smallest id of a token. */
  id(text: string): number | undefined {
    const listed = this.texts.indexOf(text);
    const found = this.table?.id(text) ?? -1;
    // An added token may stand at the place of one of the table's.
    const own = found >= 0 && this.text(found) === text ? found : -1;
    const id = listed < 0 || (own >= 0 && own < listed) ? own : listed;
    return id < 0 ? undefined : id;
  }
}

/** Counts what the tokenizer cannot spell: characters that become its unknown token, or nothing. */
import { quoted } from "../errors";
import type { Tokenizer } from "../tokenizer/tokenizer";

const shownCharacters = 8;
const shownLines = 5;
/** Rows whose characters are looked at, and characters of a text. */
const [triedRows, triedCharacters] = [100, 1000];

/** Rows with such characters of one kind. */
class Affected {
  rows = 0;
  readonly lines: number[] = [];

  add(line: number): void {
    this.rows++;
    if (this.lines.length < shownLines) this.lines.push(line);
  }

  /** Such as "(lines 3, 7)". */
  get where(): string {
    const { rows, lines } = this;
    return `(${rows === 1 ? "line" : "lines"} ${lines.join(", ")}${rows > lines.length ? ", ..." : ""})`;
  }
}

export class UnknownTokens {
  private tokens = 0;
  private readonly unknown = new Affected();
  private readonly dropping = new Affected();
  private readonly characters = new Set<string>();
  private readonly tried = new Set<string>();
  private rows = 0;

  constructor(private readonly tokenizer: Tokenizer) {}

  /** @param value what the row says */
  add(line: number, { unknown, drops }: { readonly unknown: number; readonly drops: boolean }, value: unknown): void {
    if (unknown > 0) this.unknown.add(line);
    if (drops) this.dropping.add(line);
    this.tokens += unknown;
    if ((unknown > 0 || drops) && ++this.rows <= triedRows) this.collect(value);
  }

  /** For people; none where every character can be spelled. */
  notices(): string[] {
    const { tokens, unknown, dropping, characters } = this;
    const sample = characters.size === 0 ? "" : `, such as ${[...characters].map(quoted).join(", ")}`;
    const notices: string[] = [];
    if (tokens > 0)
      notices.push(
        `${tokens === 1 ? "1 token is" : `${tokens} tokens are`} the unknown one ${unknown.where}: the tokenizer cannot spell ` +
          `some characters${sample}`,
      );
    if (dropping.rows > 0)
      notices.push(
        `${dropping.rows === 1 ? "1 row loses" : `${dropping.rows} rows lose`} characters ${dropping.where}: the tokenizer ` +
          `cannot spell them, and has no unknown token${sample}`,
      );
    return notices;
  }

  private collect(value: unknown): void {
    if (typeof value === "object" && value !== null) {
      for (const part of Object.values(value)) this.collect(part);
      return;
    }
    if (typeof value !== "string") return;
    for (const character of value.slice(0, triedCharacters)) {
      if (this.characters.size === shownCharacters) return;
      if (this.tried.has(character)) continue;
      this.tried.add(character);
      if (this.isUnknown(character)) this.characters.add(character);
    }
  }

  private isUnknown(character: string): boolean {
    const { tokenizer } = this;
    const dropped = tokenizer.droppedCharacters;
    const ids = tokenizer.encodeStart(character, 8, true);
    if (tokenizer.droppedCharacters > dropped) return true;
    return tokenizer.unknownId !== undefined && ids.includes(tokenizer.unknownId);
  }
}

import { invalid } from "../errors";
import { readArgument } from "../options";

/** What a streaming decoder needs to know of its tokenizer. */
interface DecodingRules {
  /** Text of a whole sequence, without the tokens to be skipped. */
  decode(ids: readonly number[]): string;
  /** Whether the token is left out of the text. */
  skips(id: number): boolean;
  /**
   * Whether the token stands for one byte (`<0x0A>`). A run of such tokens is decoded as a whole, and is text only when
   * the whole run is UTF-8, so nothing of it can be given out before it ends.
   */
  isByte(id: number): boolean;
}

/**
 * Turns tokens to text as they come. The pieces, put together, are what decoding the whole sequence gives, and no piece
 * ends within a UTF-8 character: text that ends in U+FFFD waits until later tokens complete or refute the character.
 *
 * Each step decodes a short window only: the tokens of the last piece, for context, and those that came since.
 */
export class TokenDecoder {
  private context: number[] = [];
  private contextLength = 0;
  private pending: number[] = [];

  constructor(private readonly rules: DecodingRules) {
    readArgument("rules", "decoding rules", () => {
      if (typeof rules !== "object" || rules === null) throw invalid("rules", "decoding rules", rules);
      for (const name of ["decode", "skips", "isByte"] as const)
        if (typeof rules[name] !== "function") throw invalid(`rules.${name}`, "a function", rules[name]);
    });
  }

  /** @returns the text that is certain now, often empty */
  push(id: number): string {
    const { rules } = this;
    if (!Number.isInteger(id)) throw invalid("id", "an integer", id);
    if (rules.skips(id)) return "";
    this.pending.push(id);
    if (rules.isByte(id)) return "";
    const text = rules.decode([...this.context, ...this.pending]);
    if (text.length <= this.contextLength || text.endsWith("\uFFFD")) return "";
    const piece = text.slice(this.contextLength);
    this.context = this.pending;
    this.contextLength = rules.decode(this.context).length;
    this.pending = [];
    return piece;
  }

  /** @returns the rest, and makes the decoder ready for another sequence */
  end(): string {
    const text = this.pending.length === 0 ? "" : this.rules.decode([...this.context, ...this.pending]);
    const piece = text.slice(this.contextLength);
    this.context = [];
    this.pending = [];
    this.contextLength = 0;
    return piece;
  }
}

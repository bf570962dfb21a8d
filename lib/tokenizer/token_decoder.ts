import { invalid } from "../errors";
import { readArgument } from "../options";
import { CleanUp, cleanedUp } from "./clean_up";

/** What a streaming decoder needs to know of its tokenizer. */
export interface DecodingRules {
  /** Text of a whole sequence, without the tokens to be skipped, before spaces are cleaned up. */
  decode(ids: readonly number[]): string;
  /** Whether the token is left out of the text. */
  skips(id: number): boolean;
  /**
   * Whether the token stands for one byte (`<0x0A>`). A run of such tokens is decoded as a whole, and is text only when
   * the whole run is UTF-8, so nothing of it can be given out before it ends.
   */
  isByte(id: number): boolean;
  /** Whether later tokens may change any text before them, so that nothing is given out before the end. Default: no. */
  readonly isUncertain?: boolean;
  /** Whether spaces before punctuation are taken out of the text. Default: no. */
  readonly cleansUp?: boolean;
}

/** Tokens that are decoded again, for context, at most: a character has four bytes, and a token at least one. */
const contextTokens = 4;

/**
 * Turns tokens to text as they come. The pieces, put together, are what decoding the whole sequence gives, and no piece
 * ends within a UTF-8 character: of a text that ends in U+FFFD that waits until the next token completes or refutes the
 * character.
 *
 * Each step decodes a short window only: tokens before, for context, and those whose text is not given out.
 */
export class TokenDecoder {
  private window: number[] = [];
  /** UTF-16 units of the window's text that were given out, or stood before. */
  private given = 0;
  /** U+FFFD that the text before ends in, which may become a character. */
  private open = 0;
  private cleaner: CleanUp | undefined;
  /** What is cleaned up of the text before, until something follows it. */
  private cleanBefore = "";

  /** @param before ids that stand before: the pieces are what the whole text shows after theirs */
  constructor(
    private readonly rules: DecodingRules,
    private readonly before: readonly number[] = [],
  ) {
    readArgument("rules", "decoding rules", () => {
      if (typeof rules !== "object" || rules === null) throw invalid("rules", "decoding rules", rules);
      for (const name of ["decode", "skips", "isByte"] as const)
        if (typeof rules[name] !== "function") throw invalid(`rules.${name}`, "a function", rules[name]);
    });
    this.#begin();
  }

  /** @returns the text that is certain now, often empty */
  push(id: number): string {
    const { rules } = this;
    if (!Number.isInteger(id)) throw invalid("id", "an integer", id);
    if (rules.skips(id)) return "";
    this.window.push(id);
    if (rules.isByte(id) || rules.isUncertain) return "";
    const text = rules.decode(this.window);
    const waits = text.endsWith("\uFFFD") ? 1 : 0;
    const piece = this.#upTo(text, text.length - waits);
    if (this.open === 0) this.#shorten(waits);
    return this.#cleaned(piece);
  }

  /** @returns the rest, and makes the decoder ready for another sequence after the same ids */
  end(): string {
    const text = this.window.length === 0 ? "" : this.rules.decode(this.window);
    const piece = this.#cleaned(this.#upTo(text, text.length));
    const rest = this.cleaner === undefined ? "" : this.#afterBefore(this.cleaner.end());
    this.#begin();
    return piece + rest;
  }

  /** Text of the window from what was given out to a place. */
  #upTo(text: string, end: number): string {
    if (this.open > 0) {
      // The text before ends within a character, it seems: what follows counts from where both texts differ.
      const start = this.given - this.open;
      let common = start;
      while (common < this.given && common < end && text[common] === "\uFFFD") common++;
      if (end <= common) return "";
      this.given = common;
      this.open = 0;
    }
    const piece = text.slice(this.given, end);
    this.given = Math.max(this.given, end);
    return piece;
  }

  /** Keeps the last token for context, or a few where the last ones end within a character. */
  #shorten(waits: number): void {
    if (waits === 1 && this.window.length <= 2 * contextTokens) return;
    this.#keepFrom(this.window.length - (waits === 1 ? contextTokens : 1), waits);
  }

  /** What a text begins with may be another at its very beginning (a space is left out there), so that context shows text. */
  #keepFrom(start: number, waits: number): void {
    for (let from = start; from > 0; from -= Math.max(1, this.window.length - from)) {
      const kept = this.window.slice(from);
      const text = this.rules.decode(kept);
      if (text.length <= waits) continue;
      this.window = kept;
      this.given = text.length - waits;
      return;
    }
  }

  /** The text before. Of a long one only the end is decoded: a few tokens that show text, and all of a run of bytes. */
  #begin(): void {
    const { rules, before } = this;
    this.cleaner = rules.cleansUp ? new CleanUp() : undefined;
    this.cleanBefore = "";
    this.open = 0;
    const kept: number[] = [];
    let text = "";
    for (let at = before.length, enough = 2 * contextTokens; at > 0 && text === ""; ) {
      const id = before[--at]!;
      if (rules.skips(id)) continue;
      kept.push(id);
      if (kept.length < enough || rules.isByte(id) || rules.isUncertain) continue;
      text = rules.decode([...kept].reverse());
      enough *= 2;
    }
    this.window = kept.reverse();
    if (text === "" && kept.length > 0) text = rules.decode(kept);
    this.given = text.length;
    while (this.open < text.length && text[text.length - 1 - this.open] === "\uFFFD") this.open++;
    if (!this.cleaner) return;
    // What is certain of the text before is out of reach of what follows.
    this.cleaner.push(text);
    this.cleanBefore = cleanedUp(this.cleaner.waiting);
  }

  #cleaned(piece: string): string {
    return this.cleaner === undefined || piece === "" ? piece : this.#afterBefore(this.cleaner.push(piece));
  }

  /** What differs from the text before. */
  #afterBefore(text: string): string {
    if (text === "" || this.cleanBefore === "") return text;
    let common = 0;
    while (common < this.cleanBefore.length && text[common] === this.cleanBefore[common]) common++;
    this.cleanBefore = "";
    return text.slice(common);
  }
}

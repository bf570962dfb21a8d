/** Reads a template's tokens one by one. */
import { TemplateFault } from "./budget";
import type { Token } from "./lexer";

/** Levels of expressions and blocks in one another. */
const levels = 150;

export class TokenReader {
  private at = 0;
  private depth = 0;

  constructor(private readonly tokens: readonly Token[]) {}

  protected get current(): Token {
    return this.tokens[this.at]!;
  }
  protected get following(): Token {
    return this.tokens[Math.min(this.at + 1, this.tokens.length - 1)]!;
  }
  protected next(): Token {
    const token = this.current;
    if (token.type !== "eof") this.at++;
    return token;
  }
  protected isName(name: string, token = this.current): boolean {
    return token.type === "name" && token.value === name;
  }
  protected skip(type: string): boolean {
    if (this.current.type !== type) return false;
    this.next();
    return true;
  }
  protected skipName(name: string): boolean {
    if (!this.isName(name)) return false;
    this.next();
    return true;
  }
  protected expect(type: string): Token {
    if (this.current.type !== type) this.fail(`expected token '${type}', got ${this.described()}`);
    return this.next();
  }
  protected expectName(name: string): void {
    if (!this.skipName(name)) this.fail(`expected token '${name}', got ${this.described()}`);
  }
  protected described(): string {
    const { type, value } = this.current;
    return type === "eof" ? "end of template" : `'${type === "name" || type === "data" ? value.slice(0, 40) : type}'`;
  }
  protected fail(message: string): never {
    throw new TemplateFault(message);
  }

  protected nested<T>(work: () => T): T {
    if (++this.depth > levels) this.fail(`more than ${levels} levels of expressions and blocks`);
    const result = work();
    this.depth--;
    return result;
  }
}

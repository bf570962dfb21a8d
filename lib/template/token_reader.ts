/** Reads a template's tokens one by one. */
import { limits } from "../limits";
import { TemplateFault } from "./budget";
import type { Token } from "./lexer";

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
    const { templateLevels } = limits;
    if (++this.depth > templateLevels) this.fail(`more than ${templateLevels} levels of expressions and blocks`);
    const result = work();
    this.depth--;
    return result;
  }
}

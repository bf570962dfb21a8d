/** A template's tokens, as jinja2's lexer gives them with trim_blocks and lstrip_blocks. */
import { TemplateFault } from "./budget";

export interface Token {
  /** An operator is its own type. */
  readonly type: "data" | "{{" | "}}" | "{%" | "%}" | "name" | "string" | "integer" | "float" | "eof" | string;
  readonly value: string;
}

/** Python's whitespace, which is not JavaScript's. */
export const whitespace = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const blank = `[${whitespace}]*`;
const sticky = (source: string, flags = "") => new RegExp(source, `y${flags}`);

const rules: readonly [type: string, rule: RegExp][] = [
  ["blank", sticky(`[${whitespace}]+`)],
  ["float", sticky("(?<!\\.)(?:\\d+_)*\\d+(?:(?:\\.(?:\\d+_)*\\d+)?e[+-]?(?:\\d+_)*\\d+|\\.(?:\\d+_)*\\d+)", "i")],
  ["integer", sticky("0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\\da-f])+|[1-9](?:_?\\d)*|0(?:_?0)*", "i")],
  ["name", sticky("[\\p{L}\\p{N}\\p{M}\\p{Pc}\u00b7]+", "u")],
  ["string", sticky("'[^'\\\\]*(?:\\\\[\\s\\S][^'\\\\]*)*'|\"[^\"\\\\]*(?:\\\\[\\s\\S][^\"\\\\]*)*\"")],
  ["operator", sticky("//|\\*\\*|==|!=|>=|<=|[-+/*%~[\\](){}><=.:|,;]")],
];
const rawBegin = sticky(`\\{%[-+]?${blank}raw${blank}(?:-%\\}${blank}|%\\})`);
const rawEnd = new RegExp(`\\{%([-+]?)${blank}endraw${blank}(?:\\+%\\}|-%\\}${blank}|%\\}\\n?)`, "g");
const commentEnd = new RegExp(`\\+#\\}|-#\\}${blank}|#\\}\\n?`, "g");
const blockEnd = sticky(`\\+%\\}|-%\\}${blank}|%\\}\\n?`);
const expressionEnd = sticky(`-\\}\\}${blank}|\\}\\}`);
const tagBegin = /\{[%{#]/g;
const trailing = new RegExp(`[${whitespace}]+$`);
const allBlank = new RegExp(`^[${whitespace}]+$`);
const pairs: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };
const identifier = /^[\p{XID_Start}_]\p{XID_Continue}*$/u;

class Lexer {
  private readonly tokens: Token[] = [];
  private at = 0;
  private lineStarting = true;

  constructor(private readonly source: string) {}

  all(): Token[] {
    while (this.at < this.source.length) this.root();
    this.tokens.push({ type: "eof", value: "" });
    return this.tokens;
  }

  private match(rule: RegExp): string | undefined {
    rule.lastIndex = this.at;
    const found = rule.exec(this.source)?.[0];
    if (found !== undefined) this.advance(found);
    return found;
  }

  private advance(found: string): void {
    this.at += found.length;
    this.lineStarting = found.endsWith("\n");
  }

  private root(): void {
    tagBegin.lastIndex = this.at;
    const found = tagBegin.exec(this.source);
    if (!found) {
      this.data(this.source.slice(this.at));
      this.at = this.source.length;
      return;
    }
    const sign = this.source[found.index + 2] ?? "";
    const text = this.source.slice(this.at, found.index);
    this.data(this.stripped(text, sign, found[0] === "{{"));
    this.at = found.index;
    if (found[0] === "{%" && this.match(rawBegin) !== undefined) this.raw();
    else {
      this.at += sign === "-" || sign === "+" ? 3 : 2;
      this.lineStarting = false;
      this.tagged(found[0]);
    }
  }

  /** What follows the sign that begins a tag. */
  private tagged(type: string): void {
    if (type === "{#") this.comment();
    else {
      this.tokens.push({ type, value: type });
      this.tag(type === "{%");
    }
  }

  private data(text: string): void {
    if (text !== "") this.tokens.push({ type: "data", value: text });
  }

  private stripped(text: string, sign: string, expression: boolean): string {
    if (sign === "-") return text.replace(trailing, "");
    if (sign === "+" || expression) return text;
    const line = text.lastIndexOf("\n") + 1;
    return (line > 0 || this.lineStarting) && allBlank.test(text.slice(line)) ? text.slice(0, line) : text;
  }

  private raw(): void {
    rawEnd.lastIndex = this.at;
    const end = rawEnd.exec(this.source);
    if (!end) throw new TemplateFault("Missing end of raw directive");
    this.data(this.stripped(this.source.slice(this.at, end.index), end[1]!, false));
    this.at = end.index;
    this.advance(end[0]);
  }

  private comment(): void {
    commentEnd.lastIndex = this.at;
    const end = commentEnd.exec(this.source);
    if (!end) throw new TemplateFault("Missing end of comment tag");
    this.at = end.index;
    this.advance(end[0]);
  }

  private tag(block: boolean): void {
    const open: string[] = [];
    while (this.at < this.source.length) {
      if (open.length === 0 && this.match(block ? blockEnd : expressionEnd) !== undefined) {
        const type = block ? "%}" : "}}";
        this.tokens.push({ type, value: type });
        return;
      }
      this.token(open);
    }
  }

  private token(open: string[]): void {
    for (const [type, rule] of rules) {
      const value = this.match(rule);
      if (value === undefined) continue;
      if (type === "operator") balance(value, open);
      if (type === "name" && !identifier.test(value)) throw new TemplateFault("Invalid character in identifier");
      if (type !== "blank")
        this.tokens.push({
          type: type === "operator" ? value : type,
          value: type === "string" ? unescaped(value.slice(1, -1)) : value,
        });
      return;
    }
    throw new TemplateFault(`unexpected char ${JSON.stringify(this.source[this.at])} at ${this.at}`);
  }
}

function balance(sign: string, open: string[]): void {
  const close = pairs[sign];
  if (close) open.push(close);
  else if (sign === ")" || sign === "]" || sign === "}") {
    const expected = open.pop();
    if (expected !== sign) throw new TemplateFault(`unexpected '${sign}'${expected ? `, expected '${expected}'` : ""}`);
  }
}

const escapes: Readonly<Record<string, string>> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};
const escapeSequence = /\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[0-7]{1,3}|[\s\S])/g;

/** A literal's text, as Python's unicode-escape reads it. */
function unescaped(text: string): string {
  if (!text.includes("\\")) return text;
  return text.replace(escapeSequence, (whole, code: string) => {
    if (/^[0-7]/.test(code)) return String.fromCharCode(Number.parseInt(code, 8));
    if (code.length > 1) {
      const point = Number.parseInt(code.slice(1), 16);
      if (point > 0x10ffff) throw new TemplateFault("illegal Unicode character");
      return String.fromCodePoint(point);
    }
    if (code === "x" || code === "u" || code === "U" || code === "N")
      throw new TemplateFault(`Expected a character after \\${code} in a string but received none that is known`);
    return escapes[code] ?? whole;
  });
}

/** Lines may end as they like; of the line ends at the end jinja2 drops one. */
export function tokens(template: string): Token[] {
  const source = template.replace(/\r\n?/g, "\n");
  return new Lexer(source.endsWith("\n") ? source.slice(0, -1) : source).all();
}

/**
 * JSON whose numbers keep what Python reads from their spelling, and whose objects keep the order of their fields: 20.0 is a
 * float, 12345678901234567890 has all its digits, and a field "1" stays behind a field "b".
 */
import { JsonNumber, keepOrder, setField } from "./exact_values";

/** Numbers that JavaScript reads otherwise, and names that it puts first. */
const special = /(?<![\w."-])-?\d+(?:\.\d+|[eE]|\d{15})|"\d{1,10}"\s*:|-0/;

/**
 * What `JSON.parse` gives, with a `JsonNumber` for each number that it would change.
 * @throws {SyntaxError} as that
 */
export function parseExact(text: string): unknown {
  const plain: unknown = JSON.parse(text);
  if (!special.test(text)) return plain;
  const parser = new ExactParser(text);
  const value = parser.value();
  return parser.isTooDeep ? plain : value;
}

/** Levels that the parser below goes down. More than any row may have, so that a deeper one is refused as it is. */
const mostLevels = 256;

const blank = /[ \t\n\r]*/y;
const number = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const word = /true|false|null/y;

/** Reads text that `JSON.parse` found valid. */
class ExactParser {
  isTooDeep = false;
  private at = 0;
  private level = 0;
  constructor(private readonly text: string) {}

  value(): unknown {
    this.skip();
    const sign = this.text[this.at];
    if (sign === "{" || sign === "[") {
      if (++this.level > mostLevels) this.isTooDeep = true;
      if (this.isTooDeep) return undefined; // and so does every level above
      const value = sign === "{" ? this.record() : this.list();
      this.level--;
      return value;
    }
    if (sign === '"') return this.string();
    const named = this.match(word);
    return named ? JSON.parse(named) : exactNumber(this.match(number)!);
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0];
    this.at += found?.length ?? 0;
    return found || undefined;
  }

  private skip(): void {
    this.match(blank);
  }

  private string(): string {
    const start = this.at;
    let end = this.text.indexOf('"', start + 1);
    for (;;) {
      let slashes = 0;
      while (this.text[end - 1 - slashes] === "\\") slashes++;
      if (slashes % 2 === 0) break;
      end = this.text.indexOf('"', end + 1);
    }
    this.at = end + 1;
    return JSON.parse(this.text.slice(start, this.at));
  }

  /** Whether another part follows; the sign before it is read. */
  private more(close: string): boolean {
    this.skip();
    if (this.text[this.at] === close) {
      this.at++;
      return false;
    }
    if (this.text[this.at] === ",") this.at++;
    return true;
  }

  private list(): unknown[] {
    const list: unknown[] = [];
    this.at++;
    while (!this.isTooDeep && this.more("]")) list.push(this.value());
    return list;
  }

  private record(): object {
    const fields = new Map<string, unknown>();
    this.at++;
    while (!this.isTooDeep && this.more("}")) {
      this.skip();
      const name = this.string();
      this.skip();
      this.at++; // the colon
      fields.set(name, this.value());
    }
    const record: Record<string, unknown> = {};
    for (const [name, value] of fields) setField(record, name, value);
    keepOrder(record, [...fields.keys()]);
    return record;
  }
}

function exactNumber(spelling: string): number | JsonNumber {
  const value = Number(spelling);
  const isFloat = /[.eE]/.test(spelling);
  const kept = isFloat ? !Number.isInteger(value) && Number.isFinite(value) && value !== 0 : String(value) === spelling;
  return kept ? value : new JsonNumber(spelling);
}

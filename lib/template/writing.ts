/** Python's `str()` and `repr()`, and json.dumps as transformers calls it in `tojson`. */
import { type Budget, TemplateFault } from "./budget";
import { compare } from "./compare";
import {
  Attributes,
  Callable,
  chargeRead,
  Dict,
  isWide,
  Markup,
  Namespace,
  type PyGenerator,
  type PyObject,
  Range,
  Tuple,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values";

/** `repr` of a float: the shortest digits that give it again. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  if (!Number.isFinite(value)) return `${sign}inf`;
  const [mantissa, power] = Math.abs(value).toExponential().split("e") as [string, string];
  const digits = mantissa.replace(".", "");
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : "";
    return `${sign}${digits[0]}${fraction}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
}

export function integerText(value: bigint): string {
  const text = String(value);
  if (text.length > 4301) throw new TemplateFault("Exceeds the limit (4300 digits) for integer string conversion");
  return text;
}

/** What Python writes as an escape: all that is neither visible nor a space. */
const unprintable = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;
const plain = /^[ !#-&(-[\]-~]*$/;

function textRepr(text: string): string {
  if (plain.test(text)) return `'${text}'`;
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const named: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  const escaped = text
    .replaceAll("\\", "\\\\")
    .replaceAll(quote, `\\${quote}`)
    .replace(unprintable, (character) => {
      const code = character.codePointAt(0)!;
      const digits = code.toString(16);
      if (named[character]) return named[character];
      return code < 256
        ? `\\x${digits.padStart(2, "0")}`
        : code < 65536
          ? `\\u${digits.padStart(4, "0")}`
          : `\\U${digits.padStart(8, "0")}`;
    });
  return `${quote}${escaped}${quote}`;
}

/** Puts a text together, and charges for each part. */
export class TextWriter {
  /** In UTF-16 units. */
  length = 0;
  private readonly parts: string[] = [];

  /**
   * @param perPart steps for each part
   * @param perStep characters for a step more
   */
  constructor(
    readonly budget: Budget,
    private readonly perPart = 1 / 8,
    private readonly perStep = 1024,
  ) {}
  add(text: string): void {
    this.length += text.length;
    this.budget.text(this.length, Number.POSITIVE_INFINITY);
    this.budget.charge(this.perPart + text.length / this.perStep);
    this.parts.push(text);
  }
  text(): string {
    return this.parts.join("");
  }
}

/** `str(value)` */
export function str(value: Value, budget: Budget): string {
  if (typeof value === "string") return value;
  if (value instanceof Markup) return value.text;
  if (value instanceof Undefined) return "";
  return repr(value, budget);
}

/** `repr(value)` */
export function repr(value: Value, budget: Budget): string {
  const writer = new TextWriter(budget);
  writeRepr(value, writer);
  return writer.text();
}

function writeRepr(value: Value, writer: TextWriter): void {
  if (value === null) writer.add("None");
  else if (typeof value === "boolean") writer.add(value ? "True" : "False");
  else if (typeof value === "number") writer.add(floatText(value));
  else if (typeof value === "bigint") {
    chargeRead(value, writer.budget);
    writer.add(integerText(value));
  } else if (typeof value === "string") {
    writer.budget.text(value.length, 16);
    writer.add(textRepr(value));
  } else writer.budget.nested(() => writeObject(value, writer));
}

function writeAll(values: Iterable<Value>, writer: TextWriter): void {
  let first = true;
  for (const value of values) {
    if (!first) writer.add(", ");
    first = false;
    writeRepr(value, writer);
  }
}

function writeObject(value: Value[] | PyObject, writer: TextWriter): void {
  if (Array.isArray(value)) {
    writer.add("[");
    writeAll(value, writer);
    writer.add("]");
  } else if (value instanceof Tuple) {
    writer.add("(");
    writeAll(value.items, writer);
    writer.add(value.items.length === 1 ? ",)" : ")");
  } else if (value instanceof Dict) writePairs(value.entries.values(), writer);
  else if (value instanceof View) {
    writer.add(`${value.type}([`);
    writeAll(value, writer);
    writer.add("])");
  } else if (value instanceof Range)
    writer.add(`range(${value.start}, ${value.stop}${value.step === 1n ? "" : `, ${value.step}`})`);
  else if (value instanceof Namespace) {
    writer.add("<Namespace ");
    writePairs(value.fields, writer);
    writer.add(">");
  } else if (value instanceof Markup) writer.add(`Markup(${textRepr(value.text)})`);
  else if (value instanceof Undefined) writer.add("Undefined");
  else if (value instanceof Attributes) writer.add(String(value.attribute("__repr__") ?? `<${value.type}>`));
  else if (value instanceof Callable && value.type === "Macro")
    writer.add(value.name === "" ? "<Macro anonymous>" : `<Macro ${textRepr(value.name)}>`);
  // Python writes an address, which differs each time.
  else throw new TemplateFault(`Expected a value that can be written but received a ${(value as PyGenerator).type}`);
}

function writePairs(pairs: Iterable<readonly [Value, Value]>, writer: TextWriter): void {
  writer.add("{");
  let first = true;
  for (const [key, value] of pairs) {
    if (!first) writer.add(", ");
    first = false;
    writeRepr(key, writer);
    writer.add(": ");
    writeRepr(value, writer);
  }
  writer.add("}");
}

interface JsonOptions {
  readonly ascii: boolean;
  /** What a level is indented by; null writes one line. */
  readonly indent: string | null;
  readonly separators: readonly [item: string, key: string];
  readonly sorted: boolean;
}

const jsonPlain = /^[ !#-[\]-\u{10ffff}]*$/u;
const jsonAscii = /^[ !#-[\]-~]*$/;
const beyondAscii = /["\\]|[^ -~]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON escapes them
const control = /["\\\x00-\x1f]/g;
const jsonNames: Record<string, string> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\f": "\\f",
  "\b": "\\b",
};

function jsonText(text: string, ascii: boolean): string {
  if ((ascii ? jsonAscii : jsonPlain).test(text)) return `"${text}"`;
  const escaped = text.replace(
    ascii ? beyondAscii : control,
    (character) => jsonNames[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `"${escaped}"`;
}

function jsonNumber(value: number): string {
  if (Number.isFinite(value)) return floatText(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
}

function jsonScalar(value: Value): string | undefined {
  if (value === null) return "null";
  if (typeof value === "boolean") return String(value);
  if (typeof value === "number") return jsonNumber(value);
  return typeof value === "bigint" ? integerText(value) : undefined;
}

function jsonKey(key: Value, options: JsonOptions): string {
  const text = typeof key === "string" ? key : key instanceof Markup ? key.text : jsonScalar(key);
  if (text === undefined) throw new TemplateFault(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
  return jsonText(text, options.ascii);
}

/** `json.dumps(value)` */
export function json(value: Value, options: JsonOptions, budget: Budget): string {
  const writer = new TextWriter(budget);
  const line = (level: number): string => {
    if (options.indent === null) return "";
    budget.text(options.indent.length * level);
    return `\n${options.indent.repeat(level)}`;
  };
  const text = (one: string) => {
    budget.text(one.length, options.ascii || isWide(one) ? 8 : 32);
    return jsonText(one, options.ascii);
  };
  const list = (items: Iterable<() => void>, [open, close]: string, level: number) => {
    let first = true;
    writer.add(open!);
    for (const write of items) {
      writer.add(first ? line(level + 1) : options.separators[0] + line(level + 1));
      first = false;
      write();
    }
    writer.add(first ? close! : line(level) + close!);
  };
  const write = (one: Value, level: number): void => {
    chargeRead(one, budget);
    const scalar = jsonScalar(one);
    if (scalar !== undefined) writer.add(scalar);
    else if (typeof one === "string" || one instanceof Markup)
      writer.add(text(typeof one === "string" ? one : one.text));
    else if (Array.isArray(one) || one instanceof Tuple) {
      const items = Array.isArray(one) ? one : one.items;
      budget.nested(() => list(each(items, level), "[]", level));
    } else if (one instanceof Dict) budget.nested(() => list(pairs(one, level), "{}", level));
    else throw new TemplateFault(`Object of type ${typeName(one)} is not JSON serializable`);
  };
  function* each(items: readonly Value[], level: number): Generator<() => void> {
    for (const item of items) yield () => write(item, level + 1);
  }
  function* pairs(dict: Dict, level: number): Generator<() => void> {
    const entries = [...dict.entries.values()];
    budget.charge(entries.length / 8);
    if (options.sorted) entries.sort(([a], [b]) => compare(a, b, "<", budget));
    for (const [key, item] of entries)
      yield () => {
        budget.text(typeof key === "string" ? key.length : 0, options.ascii ? 8 : 128);
        writer.add(jsonKey(key, options) + options.separators[1]);
        write(item, level + 1);
      };
  }
  write(value, 0);
  return writer.text();
}

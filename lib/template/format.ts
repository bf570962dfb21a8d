/** Python's `%` for texts, `str.format`, and the numbers that both write. */
import { type Budget, TemplateFault } from "./budget";
import { asNumber } from "./compare";
import {
  Dict,
  isInteger,
  isNumber,
  lengthOfText,
  type Named,
  Range,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from "./values";
import { floatText, integerText, repr, str, TextWriter } from "./writing";

/** Digits after the point that are written at most. */
const mostDigits = 100;

function digitsOf(text: string | undefined, otherwise: number): number {
  if (text === undefined || text === "") return otherwise;
  const digits = Number(text);
  if (digits > mostDigits) throw new TemplateFault(`Expected at most ${mostDigits} digits but received ${text}`);
  return digits;
}

/** Ties go to the even digit, as in Python; `toFixed` rounds them up. */
export function fixed(value: number, digits: number): string {
  if (!Number.isFinite(value)) return floatText(value);
  if (Math.abs(value) >= 1e21) return `${BigInt(value)}${digits > 0 ? `.${"0".repeat(digits)}` : ""}`;
  const text = value.toFixed(digits);
  const exact = value.toFixed(Math.min(100, digits + 60));
  const rest = exact.slice(exact.indexOf(".") + 1 + digits);
  if (!/^50*$/.test(rest)) return text;
  const down = exact.slice(0, exact.indexOf(".") + (digits > 0 ? 1 + digits : 0));
  return Number(down.at(-1)) % 2 === 0 ? down : text;
}

function exponential(value: number, digits: number): string {
  if (!Number.isFinite(value)) return floatText(value);
  return value.toExponential(digits).replace(/e([+-])(\d)$/, "e$10$2");
}

function general(value: number, precision: number): string {
  if (!Number.isFinite(value)) return floatText(value);
  const digits = precision || 1;
  const exponent = value === 0 ? 0 : Number(value.toExponential(digits - 1).split("e")[1]);
  const short = (text: string) => (text.includes(".") ? text.replace(/\.?0+(?=e|$)/, "") : text);
  if (exponent < -4 || exponent >= digits) return short(exponential(value, digits - 1));
  return short(fixed(value, Math.max(0, digits - 1 - exponent)));
}

function floatIn(kind: string, value: number, digits: number): string {
  const text = { f: fixed, e: exponential, g: general }[kind.toLowerCase() as "f" | "e" | "g"](value, digits);
  return kind === kind.toUpperCase() ? text.toUpperCase() : text;
}

const radixes: Readonly<Record<string, number>> = { d: 10, i: 10, u: 10, x: 16, X: 16, o: 8, b: 2 };
const prefixes: Readonly<Record<string, string>> = { x: "0x", X: "0X", o: "0o", b: "0b" };

function integerIn(kind: string, value: bigint, alternate: boolean): string {
  const digits = (value < 0n ? -value : value).toString(radixes[kind]);
  return (
    (value < 0n ? "-" : "") + (alternate ? (prefixes[kind] ?? "") : "") + (kind === "X" ? digits.toUpperCase() : digits)
  );
}

function padded(text: string, width: number, align: string, fill: string, budget: Budget): string {
  const missing = width - lengthOfText(text, budget);
  if (missing <= 0) return text;
  budget.text(text.length + missing * fill.length);
  if (align === "=") {
    const sign = /^[-+ ]?(0[xXob])?/.exec(text)![0];
    return sign + fill.repeat(missing) + text.slice(sign.length);
  }
  const before = align === ">" ? missing : align === "^" ? Math.floor(missing / 2) : 0;
  return fill.repeat(before) + text + fill.repeat(missing - before);
}

const percent = /%(?:\(([^)]*)\))?([-+ #0]*)(\*|\d*)(?:\.(\*|\d*))?[hlL]?([\s\S])/g;

/** `text % given` */
export function formatPercent(text: string, given: Value, budget: Budget): string {
  budget.text(text.length, 64);
  const values = given instanceof Tuple ? [...given.items] : [given];
  let used = 0;
  let mapped = false;
  const next = () => {
    if (used >= values.length) throw new TemplateFault("not enough arguments for format string");
    return values[used++]!;
  };
  const writer = new TextWriter(budget, 1);
  let last = 0;
  for (const found of text.matchAll(percent)) {
    writer.add(checked(text.slice(last, found.index)));
    last = found.index + found[0].length;
    const [, name, flags, width, precision, kind] = found as unknown as [
      string,
      string?,
      string?,
      string?,
      string?,
      string?,
    ];
    if (kind === "%") {
      writer.add("%");
      continue;
    }
    const star = (size: string | undefined) => (size === "*" ? String(next()) : size);
    const size = star(width) ?? "";
    const digits = star(precision);
    let value: Value;
    if (name === undefined) value = next();
    else {
      if (!(given instanceof Dict)) throw new TemplateFault("format requires a mapping");
      mapped = true;
      const entry = given.get(name, budget);
      if (entry === undefined) throw new TemplateFault(`KeyError: ${name}`);
      value = entry;
    }
    writer.add(converted(kind!, value, { flags: flags!, width: Number(size || 0), precision: digits }, budget));
  }
  writer.add(checked(text.slice(last)));
  if (used < values.length && !mapped && !isSubscriptable(given))
    throw new TemplateFault("not all arguments converted during string formatting");
  return writer.text();
}

/** What Python takes for a mapping here, so that it need not be used. */
const isSubscriptable = (value: Value): boolean =>
  Array.isArray(value) || [Dict, Range, Undefined].some((kind) => value instanceof kind);

function checked(text: string): string {
  if (text.includes("%")) throw new TemplateFault("incomplete format");
  return text;
}

/** The first characters of a text. */
function shortened(text: string, precision: string | undefined, budget: Budget): string {
  if (precision === undefined) return text;
  budget.text(text.length, 16);
  return [...text].slice(0, Number(precision)).join("");
}

function converted(
  kind: string,
  value: Value,
  { flags, width, precision }: { flags: string; width: number; precision: string | undefined },
  budget: Budget,
): string {
  const align = flags.includes("-") ? "<" : ">";
  if ("sra".includes(kind)) {
    const text = kind === "s" ? str(value, budget) : repr(value, budget);
    const cut = shortened(text, precision, budget);
    return padded(cut, width, align, " ", budget);
  }
  if (kind === "c") {
    const text = isInteger(value) ? String.fromCodePoint(Number(value)) : textOf(value);
    if (text === undefined || lengthOfText(text, budget) !== 1) throw new TemplateFault("%c requires int or char");
    return padded(text, width, align, " ", budget);
  }
  if (!isNumber(value)) throw new TemplateFault(`%${kind} format: a real number is required, not ${typeName(value)}`);
  const number = asNumber(value);
  let text: string;
  if ("diuxXo".includes(kind)) {
    if (typeof number === "number" && !"diu".includes(kind))
      throw new TemplateFault(`%${kind} format: an integer is required, not float`);
    text = integerIn(kind, truncated(number), flags.includes("#"));
    const digits = digitsOf(precision, 0);
    if (digits > 0) text = padded(text, digits + (text.startsWith("-") ? 1 : 0), "=", "0", budget);
  } else if ("feEgGF".includes(kind)) text = floatIn(kind, Number(number), digitsOf(precision, 6));
  else throw new TemplateFault(`unsupported format character '${kind}'`);
  if (!text.startsWith("-")) text = (flags.includes("+") ? "+" : flags.includes(" ") ? " " : "") + text;
  return flags.includes("0") && align === ">"
    ? padded(text, width, "=", "0", budget)
    : padded(text, width, align, " ", budget);
}

/** `int()` of a number. */
export function truncated(value: bigint | number): bigint {
  if (typeof value === "bigint") return value;
  if (!Number.isFinite(value))
    throw new TemplateFault(`cannot convert float ${Number.isNaN(value) ? "NaN" : "infinity"} to integer`);
  return BigInt(Math.trunc(value));
}

const specification = /^(?:([\s\S])?([<>=^]))?([-+ ]?)(#?)(0?)(\d*)([,_]?)(?:\.(\d+))?([bcdeEfFgGnosxX%]?)$/u;

/** `format(value, spec)` */
function formatValue(value: Value, spec: string, budget: Budget): string {
  if (spec === "") return str(value, budget);
  const found = specification.exec(spec);
  if (!found) throw new TemplateFault("Invalid format specifier");
  const [, fill, align, sign, alternate, zero, width, grouping, precision, kind] = found;
  const size = Number(width || 0);
  const text = textOf(value);
  if (text !== undefined) {
    if ((kind && kind !== "s") || sign || alternate || grouping || align === "=")
      throw new TemplateFault(`Unknown format code '${kind}' for object of type 'str'`);
    const cut = shortened(text, precision, budget);
    return padded(cut, size, align ?? "<", fill ?? (zero ? "0" : " "), budget);
  }
  if (!isNumber(value)) throw new TemplateFault(`unsupported format string passed to ${typeName(value)}.__format__`);
  const number = asNumber(value);
  let written = formattedNumber(number, kind ?? "", precision, alternate === "#");
  if (grouping) written = grouped(written, grouping, kind ?? "");
  if (!written.startsWith("-") && sign && sign !== "-") written = sign + written;
  return padded(written, size, align ?? (zero ? "=" : ">"), fill ?? (zero ? "0" : " "), budget);
}

function formattedNumber(
  number: bigint | number,
  kind: string,
  precision: string | undefined,
  alternate: boolean,
): string {
  if (kind === "c") return String.fromCodePoint(Number(number));
  if (kind === "" && typeof number === "number") {
    if (precision === undefined) return floatText(number);
    const text = general(number, digitsOf(precision, 6));
    return /^-?\d+$/.test(text) ? `${text}.0` : text;
  }
  if (kind === "" || "bcdoxXn".includes(kind)) {
    if (typeof number !== "bigint" && kind !== "n")
      throw new TemplateFault(`Unknown format code '${kind}' for object of type 'float'`);
    if (typeof number === "number") return general(number, digitsOf(precision, 6));
    return kind === "" || kind === "n" ? integerText(number) : integerIn(kind, number, alternate);
  }
  if (kind === "%") return `${fixed(Number(number) * 100, digitsOf(precision, 6))}%`;
  if (kind === "s") throw new TemplateFault("Unknown format code 's' for a number");
  return floatIn(kind, Number(number), digitsOf(precision, 6));
}

function grouped(text: string, separator: string, kind: string): string {
  const size = "bxXo".includes(kind || "d") ? 4 : 3;
  const [, sign, whole, rest] = /^([-+]?)([\da-fA-F]+)([\s\S]*)$/.exec(text) as unknown as [
    string,
    string,
    string,
    string,
  ];
  const groups: string[] = [];
  for (let end = whole.length; end > 0; end -= size) groups.unshift(whole.slice(Math.max(0, end - size), end));
  return sign + groups.join(separator) + rest;
}

/** Reads a field (an attribute) or an element of a value. */
type Lookup = (value: Value, key: Value, attribute: boolean) => Value;

/** The values that the replacement fields of a format string name. */
class FieldValues {
  private automatic = 0;
  private numbered = false;

  constructor(
    private readonly args: readonly Value[],
    private readonly named: Named,
    private readonly lookup: Lookup,
  ) {}

  /** The value of a field name, such as `0.name[key]`. */
  of(name: string): Value {
    const [, first, path] = /^([^.[]*)([\s\S]*)$/.exec(name) as unknown as [string, string, string];
    let value = this.first(first);
    for (const [, attribute, key] of path.matchAll(/\.([^.[]+)|\[([^\]]+)\]/g))
      value =
        attribute !== undefined
          ? this.lookup(value, attribute, true)
          : this.lookup(value, /^\d+$/.test(key!) ? BigInt(key!) : key!, false);
    return value;
  }

  /** The argument of a number or a name; without one, the next argument. */
  private first(name: string): Value {
    if (name !== "" && !/^\d+$/.test(name)) {
      const value = this.named.get(name);
      if (value === undefined) throw new TemplateFault(`KeyError: ${name}`);
      return value;
    }
    if (name === "" ? this.numbered : this.automatic > 0)
      throw new TemplateFault("cannot switch between manual field specification and automatic field numbering");
    if (name !== "") this.numbered = true;
    const value = this.args[name === "" ? this.automatic++ : Number(name)];
    if (value === undefined) throw new TemplateFault("Replacement index out of range for positional args tuple");
    return value;
  }
}

/** `text.format(...)` */
export function formatBraces(
  text: string,
  args: readonly Value[],
  named: Named,
  lookup: Lookup,
  budget: Budget,
): string {
  budget.text(text.length, 64);
  return replaceFields(text, new FieldValues(args, named, lookup), budget, 0);
}

/** Writes a text with values in place of its replacement fields. level: of nested specifications */
function replaceFields(source: string, fields: FieldValues, budget: Budget, level: number): string {
  if (level > 2) throw new TemplateFault("Max string recursion exceeded");
  const writer = new TextWriter(budget, 0, Number.POSITIVE_INFINITY); // charged as the source is read
  for (let at = 0; at < source.length; ) {
    budget.charge(1 / 2);
    const sign = source[at]!;
    let part: string;
    if (sign !== "{" && sign !== "}") {
      const end = source.slice(at).search(/[{}]/);
      part = end < 0 ? source.slice(at) : source.slice(at, at + end);
      budget.charge((source.length - at) / 1024);
      at += part.length;
    } else if (source[at + 1] === sign) {
      part = sign;
      at += 2;
    } else {
      const end = sign === "{" ? closing(source, at) : -1;
      if (end < 0) throw new TemplateFault(`Single '${sign}' encountered in format string`);
      const [, name, conversion, spec] = /^([^!:]*)(?:!([^:]))?(?::([\s\S]*))?$/.exec(source.slice(at + 1, end)) ?? [];
      if (name === undefined) throw new TemplateFault("expected ':' after conversion specifier");
      let value = fields.of(name);
      if (conversion === "r" || conversion === "a") value = repr(value, budget);
      else if (conversion === "s") value = str(value, budget);
      part = formatValue(value, replaceFields(spec ?? "", fields, budget, level + 1), budget);
      at = end + 1;
    }
    writer.add(part);
  }
  return writer.text();
}

function closing(text: string, open: number): number {
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    if (text[at] === "{") depth++;
    else if (text[at] === "}" && --depth === 0) return at;
  }
  return -1;
}

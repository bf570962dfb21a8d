/** jinja2's filters on texts and single values. */
import { bindArguments, type CallArguments, integerOf, requireText } from "./arguments";
import { type Budget, TemplateFault } from "./budget";
import { asNumber } from "./compare";
import { fixed, formatPercent, truncated } from "./format";
import { hasLength, reversed } from "./objects";
import { escaped } from "./operators";
import { callTextMethod, capitalized } from "./text_methods";
import { replaced, stripped } from "./text_parts";
import {
  Dict,
  isIterable,
  isNumber,
  isTrue,
  iterated,
  lengthOfText,
  listOfValue,
  Markup,
  PyGenerator,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values";
import { json, str, TextWriter } from "./writing";

/** What filters may use of the interpreter. */
export interface FilterContext {
  readonly budget: Budget;
  filter(name: string, value: Value, given: CallArguments): Value;
  test(name: string, value: Value, given: CallArguments): boolean;
}
export type Filter = (value: Value, given: CallArguments, context: FilterContext) => Value;

/** A filter that takes the value's text, and keeps its mark. */
const ofText =
  (name: string, work: (text: string, budget: Budget) => string): Filter =>
  (value, given, { budget }) => {
    bindArguments(name, [], given);
    const text = str(value, budget);
    budget.text(text.length, 64);
    const result = work(text, budget);
    budget.text(result.length);
    return value instanceof Markup ? new Markup(result) : result;
  };

const titleWord = /([-\s({[<]+)/u;

function trim(value: Value, given: CallArguments, budget: Budget): Value {
  const [characters = null] = bindArguments("trim", ["chars"], given);
  const text = stripped(str(value, budget), characters === null ? null : requireText(characters), "both", budget);
  return value instanceof Markup ? new Markup(text) : text;
}

function indent(value: Value, given: CallArguments, budget: Budget): Value {
  const [width = 4n, first = false, blank = false] = bindArguments("indent", ["width", "first", "blank"], given);
  const size = typeof width === "string" ? width.length : integerOf(width, 4);
  if (value instanceof Undefined) value.fail();
  const text = `${requireText(value)}\n`;
  budget.text(text.length, 64);
  const lines = callTextMethod("splitlines", text, budget) as string[];
  budget.text(text.length + lines.length * Math.max(0, size));
  const by = typeof width === "string" ? width : " ".repeat(Math.max(0, size));
  let result: string;
  if (isTrue(blank, budget)) result = lines.join(`\n${by}`);
  else result = lines.map((line, at) => (at > 0 && line !== "" ? by + line : line)).join("\n");
  return isTrue(first, budget) ? by + result : result;
}

function tojson(value: Value, given: CallArguments, budget: Budget): Value {
  const names = ["ensure_ascii", "indent", "separators", "sort_keys"];
  const [ascii = false, indentation = null, separators = null, sorted = false] = bindArguments("tojson", names, given);
  let by: string | null = null;
  if (indentation !== null) {
    const width = typeof indentation === "string" ? 0 : integerOf(indentation, 0);
    budget.text(width);
    by = typeof indentation === "string" ? indentation : " ".repeat(Math.max(0, width));
  }
  let between: [string, string] = [by === null ? ", " : ",", ": "];
  if (separators !== null) {
    const parts = [...iterated(separators, budget)].map(requireText);
    if (parts.length !== 2) throw new TemplateFault(`Expected two separators but received ${parts.length}`);
    between = parts as [string, string];
  }
  const options = { ascii: isTrue(ascii, budget), indent: by, separators: between, sorted: isTrue(sorted, budget) };
  return json(value, options, budget);
}

const pythonInteger = /^[+-]?\d+(?:_\d+)*$/;
/** No part of it can match what another one could: it is linear. */
const pythonFloat =
  /^[+-]?(?:(?:\d+(?:_\d+)*(?:\.(?:\d+(?:_\d+)*)?)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+(?:_\d+)*)?|inf(?:inity)?|nan)$/i;

function floatOf(text: string): number | undefined {
  if (!pythonFloat.test(text)) return undefined;
  const plain = text.replaceAll("_", "").toLowerCase();
  if (plain.includes("nan")) return Number.NaN;
  if (plain.includes("inf")) return plain.startsWith("-") ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  const number = Number(plain);
  return Number.isNaN(number) ? undefined : number;
}

function integerIn(text: string, base: number): bigint | undefined {
  const plain = text.replaceAll("_", "").toLowerCase();
  if (base === 10) return pythonInteger.test(text) && plain.length <= 4301 ? signedInteger(plain) : undefined;
  const prefix = { 2: "0b", 8: "0o", 16: "0x" }[base];
  const digits = plain.replace(/^[+-]/, "").replace(prefix ?? "", "");
  const valid = [...digits].every((digit) => Number.parseInt(digit, 36) < base) && digits !== "";
  if (!valid) return undefined;
  let result = 0n;
  for (const digit of digits) result = result * BigInt(base) + BigInt(Number.parseInt(digit, 36));
  return plain.startsWith("-") ? -result : result;
}

const signedInteger = (plain: string): bigint =>
  plain.startsWith("-") ? -BigInt(plain.slice(1)) : BigInt(plain.replace("+", ""));

function toInteger(value: Value, given: CallArguments, budget: Budget): Value {
  const [otherwise = 0n, base = 10n] = bindArguments("int", ["default", "base"], given);
  const text = textOf(value);
  if (text === undefined) {
    if (value instanceof Undefined) value.fail();
    if (!isNumber(value)) return otherwise;
    const number = asNumber(value);
    return typeof number === "number" && !Number.isFinite(number) ? otherwise : truncated(number);
  }
  budget.text(text.length, 16);
  const plain = stripped(text, null, "both", budget);
  const integer = plain.length > 4400 ? undefined : integerIn(plain, integerOf(base, 10));
  if (integer !== undefined) return integer;
  const float = floatOf(plain);
  return float === undefined || !Number.isFinite(float) ? otherwise : truncated(float);
}

function round(value: Value, given: CallArguments): Value {
  const [precision, method = "common"] = bindArguments("round", ["precision", "method"], given);
  if (!["common", "ceil", "floor"].includes(method as string))
    throw new TemplateFault("method must be common, ceil or floor");
  if (!isNumber(value)) throw new TemplateFault(`type ${typeName(value)} doesn't define __round__ method`);
  const digits = integerOf(precision, 0);
  if (Math.abs(digits) > 300) throw new TemplateFault("Expected at most 300 digits");
  const number = asNumber(value);
  if (method === "common")
    return typeof number === "bigint" ? roundedInteger(number, digits) : roundedFloat(number, digits);
  const scale = 10 ** digits;
  return (method === "ceil" ? Math.ceil : Math.floor)(Number(number) * scale) / scale;
}

function roundedInteger(value: bigint, digits: number): bigint {
  if (digits >= 0) return value;
  const unit = 10n ** BigInt(-digits);
  const rest = ((value % unit) + unit) % unit;
  const down = value - rest;
  const odd = (down / unit) % 2n !== 0n;
  return rest * 2n > unit || (rest * 2n === unit && odd) ? down + unit : down;
}

function roundedFloat(value: number, digits: number): number {
  if (!Number.isFinite(value)) return value;
  if (digits >= 0) return digits > 40 ? value : Number(fixed(value, digits));
  const scale = 10 ** -digits;
  return Number(fixed(value / scale, 0)) * scale;
}

function center(value: Value, given: CallArguments, context: FilterContext): Value {
  const [width = 80n] = bindArguments("center", ["width"], given);
  return callTextMethod("center", str(value, context.budget), context.budget, [width]);
}

function truncate(value: Value, given: CallArguments, budget: Budget): Value {
  const names = ["length", "killwords", "end", "leeway"];
  const [length = 255n, killWords = false, end = "...", leeway = 5n] = bindArguments("truncate", names, given);
  const ending = requireText(end);
  const size = integerOf(length, 255);
  const endingLength = lengthOfText(ending, budget);
  if (size < endingLength) throw new TemplateFault(`expected length >= ${endingLength}, got ${size}`);
  if (hasLength(value, budget) <= size + integerOf(leeway, 5)) return value;
  const text = requireText(value);
  budget.charge(text.length / 8);
  const points = [...text];
  const cut = points.slice(0, size - endingLength).join("");
  if (isTrue(killWords, budget)) return cut + ending;
  const space = cut.lastIndexOf(" ");
  return (space < 0 ? cut : cut.slice(0, space)) + ending;
}

const safeInUrl = /[A-Za-z0-9_.~/-]/;
function urlQuoted(text: string, forQuery: boolean, budget: Budget): string {
  budget.text(text.length, 8);
  return [...text]
    .map((one) => {
      if (safeInUrl.test(one) && !(forQuery && one === "/")) return one;
      if (forQuery && one === " ") return "+";
      return [...Buffer.from(one)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
    })
    .join("");
}

function urlencode(value: Value, given: CallArguments, budget: Budget): Value {
  bindArguments("urlencode", [], given);
  if (textOf(value) !== undefined || !isIterable(value)) return urlQuoted(str(value, budget), false, budget);
  const writer = new TextWriter(budget);
  for (const pair of iterated(value instanceof Dict ? new View(value, "items") : value, budget)) {
    const parts = listOfValue(pair, budget);
    if (parts.length !== 2) throw new TemplateFault(`Expected pairs for urlencode but received ${parts.length} values`);
    const [name, own] = parts.map((part) => urlQuoted(str(part, budget), true, budget));
    writer.add(`${writer.length > 0 ? "&" : ""}${name}=${own}`);
  }
  return writer.text();
}

function absolute(value: Value): Value {
  if (!isNumber(value)) {
    if (value instanceof Undefined) value.fail();
    throw new TemplateFault(`bad operand type for abs(): '${typeName(value)}'`);
  }
  const number = asNumber(value);
  return number < 0 || Object.is(number, -0) ? -number : number;
}

/** A filter without arguments. */
const withoutArguments =
  (name: string, work: (value: Value, budget: Budget) => Value): Filter =>
  (value, given, { budget }) => {
    bindArguments(name, [], given);
    return work(value, budget);
  };
const length: Filter = (value, given, { budget }) => {
  bindArguments("length", [], given);
  return BigInt(hasLength(value, budget));
};
const otherwise: Filter = (value, given, { budget }) => {
  const [other = "", boolean = false] = bindArguments("default", ["default_value", "boolean"], given);
  return value instanceof Undefined || (isTrue(boolean, budget) && !isTrue(value, budget)) ? other : value;
};
const escapeText: Filter = (value, given, { budget }) => {
  bindArguments("escape", [], given);
  if (value instanceof Markup) return value;
  const text = str(value, budget);
  budget.text(6 * text.length, 64);
  return new Markup(escaped(text));
};

export const valueFilters: Readonly<Record<string, Filter>> = {
  abs: withoutArguments("abs", absolute),
  capitalize: ofText("capitalize", capitalized),
  center,
  default: otherwise,
  d: otherwise,
  e: escapeText,
  escape: escapeText,
  forceescape: (value, given, context) => escapeText(str(value, context.budget), given, context),
  safe: withoutArguments("safe", (value, budget) => new Markup(str(value, budget))),
  string: withoutArguments("string", (value, budget) => (value instanceof Markup ? value : str(value, budget))),
  float: (value, given, { budget }) => {
    const [other = 0] = bindArguments("float", ["default"], given);
    const text = textOf(value);
    if (value instanceof Undefined) value.fail();
    if (text === undefined) return isNumber(value) ? Number(asNumber(value)) : other;
    budget.text(text.length, 16);
    return floatOf(stripped(text, null, "both", budget)) ?? other;
  },
  format: (value, { args, named }, { budget }) => {
    if (args.length > 0 && named.size > 0)
      throw new TemplateFault("can't handle positional and keyword arguments at the same time");
    const given = named.size > 0 ? Dict.of(named, budget) : new Tuple(args);
    return formatPercent(str(value, budget), given, budget);
  },
  indent: (value, given, { budget }) => indent(value, given, budget),
  int: (value, given, { budget }) => toInteger(value, given, budget),
  length,
  count: length,
  lower: ofText("lower", (text) => text.toLowerCase()),
  replace: (value, given, { budget }) => {
    const [old, by, most = null] = bindArguments("replace", ["old!", "new!", "count"], given);
    const times = most === null ? -1 : integerOf(most, -1);
    const text = str(value, budget);
    return replaced(text, str(old!, budget), str(by!, budget), times < 0 ? Number.POSITIVE_INFINITY : times, budget);
  },
  reverse: withoutArguments("reverse", (value, budget) => {
    const text = textOf(value);
    if (text === undefined) {
      if (value instanceof PyGenerator) return listOfValue(value, budget).reverse();
      return new PyGenerator(reversed(value, budget));
    }
    budget.text(text.length, 16);
    return [...text].reverse().join("");
  }),
  round: (value, given) => round(value, given),
  title: ofText("title", (text, budget) => {
    budget.text(text.length, 8);
    const title = (part: string) => {
      const [first = "", ...rest] = part;
      return first.toUpperCase() + rest.join("").toLowerCase();
    };
    return text.split(titleWord).map(title).join("");
  }),
  tojson: (value, given, { budget }) => tojson(value, given, budget),
  trim: (value, given, { budget }) => trim(value, given, budget),
  truncate: (value, given, { budget }) => truncate(value, given, budget),
  upper: ofText("upper", (text) => text.toUpperCase()),
  urlencode: (value, given, { budget }) => urlencode(value, given, budget),
  wordcount: withoutArguments("wordcount", (value, budget) => {
    const text = str(value, budget);
    budget.text(text.length, 32);
    return BigInt(text.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0);
  }),
};

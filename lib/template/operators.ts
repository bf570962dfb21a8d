/** Python's operators on values. */
import { type Budget, TemplateFault } from "./budget";
import { asNumber } from "./compare";
import { formatPercent } from "./format";
import type { BinaryOperator } from "./nodes";
import { isInteger, isNumber, isWide, itemsOf, Markup, Tuple, textOf, typeName, Undefined, type Value } from "./values";
import { str } from "./writing";

const spelled: Readonly<Record<BinaryOperator, string>> = {
  "+": "+",
  "-": "-",
  "*": "*",
  "/": "/",
  "//": "//",
  "%": "%",
  "**": "** or pow()",
};

export function binary(operator: BinaryOperator, a: Value, b: Value, budget: Budget): Value {
  if (isNumber(a) && isNumber(b)) return arithmetic(operator, asNumber(a), asNumber(b), budget);
  if (operator === "%" && textOf(a) !== undefined) {
    if (a instanceof Markup) return new Markup(formatPercent(a.text, escapedValue(b, budget), budget));
    return formatPercent(textOf(a)!, b, budget);
  }
  if (a instanceof Undefined) a.fail();
  if (b instanceof Undefined) b.fail();
  if (operator === "+") {
    const sum = joined(a, b, budget);
    if (sum !== undefined) return sum;
    if (textOf(a) !== undefined) throw new TemplateFault(`can only concatenate str (not "${typeName(b)}") to str`);
  }
  if (operator === "*") {
    const product = isInteger(b) ? repeated(a, b, budget) : isInteger(a) ? repeated(b, a, budget) : undefined;
    if (product !== undefined) return product;
  }
  throw new TemplateFault(
    `unsupported operand type(s) for ${spelled[operator]}: '${typeName(a)}' and '${typeName(b)}'`,
  );
}

export const escaped = (text: string): string =>
  text
    .replaceAll("&", "&amp;")
    .replaceAll(">", "&gt;")
    .replaceAll("<", "&lt;")
    .replaceAll("'", "&#39;")
    .replaceAll('"', "&#34;");

/** What a marked text is formatted with. */
function escapedValue(value: Value, budget: Budget): Value {
  if (value instanceof Tuple) return new Tuple(value.items.map((item) => escapedItem(item, budget)));
  return escapedItem(value, budget);
}
function escapedItem(value: Value, budget: Budget): Value {
  if (typeof value !== "string") return value;
  budget.text(6 * value.length, 64);
  return escaped(value);
}

function joined(a: Value, b: Value, budget: Budget): Value | undefined {
  const [left, right] = [textOf(a), textOf(b)];
  if (left !== undefined && right !== undefined) {
    budget.text(left.length + right.length);
    if (typeof a === "string" && typeof b === "string") return left + right;
    budget.text(6 * (left.length + right.length), 64);
    return new Markup((a instanceof Markup ? left : escaped(left)) + (b instanceof Markup ? right : escaped(right)));
  }
  const [some, others] = [itemsOf(a), itemsOf(b)];
  if (!some || !others || Array.isArray(a) !== Array.isArray(b)) return undefined;
  budget.list(some.length + others.length);
  const all = [...some, ...others];
  return Array.isArray(a) ? all : new Tuple(all);
}

function repeated(value: Value, times: bigint | boolean, budget: Budget): Value | undefined {
  const count = Math.max(0, Number(times));
  const text = textOf(value);
  if (text !== undefined) {
    budget.text(text.length * count);
    const whole = text.length === 0 ? "" : text.repeat(count);
    return value instanceof Markup ? new Markup(whole) : whole;
  }
  const items = itemsOf(value);
  if (!items) return undefined;
  budget.list(items.length * count);
  const all = items.length === 0 ? [] : Array.from({ length: count }, () => items).flat();
  return Array.isArray(value) ? all : new Tuple(all);
}

function asFloat(value: bigint | number): number {
  const float = Number(value);
  if (typeof value === "bigint" && !Number.isFinite(float))
    throw new TemplateFault("int too large to convert to float");
  return float;
}

function arithmetic(operator: BinaryOperator, a: bigint | number, b: bigint | number, budget: Budget): Value {
  if (typeof a === "bigint" && typeof b === "bigint" && operator !== "/")
    return budget.integer(operator === "**" ? power(a, b, budget) : integers(operator, a, b)) as Value;
  return floats(operator, asFloat(a), asFloat(b));
}

function integers(operator: BinaryOperator, a: bigint, b: bigint): bigint {
  switch (operator) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    default: {
      if (b === 0n) throw new TemplateFault("integer division or modulo by zero");
      const rest = a % b;
      const off = rest !== 0n && rest < 0n !== b < 0n;
      if (operator === "%") return off ? rest + b : rest;
      return a / b - (off ? 1n : 0n);
    }
  }
}

function power(a: bigint, b: bigint, budget: Budget): bigint {
  if (b < 0n) return floats("**", asFloat(a), asFloat(b)) as unknown as bigint;
  const bits = a === 0n || a === 1n || a === -1n ? 1 : a.toString(16).replace("-", "").length * 4;
  const float = Math.abs(Number(a)); // its logarithm is exact enough where it is finite
  if (bits > 1) budget.bits(Number.isFinite(float) ? Math.log2(float) * Number(b) : bits * Number(b));
  return bits === 1 ? (b === 0n ? 1n : a === -1n && b % 2n === 0n ? 1n : a) : a ** b;
}

function floats(operator: BinaryOperator, a: number, b: number): number {
  switch (operator) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "**": {
      if (a === 0 && b < 0) throw new TemplateFault("0.0 cannot be raised to a negative power");
      if (a < 0 && Number.isFinite(a) && Number.isFinite(b) && !Number.isInteger(b))
        throw new TemplateFault("complex numbers are not supported");
      const result = Math.abs(a) === 1 || b === 0 ? (a === 1 || b === 0 ? 1 : Number.isFinite(b) ? a ** b : 1) : a ** b;
      if (!Number.isFinite(result) && Number.isFinite(a) && Number.isFinite(b))
        throw new TemplateFault("(34, 'Numerical result out of range')");
      return result;
    }
    default: {
      if (b === 0) throw new TemplateFault("float division by zero");
      if (operator === "/") return a / b;
      return operator === "%" ? remainder(a, b) : quotient(a, b);
    }
  }
}

/** Its sign is the divisor's. */
function remainder(a: number, b: number): number {
  const rest = a % b;
  if (rest === 0) return b < 0 ? -0 : 0;
  return rest < 0 !== b < 0 ? rest + b : rest;
}

function quotient(a: number, b: number): number {
  if (!Number.isFinite(a)) return Number.NaN;
  const parts = (a - remainder(a, b)) / b;
  if (parts === 0) return a / b < 0 ? -0 : 0;
  const floor = Math.floor(parts);
  return parts - floor > 0.5 ? floor + 1 : floor;
}

export function signed(negative: boolean, value: Value): Value {
  if (value instanceof Undefined) value.fail();
  if (!isNumber(value))
    throw new TemplateFault(`bad operand type for unary ${negative ? "-" : "+"}: '${typeName(value)}'`);
  const number = asNumber(value);
  return negative ? -number : number;
}

/** `a ~ b` */
export function concatenated(parts: readonly Value[], budget: Budget): string {
  let text = "";
  for (const part of parts) {
    text += str(part, budget);
    budget.text(text.length);
  }
  return text;
}

/** An index as Python takes it, or undefined for what is none. */
export function indexOf(value: Value): number | undefined {
  return isInteger(value) ? Number(value) : undefined;
}

/** Places of `[start:stop:step]` in a sequence of so many elements. */
export function slicePlaces(parts: readonly Value[], length: number): number[] | undefined {
  const numbers = parts.map((part) => (part === null || part === undefined ? null : indexOf(part)));
  if (numbers.some((part) => part === undefined)) return undefined;
  const step = numbers[2] ?? 1;
  if (step === 0) throw new TemplateFault("slice step cannot be zero");
  const [low, high] = step > 0 ? [0, length] : [-1, length - 1];
  const place = (given: number | null | undefined, otherwise: number) => {
    if (given === null || given === undefined) return otherwise;
    return Math.min(Math.max(given < 0 ? given + length : given, low), high);
  };
  const start = place(numbers[0], step > 0 ? low : high);
  const stop = place(numbers[1], step > 0 ? high : low);
  return [start, stop, step];
}

export function sliced<T>(items: readonly T[], [start, stop, step]: readonly number[]): T[] {
  if (step === 1) return items.slice(start, Math.max(start!, stop!));
  const result: T[] = [];
  for (let at = start!; step! > 0 ? at < stop! : at > stop!; at += step!) result.push(items[at]!);
  return result;
}

/** A part of a text, by code points. */
export function slicedText(text: string, parts: readonly Value[], budget: Budget): string | undefined {
  const wide = isWide(text);
  budget.text(text.length, wide ? 16 : 256);
  const points = wide ? [...text] : undefined;
  const places = slicePlaces(parts, points?.length ?? text.length);
  if (!places) return undefined;
  const [start, stop, step] = places;
  if (step === 1)
    return points ? points.slice(start, Math.max(start!, stop!)).join("") : text.slice(start, Math.max(start!, stop!));
  budget.text(text.length, 16);
  return sliced(points ?? [...text], places).join("");
}

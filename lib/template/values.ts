/**
 * Python's values as a template sees them. An int is a bigint, a float a number, None null, a list an array; what JavaScript
 * has no like of is a class here.
 */
import { type Budget, TemplateFault, TemplateLimit } from "./budget";

export type Value = null | boolean | bigint | number | string | Value[] | PyObject;
export type Named = ReadonlyMap<string, Value>;

/** A value that no type of JavaScript represents. */
export abstract class PyObject {
  /** Python's name of the type. */
  abstract readonly type: string;
}

export class Tuple extends PyObject {
  readonly type = "tuple";
  /** @param names of the elements, where it is a named tuple */
  constructor(
    readonly items: readonly Value[],
    readonly names: readonly string[] = [],
  ) {
    super();
  }
}

type Key = string | bigint | number | null | object;

/** A dict: its keys are equal as Python's are, so 1, 1.0 and True are one. */
export class Dict extends PyObject {
  readonly type = "dict";
  readonly entries = new Map<Key, readonly [key: Value, value: Value]>();

  static of(pairs: Iterable<readonly [Value, Value]>, budget: Budget): Dict {
    const dict = new Dict();
    for (const [key, value] of pairs) dict.set(key, value, budget);
    return dict;
  }
  get(key: Value, budget: Budget): Value | undefined {
    return this.entries.get(hashed(key, budget))?.[1];
  }
  set(key: Value, value: Value, budget: Budget): void {
    const hash = hashed(key, budget);
    this.entries.set(hash, [this.entries.get(hash)?.[0] ?? key, value]);
  }
  /** Sets what the caller gave, which no budget bounds. */
  setField(name: string, value: Value): void {
    this.entries.set(name, [name, value]);
  }
  get size(): number {
    return this.entries.size;
  }
}

/** What `keys`, `values` and `items` of a dict give. */
export class View extends PyObject {
  constructor(
    readonly dict: Dict,
    readonly what: "keys" | "values" | "items",
  ) {
    super();
  }
  get type() {
    return `dict_${this.what}`;
  }
  *[Symbol.iterator](): Generator<Value> {
    for (const [key, value] of this.dict.entries.values())
      yield this.what === "keys" ? key : this.what === "values" ? value : new Tuple([key, value]);
  }
}

export class Range extends PyObject {
  readonly type = "range";
  readonly length: number;
  constructor(
    readonly start: bigint,
    readonly stop: bigint,
    readonly step: bigint,
  ) {
    super();
    const span = step > 0n ? stop - start : start - stop;
    const by = step > 0n ? step : -step;
    this.length = span <= 0n ? 0 : Number((span + by - 1n) / by);
  }
  at(index: number): bigint {
    return this.start + BigInt(index) * this.step;
  }
}

/** A generator: it can be read once. */
export class PyGenerator extends PyObject {
  readonly type = "generator";
  constructor(readonly iterator: Iterator<Value>) {
    super();
  }
}

/** A name, field or element that does not exist. */
export class Undefined extends PyObject {
  readonly type = "Undefined";
  constructor(readonly hint: string) {
    super();
  }
  fail(): never {
    throw new TemplateFault(this.hint);
  }
}

/** A string that was marked as safe. */
export class Markup extends PyObject {
  readonly type = "Markup";
  constructor(readonly text: string) {
    super();
  }
}

/** Something to call. */
export class Callable extends PyObject {
  constructor(
    readonly name: string,
    readonly call: (args: readonly Value[], named: Named) => Value,
    readonly type: string = "builtin_function_or_method",
    readonly fields: ReadonlyMap<string, Value> = new Map(),
  ) {
    super();
  }
}

/** `namespace()`: the only value that changes. */
export class Namespace extends PyObject {
  readonly type = "Namespace";
  readonly fields = new Map<string, Value>();
}

/** An object whose attributes are computed, as `loop`. */
export abstract class Attributes extends PyObject {
  abstract attribute(name: string): Value | undefined;
}

/** Parts of a tuple that is a key, all levels counted. */
const mostParts = 100;

/** A key as a Map compares it. V8 reads all of a text to hash it. */
function hashed(key: Value, budget: Budget, room = { left: mostParts }): Key {
  if (--room.left < 0) throw new TemplateLimit(`it makes a key of more than ${mostParts} parts`);
  chargeRead(key, budget);
  if (typeof key === "string" || typeof key === "bigint" || key === null) return key;
  if (typeof key === "boolean") return key ? 1n : 0n;
  if (typeof key === "number") return Number.isInteger(key) ? BigInt(key) : key;
  if (key instanceof Markup) return key.text;
  if (key instanceof Undefined) return Undefined;
  if (key instanceof Tuple) {
    let length = 0;
    const parts = key.items.map((part) => {
      const hash = hashed(part, budget, room);
      const text = String(hash);
      length += text.length;
      budget.text(length, Number.POSITIVE_INFINITY);
      return `${typeof hash}${text.length}:${text}`;
    });
    budget.text(length);
    return `\0tuple${parts.join()}`;
  }
  if (Array.isArray(key) || key instanceof Dict || key instanceof Namespace)
    throw new TemplateFault(`unhashable type: '${typeName(key)}'`);
  return key;
}

export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  if (typeof value === "string") return "str";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "bigint") return "int";
  if (typeof value === "number") return "float";
  return Array.isArray(value) ? "list" : value.type;
}

export const isInteger = (value: Value): value is bigint | boolean =>
  typeof value === "bigint" || typeof value === "boolean";
export const isNumber = (value: Value): value is bigint | boolean | number =>
  isInteger(value) || typeof value === "number";

/** The characters of a str, marked or not. */
export function textOf(value: Value): string | undefined {
  if (typeof value === "string") return value;
  return value instanceof Markup ? value.text : undefined;
}

/** The elements of a list or tuple. */
export function itemsOf(value: Value): readonly Value[] | undefined {
  if (Array.isArray(value)) return value;
  return value instanceof Tuple ? value.items : undefined;
}

/** An integer of more bits takes as long as a text of some length. */
const isLarge = (value: Value): boolean => typeof value === "bigint" && BigInt.asIntN(64, value) !== value;

/**
 * Charges for going through a value once. The evaluator does so for all that an operation is given, so that none is free;
 * one that takes longer charges more itself. What elements hold is charged where it is read.
 */
export function chargeRead(value: Value, budget: Budget): void {
  if (value === null || typeof value === "number" || typeof value === "boolean") return;
  if (typeof value === "string") budget.charge(value.length / 1024);
  else if (typeof value === "bigint") {
    if (isLarge(value)) budget.charge(16);
  } else if (value instanceof Markup) budget.charge(value.text.length / 1024);
  else if (value instanceof View) budget.charge(value.dict.size / 1024);
  else budget.charge((value instanceof Dict ? value.size : (itemsOf(value)?.length ?? 0)) / 1024);
}

/** Charges for the memory of what an operation gives, and refuses what is too large. */
export function chargeMade<T extends Value>(value: T, budget: Budget): T {
  const text = textOf(value);
  if (text !== undefined) budget.text(text.length);
  else if (value instanceof Dict) budget.list(value.size);
  else if (isLarge(value)) budget.charge(4);
  else {
    const items = itemsOf(value);
    if (items) budget.list(items.length);
  }
  return value;
}

const surrogates = /[\ud800-\udfff]/;
export const isWide = (text: string): boolean => surrogates.test(text);

/** Code points of a text. */
export function lengthOfText(text: string, budget: Budget): number {
  budget.text(text.length, 4096);
  if (!isWide(text)) return text.length;
  budget.charge(text.length / 64);
  let length = 0;
  for (const _ of text) length++;
  return length;
}

/** `len()`, or undefined for what has none. */
export function lengthOf(value: Value, budget: Budget): number | undefined {
  const text = textOf(value);
  if (text !== undefined) return lengthOfText(text, budget);
  const items = itemsOf(value);
  if (items) return items.length;
  if (value instanceof Dict) return value.size;
  if (value instanceof View) return value.dict.size;
  if (value instanceof Range) return value.length;
  if (value instanceof Undefined) return 0;
  if (!(value instanceof Attributes)) return undefined;
  const length = value.attribute("__len__");
  return length === undefined ? undefined : Number(length as bigint);
}

export function isTrue(value: Value, budget: Budget): boolean {
  if (typeof value === "string") return value !== "";
  if (typeof value === "number") return value !== 0; // NaN is true in Python
  if (value === null || typeof value !== "object") return Boolean(value);
  return lengthOf(value, budget) !== 0;
}

/** Elements in order, each charged. */
export function* iterated(value: Value, budget: Budget): Generator<Value> {
  const text = textOf(value);
  const items = text !== undefined ? text : itemsOf(value);
  if (items !== undefined) {
    for (const item of items) {
      budget.charge(1 / 4);
      yield item;
    }
  } else if (value instanceof Dict) yield* iterated(new View(value, "keys"), budget);
  else if (value instanceof View) {
    for (const item of value) {
      budget.charge(1 / 2);
      yield item;
    }
  } else if (value instanceof Range) {
    for (let at = 0; at < value.length; at++) {
      budget.charge(1 / 4);
      yield value.at(at);
    }
  } else if (value instanceof PyGenerator) {
    for (let next = value.iterator.next(); !next.done; next = value.iterator.next()) {
      budget.charge(1 / 4);
      yield next.value;
    }
  } else if (!(value instanceof Undefined)) throw new TemplateFault(`'${typeName(value)}' object is not iterable`);
}

/** Whether `iterated` takes it. */
export function isIterable(value: Value): boolean {
  if (textOf(value) !== undefined || itemsOf(value)) return true;
  const kinds = [Dict, View, Range, PyGenerator, Undefined];
  return kinds.some((kind) => value instanceof kind);
}

/** `list()` */
export function listOfValue(value: Value, budget: Budget): Value[] {
  const list: Value[] = [];
  for (const item of iterated(value, budget)) {
    list.push(item);
    budget.list(0);
    if (list.length % 1024 === 0) budget.list(list.length / 1024);
  }
  budget.list(list.length);
  return list;
}

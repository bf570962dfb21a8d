/** Attributes, elements and methods of values, as jinja2's sandbox gives them. */
import { type Budget, TemplateFault } from "./budget";
import { equal } from "./compare";
import { indexOf, sliced, slicedText, slicePlaces } from "./operators";
import { textMethods } from "./text_methods";
import {
  Attributes,
  Callable,
  chargeRead,
  Dict,
  isNumber,
  isWide,
  itemsOf,
  iterated,
  lengthOf,
  listOfValue,
  Markup,
  type Named,
  Namespace,
  Range,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values";

/** The parts of `[start:stop:step]`. */
export class Slice extends Attributes {
  readonly type = "slice";
  constructor(readonly parts: readonly Value[]) {
    super();
  }
  attribute(): undefined {
    return undefined;
  }
}

/** Methods that would change a value: the sandbox hides them. */
const changing: Readonly<Record<string, ReadonlySet<string>>> = {
  dict: new Set(["clear", "pop", "popitem", "setdefault", "update"]),
  list: new Set(["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"]),
};

type Method = (args: readonly Value[], named: Named) => Value;

function dictMethod(dict: Dict, name: string, budget: Budget): Method | undefined {
  switch (name) {
    case "get":
      return (args) => {
        if (args[0] === undefined) throw new TemplateFault("get expected at least 1 argument, got 0");
        const value = dict.get(args[0], budget);
        return value === undefined ? (args[1] ?? null) : value;
      };
    case "items":
    case "keys":
    case "values":
      return (args) => {
        if (args.length > 0) throw new TemplateFault(`dict.${name}() takes no arguments (${args.length} given)`);
        return new View(dict, name);
      };
    case "copy":
      return () => {
        budget.list(dict.size);
        return Dict.of(dict.entries.values(), budget);
      };
    default:
      return undefined;
  }
}

function sequenceMethod(value: Value, name: string, budget: Budget): Method | undefined {
  if (value instanceof Range && (name === "count" || name === "index"))
    return (args) => sequenceMethod(listOfValue(value, budget), name, budget)!(args, new Map());
  const items = itemsOf(value);
  if (!items) return undefined;
  if (name === "count") return ([sought]) => BigInt(items.filter((item) => equal(item, sought ?? null, budget)).length);
  if (name === "index")
    return ([sought]) => {
      const at = items.findIndex((item) => equal(item, sought ?? null, budget));
      if (at < 0) throw new TemplateFault("the value is not in the list");
      return BigInt(at);
    };
  if (name === "copy" && Array.isArray(value)) return () => [...value];
  return undefined;
}

function numberAttribute(value: bigint | boolean | number, name: string): Value | Method | undefined {
  if (typeof value === "number") {
    if (name === "is_integer") return () => Number.isInteger(value);
    if (name === "real") return value;
    return name === "imag" ? 0 : undefined;
  }
  const integer = BigInt(value);
  if (name === "real" || name === "numerator") return integer;
  if (name === "imag") return 0n;
  if (name === "denominator") return 1n;
  if (name === "bit_length")
    return () => BigInt(integer === 0n ? 0 : (integer < 0n ? -integer : integer).toString(2).length);
  return name === "is_integer" ? () => true : undefined;
}

/** A method bound to its value, which every call may go through once. */
function method(value: Value, name: string, call: Method, budget: Budget): Callable {
  return new Callable(name, (args, named) => {
    chargeRead(value, budget);
    return call(args, named);
  });
}

/** What a method of a marked text gives: its parts are marked, too. */
function marked(result: Value): Value {
  if (typeof result === "string") return new Markup(result);
  if (Array.isArray(result)) return result.map(marked);
  return result instanceof Tuple ? new Tuple(result.items.map(marked)) : result;
}

/** What `getattr` finds, or undefined. */
function attribute(value: Value, name: string, budget: Budget): Value | undefined {
  const text = textOf(value);
  if (text !== undefined) {
    if (!Object.hasOwn(textMethods, name)) return undefined;
    const work = textMethods[name]!;
    return method(
      value,
      name,
      (args, named) => {
        const result = work(text, { args, named, budget, lookup: (one, key, dot) => looked(one, key, dot, budget) });
        return value instanceof Markup ? marked(result) : result;
      },
      budget,
    );
  }
  if (value instanceof Undefined) value.fail();
  if (value instanceof Namespace) return value.fields.get(name);
  if (value instanceof Attributes) return name.startsWith("_") ? undefined : value.attribute(name);
  if (value instanceof Callable) return value.fields.get(name);
  if (value instanceof Range && (name === "start" || name === "stop" || name === "step")) return value[name];
  if (value instanceof Tuple && value.names.includes(name)) return value.items[value.names.indexOf(name)];
  const found = isNumber(value)
    ? numberAttribute(value, name)
    : value instanceof Dict
      ? dictMethod(value, name, budget)
      : sequenceMethod(value, name, budget);
  return typeof found === "function" ? method(value, name, found, budget) : found;
}

/** `obj[key]`, or undefined where Python raises TypeError or LookupError. */
function element(value: Value, key: Value, budget: Budget): Value | undefined {
  if (value instanceof Undefined) value.fail();
  if (key instanceof Slice) return slice(value, key, budget);
  if (value instanceof Dict) {
    if (Array.isArray(key) || key instanceof Dict || key instanceof Namespace) return undefined;
    return value.get(key, budget);
  }
  const at = indexOf(key);
  if (at === undefined) return undefined;
  const text = textOf(value);
  if (text !== undefined) {
    budget.text(text.length, isWide(text) ? 16 : 4096);
    const points = isWide(text) ? [...text] : text;
    const one = points[at < 0 ? at + points.length : at];
    return value instanceof Markup && one !== undefined ? new Markup(one) : one;
  }
  if (value instanceof Range) {
    const place = at < 0 ? at + value.length : at;
    return place >= 0 && place < value.length ? value.at(place) : undefined;
  }
  return itemsOf(value)?.at(at);
}

function slice(value: Value, { parts }: Slice, budget: Budget): Value | undefined {
  const text = textOf(value);
  if (text !== undefined) return slicedText(text, parts, budget);
  const items = itemsOf(value);
  if (items) {
    budget.list(items.length);
    const places = slicePlaces(parts, items.length);
    if (!places) return undefined;
    const part = sliced(items, places);
    return Array.isArray(value) ? part : new Tuple(part);
  }
  if (!(value instanceof Range)) return undefined;
  const places = slicePlaces(parts, value.length);
  if (!places) return undefined;
  const [start, stop, step] = places.map(BigInt) as [bigint, bigint, bigint];
  return new Range(value.start + start * value.step, value.start + stop * value.step, value.step * step);
}

function described(value: Value, name: string): string {
  return value === null
    ? `'None' has no attribute '${name}'`
    : `'${typeName(value)} object' has no attribute '${name}'`;
}

function unsafe(value: Value, name: string): Undefined {
  return new Undefined(`access to attribute '${name}' of '${typeName(value)}' object is unsafe.`);
}

const isUnsafe = (value: Value, name: string) =>
  changing[typeName(value)]?.has(name) || (/^__\w+__$/.test(name) && !(value instanceof Undefined));

/** `value.name` */
export function getAttribute(value: Value, name: string, budget: Budget): Value {
  const found = attribute(value, name, budget);
  if (found !== undefined) return found;
  if (changing[typeName(value)]?.has(name)) return unsafe(value, name);
  const item = value instanceof Undefined ? undefined : element(value, name, budget);
  if (item !== undefined) return item;
  return isUnsafe(value, name) ? unsafe(value, name) : new Undefined(described(value, name));
}

/** `value[key]` */
export function getItem(value: Value, key: Value, budget: Budget): Value {
  const item = element(value, key, budget);
  if (item !== undefined) return item;
  const name = textOf(key);
  if (name === undefined) return new Undefined(`${typeName(value)} object has no element ${typeName(key)}`);
  if (isUnsafe(value, name)) return unsafe(value, name);
  const found = attribute(value, name, budget);
  return found === undefined ? new Undefined(described(value, name)) : found;
}

/**
 * `value[start:stop:step]`, which fails where Python does: jinja2 leaves it to Python.
 * @param constant jinja2 computes a part of a constant that it prints when it compiles the template: that may be undefined
 */
export function getSlice(value: Value, key: Slice, budget: Budget, constant: boolean): Value {
  const part = element(value, key, budget);
  if (part !== undefined) return part;
  if (constant) return new Undefined(`${typeName(value)} object has no element slice`);
  throw new TemplateFault(
    textOf(value) !== undefined || itemsOf(value) || value instanceof Range
      ? "slice indices must be integers or None or have an __index__ method"
      : `'${typeName(value)}' object is not subscriptable`,
  );
}

function looked(value: Value, key: Value, dot: boolean, budget: Budget): Value {
  const found = dot ? getAttribute(value, key as string, budget) : getItem(value, key, budget);
  if (found instanceof Undefined) found.fail();
  return found;
}

/** `reversed(value)` */
export function* reversed(value: Value, budget: Budget): Generator<Value> {
  const text = textOf(value);
  if (value instanceof Undefined) return;
  const items: readonly Value[] | undefined =
    text !== undefined
      ? [...text]
      : (itemsOf(value) ?? (value instanceof Dict ? [...iterated(value, budget)] : undefined));
  budget.charge((text?.length ?? items?.length ?? 0) / 16);
  if (items) yield* iterated(items.toReversed() as Value[], budget);
  else if (value instanceof Range || value instanceof View) {
    const all = [...iterated(value, budget)];
    yield* iterated(all.reverse(), budget);
  } else throw new TemplateFault(`'${typeName(value)}' object is not reversible`);
}

export const hasLength = (value: Value, budget: Budget): number => {
  const length = lengthOf(value, budget);
  if (length === undefined) throw new TemplateFault(`object of type '${typeName(value)}' has no len()`);
  return length;
};

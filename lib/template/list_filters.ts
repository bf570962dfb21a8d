/** jinja2's filters on sequences and dicts. */
import { bindArguments, type CallArguments, integerOf } from "./arguments";
import { type Budget, TemplateFault } from "./budget";
import { compare, equal } from "./compare";
import { getAttribute, getItem, reversed } from "./objects";
import { binary } from "./operators";
import type { Filter, FilterContext } from "./value_filters";
import {
  Dict,
  isTrue,
  iterated,
  listOfValue,
  PyGenerator,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values";
import { str } from "./writing";

type Getter = (item: Value) => Value;

/** `a.b.0`, an element by element; what is undefined at last may have a default. */
function attributeGetter(attribute: Value | undefined, budget: Budget, otherwise?: Value): Getter {
  if (attribute === undefined || attribute === null) return (item) => item;
  const text = textOf(attribute);
  budget.charge(1 + (text?.length ?? 0) / 8);
  const parts: Value[] =
    text === undefined ? [attribute] : text.split(".").map((part) => (/^\d+$/.test(part) ? BigInt(part) : part));
  return (item) => {
    let value = item;
    for (const part of parts) {
      budget.charge(1 / 4);
      value = getItem(value, part, budget);
      if (value instanceof Undefined && otherwise !== undefined) value = otherwise;
    }
    return value;
  };
}

/** Texts in lower case, for comparisons that ignore case. */
const folded =
  (caseSensitive: boolean, budget: Budget): Getter =>
  (value) => {
    if (caseSensitive || typeof value !== "string") return value;
    budget.text(value.length, 64);
    return value.toLowerCase();
  };

function sorted(items: readonly Value[], key: Getter, backwards: boolean, budget: Budget): Value[] {
  budget.list(items.length);
  const keyed = items.map((item) => [key(item), item] as const);
  const sign = backwards ? -1 : 1;
  return keyed
    .sort(([a], [b]) => {
      budget.charge(1 / 2);
      const order = compare(a, b, "<", budget);
      return Number.isNaN(order) ? 0 : sign * order;
    })
    .map(([, item]) => item);
}

function sort(value: Value, given: CallArguments, budget: Budget): Value {
  const names = ["reverse", "case_sensitive", "attribute"];
  const [backwards = false, caseSensitive = false, attribute] = bindArguments("sort", names, given);
  budget.charge((textOf(attribute ?? null)?.length ?? 0) / 8);
  const paths: readonly (Value | undefined)[] = typeof attribute === "string" ? attribute.split(",") : [attribute];
  const fold = folded(isTrue(caseSensitive, budget), budget);
  const getters = paths.map((path) => attributeGetter(path, budget));
  const key: Getter = (item) => getters.map((get) => fold(get(item)));
  return sorted(listOfValue(value, budget), key, isTrue(backwards, budget), budget);
}

function dictsort(value: Value, given: CallArguments, budget: Budget): Value {
  const names = ["case_sensitive", "by", "reverse"];
  const [caseSensitive = false, by = "key", backwards = false] = bindArguments("dictsort", names, given);
  if (by !== "key" && by !== "value") throw new TemplateFault('You can only sort by either "key" or "value"');
  if (value instanceof Undefined) value.fail();
  if (!(value instanceof Dict)) throw new TemplateFault(`'${typeName(value)}' object has no attribute 'items'`);
  const fold = folded(isTrue(caseSensitive, budget), budget);
  const key: Getter = (item) => fold((item as Tuple).items[by === "key" ? 0 : 1]!);
  return sorted(listOfValue(new View(value, "items"), budget), key, isTrue(backwards, budget), budget);
}

/** Select, reject and their relatives: by a test that is named, or by truth. What is false or empty has no elements. */
function chooser(
  value: Value,
  given: CallArguments,
  context: FilterContext,
  wanted: boolean,
  byAttribute: boolean,
): Value {
  const { budget } = context;
  return lazy(value, budget, function* () {
    if (!isTrue(value, budget)) return;
    const [first] = given.args;
    if (byAttribute && first === undefined) throw new TemplateFault("Missing parameter for attribute name");
    const get = byAttribute ? attributeGetter(first, budget) : (item: Value) => item;
    const [name, ...args] = given.args.slice(byAttribute ? 1 : 0);
    const holds = (item: Value) => {
      if (name === undefined) return isTrue(item, budget);
      if (typeof name !== "string") throw new TemplateFault(`No test named ${typeName(name)}.`);
      return context.test(name, item, { args, named: given.named });
    };
    for (const item of iterated(value, budget)) if (holds(get(item)) === wanted) yield item;
  });
}

/** A generator, which reads nothing before its first element is read. */
function lazy(value: Value, budget: Budget, work: (items: Generator<Value>) => Generator<Value>): PyGenerator {
  return new PyGenerator(
    (function* () {
      yield* work(iterated(value, budget));
    })(),
  );
}

/** What `map` does to each element. */
function mapping({ args, named }: CallArguments, context: FilterContext): Getter {
  if (args.length === 0 && named.has("attribute")) {
    const others = [...named.keys()].filter((name) => name !== "attribute" && name !== "default");
    if (others.length > 0) throw new TemplateFault(`Unexpected keyword argument '${others[0]}'`);
    return attributeGetter(named.get("attribute"), context.budget, named.get("default"));
  }
  const [name, ...rest] = args;
  if (name === undefined) throw new TemplateFault("map requires a filter argument");
  if (typeof name !== "string") throw new TemplateFault(`No filter named ${typeName(name)}.`);
  return (item) => context.filter(name, item, { args: rest, named });
}

function map(value: Value, given: CallArguments, context: FilterContext): Value {
  const { budget } = context;
  return lazy(value, budget, function* () {
    if (!isTrue(value, budget)) return;
    const work = mapping(given, context);
    for (const item of iterated(value, budget)) yield work(item);
  });
}

function unique(value: Value, given: CallArguments, budget: Budget): Value {
  const [caseSensitive = false, attribute] = bindArguments("unique", ["case_sensitive", "attribute"], given);
  const get = attributeGetter(attribute, budget);
  const fold = folded(isTrue(caseSensitive, budget), budget);
  return lazy(value, budget, function* (items) {
    const seen = new Dict();
    for (const item of items) {
      const key = fold(get(item));
      budget.charge(1 / 4);
      if (seen.get(key, budget) !== undefined) continue;
      seen.set(key, true, budget);
      yield item;
    }
  });
}

function groupby(value: Value, given: CallArguments, budget: Budget): Value {
  const names = ["attribute!", "default", "case_sensitive"];
  const [attribute, otherwise, caseSensitive = false] = bindArguments("groupby", names, given);
  const get = attributeGetter(attribute, budget, otherwise === null ? undefined : otherwise);
  const fold = folded(isTrue(caseSensitive, budget), budget);
  const key: Getter = (item) => fold(get(item));
  const groups: { key: Value; items: Value[] }[] = [];
  for (const item of sorted(listOfValue(value, budget), key, false, budget)) {
    const own = key(item);
    const last = groups.at(-1);
    if (last && equal(last.key, own, budget)) last.items.push(item);
    else groups.push({ key: own, items: [item] });
  }
  return groups.map(({ items }) => new Tuple([get(items[0]!), items], ["grouper", "list"]));
}

function extreme(sign: number): Filter {
  return (value, given, { budget }) => {
    const [caseSensitive = false, attribute] = bindArguments("min or max", ["case_sensitive", "attribute"], given);
    const get = attributeGetter(attribute, budget);
    const fold = folded(isTrue(caseSensitive, budget), budget);
    let best: { item: Value; key: Value } | undefined;
    for (const item of iterated(value, budget)) {
      const key = fold(get(item));
      if (!best || sign * compare(key, best.key, sign > 0 ? ">" : "<", budget) > 0) best = { item, key };
    }
    return best ? best.item : new Undefined("No aggregated item, sequence was empty.");
  };
}

function join(value: Value, given: CallArguments, budget: Budget): Value {
  const [separator = "", attribute] = bindArguments("join", ["d", "attribute"], given);
  const get = attributeGetter(attribute, budget);
  const between = str(separator, budget);
  const parts: string[] = [];
  let length = 0;
  for (const item of iterated(value, budget)) {
    const part = str(get(item), budget);
    length += part.length + (parts.length > 0 ? between.length : 0);
    budget.text(length, Number.POSITIVE_INFINITY);
    budget.charge((part.length + between.length) / 1024);
    parts.push(part);
  }
  return parts.join(between);
}

function sum(value: Value, given: CallArguments, budget: Budget): Value {
  const [attribute, start = 0n] = bindArguments("sum", ["attribute", "start"], given);
  if (typeof start === "string") throw new TemplateFault("sum() can't sum strings [use ''.join(seq) instead]");
  const get = attributeGetter(attribute, budget);
  let total: Value = start;
  for (const item of iterated(value, budget)) total = binary("+", total, get(item), budget);
  return total;
}

function batch(value: Value, given: CallArguments, budget: Budget): Value {
  const [size, fill = null] = bindArguments("batch", ["linecount!", "fill_with"], given);
  const count = integerOf(size, 1);
  return lazy(value, budget, function* (items) {
    let part: Value[] = [];
    for (const item of items) {
      if (part.length === count) {
        yield part;
        part = [];
      }
      part.push(item);
    }
    if (part.length === 0) return;
    if (fill !== null && part.length < count) budget.list(count);
    while (fill !== null && part.length < count) part.push(fill);
    yield part;
  });
}

function slice(value: Value, given: CallArguments, budget: Budget): Value {
  const [slices, fill = null] = bindArguments("slice", ["slices!", "fill_with"], given);
  const count = integerOf(slices, 1);
  return lazy(value, budget, function* (items) {
    const all = [...items];
    if (count === 0) throw new TemplateFault("integer division or modulo by zero");
    const [size, longer] = [Math.floor(all.length / count), all.length % count];
    let offset = 0;
    for (let at = 0; at < count; at++) {
      budget.charge(1);
      const start = offset + at * size;
      if (at < longer) offset++;
      const part = all.slice(start, offset + (at + 1) * size);
      if (fill !== null && at >= longer) part.push(fill);
      yield part;
    }
  });
}

const items: Filter = (value, given) => {
  bindArguments("items", [], given);
  return new PyGenerator(
    (function* () {
      if (value instanceof Undefined) return;
      if (!(value instanceof Dict)) throw new TemplateFault("Can only get item pairs from a mapping.");
      yield* new View(value, "items");
    })(),
  );
};

export const listFilters: Readonly<Record<string, Filter>> = {
  attr: (value, given, { budget }) => {
    const [name] = bindArguments("attr", ["name!"], given);
    const found = getAttribute(value, str(name!, budget), budget);
    return value instanceof Dict && value.get(name!, budget) === found
      ? new Undefined("it has no such attribute")
      : found;
  },
  batch: (value, given, { budget }) => batch(value, given, budget),
  dictsort: (value, given, { budget }) => dictsort(value, given, budget),
  first: (value, given, { budget }) => {
    bindArguments("first", [], given);
    const next = iterated(value, budget).next();
    return next.done ? new Undefined("No first item, sequence was empty.") : next.value;
  },
  groupby: (value, given, { budget }) => groupby(value, given, budget),
  items,
  join: (value, given, { budget }) => join(value, given, budget),
  last: (value, given, { budget }) => {
    bindArguments("last", [], given);
    if (value instanceof Undefined) return new Undefined("No last item, sequence was empty.");
    const next = reversed(value, budget).next();
    return next.done ? new Undefined("No last item, sequence was empty.") : next.value;
  },
  list: (value, given, { budget }) => {
    bindArguments("list", [], given);
    return listOfValue(value, budget);
  },
  map,
  max: extreme(1),
  min: extreme(-1),
  reject: (value, given, context) => chooser(value, given, context, false, false),
  rejectattr: (value, given, context) => chooser(value, given, context, false, true),
  select: (value, given, context) => chooser(value, given, context, true, false),
  selectattr: (value, given, context) => chooser(value, given, context, true, true),
  slice: (value, given, { budget }) => slice(value, given, budget),
  sort: (value, given, { budget }) => sort(value, given, budget),
  sum: (value, given, { budget }) => sum(value, given, budget),
  unique: (value, given, { budget }) => unique(value, given, budget),
};

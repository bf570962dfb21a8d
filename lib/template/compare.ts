/** Python's `==`, `<` and `in`. */
import { type Budget, TemplateFault } from "./budget";
import {
  Dict,
  isNumber,
  itemsOf,
  iterated,
  Range,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values";

export const asNumber = (value: bigint | boolean | number): bigint | number =>
  typeof value === "boolean" ? (value ? 1n : 0n) : value;

/** Also of an int and a float; NaN is the same as none. */
const sameNumber = (a: bigint | number, b: bigint | number): boolean => a <= b && a >= b;

export function equal(a: Value, b: Value, budget: Budget): boolean {
  budget.charge(1 / 8);
  if (isNumber(a)) return isNumber(b) && sameNumber(asNumber(a), asNumber(b));
  const [left, right] = [textOf(a), textOf(b)];
  if (left !== undefined) {
    if (left.length !== right?.length) return false;
    budget.text(left.length);
    return left === right;
  }
  const [some, others] = [itemsOf(a), itemsOf(b)];
  if (some)
    return (
      others !== undefined &&
      Array.isArray(a) === Array.isArray(b) &&
      some.length === others.length &&
      budget.nested(() => some.every((item, at) => item === others[at] || equal(item, others[at]!, budget)))
    );
  if (a instanceof Dict) return b instanceof Dict && budget.nested(() => equalDicts(a, b, budget));
  if (a instanceof Undefined) return b instanceof Undefined;
  if (a instanceof Range && b instanceof Range)
    return a.length === b.length && (a.length === 0 || (a.start === b.start && (a.length === 1 || a.step === b.step)));
  if (a instanceof View && b instanceof View && a.what !== "values" && b.what !== "values")
    return a.dict.size === b.dict.size && every(a, budget, (item) => contains(b, item, budget));
  return a === b;
}

function every(items: Value, budget: Budget, holds: (item: Value) => boolean): boolean {
  for (const item of iterated(items, budget)) if (!holds(item)) return false;
  return true;
}

function equalDicts(a: Dict, b: Dict, budget: Budget): boolean {
  if (a.size !== b.size) return false;
  for (const [key, [, value]] of a.entries) {
    const other = b.entries.get(key);
    if (!other || !equal(value, other[1], budget)) return false;
  }
  return true;
}

/** The order of texts is that of their code points. */
function compareTexts(a: string, b: string, budget: Budget): number {
  budget.text(Math.min(a.length, b.length), 256);
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  let at = 0;
  while (at < length && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  budget.charge(at / 256);
  if (at === length) return a.length - b.length;
  const rank = (code: number) => (code >= 0xd800 && code < 0xe000 ? code + 0x10000 : code);
  return rank(a.charCodeAt(at)) - rank(b.charCodeAt(at));
}

/**
 * @param sign of the comparison, for the error
 * @returns a negative number, 0 or a positive one; NaN where neither is less
 */
export function compare(a: Value, b: Value, sign: string, budget: Budget): number {
  budget.charge(1 / 4);
  if (isNumber(a) && isNumber(b)) {
    const [left, right] = [asNumber(a), asNumber(b)];
    return left < right ? -1 : left > right ? 1 : sameNumber(left, right) ? 0 : Number.NaN;
  }
  const [left, right] = [textOf(a), textOf(b)];
  if (left !== undefined && right !== undefined) return compareTexts(left, right, budget);
  const [some, others] = [itemsOf(a), itemsOf(b)];
  if (some && others && Array.isArray(a) === Array.isArray(b)) {
    const length = Math.min(some.length, others.length);
    for (let at = 0; at < length; at++)
      if (!equal(some[at]!, others[at]!, budget))
        return budget.nested(() => compare(some[at]!, others[at]!, sign, budget));
    return some.length - others.length;
  }
  if (a instanceof Undefined) a.fail();
  if (b instanceof Undefined) b.fail();
  throw new TemplateFault(`'${sign}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

export function contains(container: Value, item: Value, budget: Budget): boolean {
  const text = textOf(container);
  if (text !== undefined) {
    const sought = textOf(item);
    if (sought === undefined)
      throw new TemplateFault(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    budget.search(text.length, sought.length);
    return text.includes(sought);
  }
  if (container instanceof Dict) return container.get(item, budget) !== undefined;
  if (container instanceof View && container.what === "keys") return container.dict.get(item, budget) !== undefined;
  if (container instanceof View && container.what === "items") {
    if (!(item instanceof Tuple) || item.items.length !== 2) return false;
    const own = container.dict.get(item.items[0]!, budget);
    return own !== undefined && equal(own, item.items[1]!, budget);
  }
  for (const one of iterated(container, budget)) if (one === item || equal(one, item, budget)) return true;
  return false;
}

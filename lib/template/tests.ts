/** jinja2's tests: what stands behind `is`. */
import { bound, type Given } from "./arguments";
import { type Budget, TemplateFault } from "./budget";
import { compare, contains, equal } from "./compare";
import { binary } from "./operators";
import { textMethods } from "./text_methods";
import { Callable, Dict, isIterable, isNumber, itemsOf, Markup, Range, textOf, Undefined, type Value } from "./values";
import { str } from "./writing";

/** Filters and tests that there are, for the tests that ask. */
export interface Known {
  filter(name: string): boolean;
  test(name: string): boolean;
}
type Test = (value: Value, given: Given, budget: Budget, known: Known) => boolean;

const alone =
  (test: (value: Value, budget: Budget, known: Known) => boolean): Test =>
  (value, given, budget, known) => {
    bound("the test", [], given);
    return test(value, budget, known);
  };
const beside =
  (test: (value: Value, other: Value, budget: Budget) => boolean): Test =>
  (value, given, budget) =>
    test(value, bound("the test", ["other!"], given)[0]!, budget);
const ordered = (sign: string, holds: (order: number) => boolean) =>
  beside((a, b, budget) => holds(compare(a, b, sign, budget)));

const equals = beside(equal);
const unequal = beside((a, b, budget) => !equal(a, b, budget));
const greater = ordered(">", (order) => order > 0);
const least = ordered(">=", (order) => order >= 0);
const less = ordered("<", (order) => order < 0);
const most = ordered("<=", (order) => order <= 0);
const remainderOf = (value: Value, by: Value, budget: Budget): Value => {
  if (textOf(value) !== undefined) throw new TemplateFault("not all arguments converted during string formatting");
  return binary("%", value, by, budget);
};
const cased = (name: "isupper" | "islower") =>
  alone(
    (value, budget) =>
      textMethods[name]!(str(value, budget), { args: [], named: new Map(), budget, look: () => null }) as boolean,
  );
const isSequence = (value: Value) =>
  textOf(value) !== undefined || itemsOf(value) !== undefined || value instanceof Dict || value instanceof Range;

export const tests: Readonly<Record<string, Test>> = {
  boolean: alone((value) => typeof value === "boolean"),
  callable: alone((value) => value instanceof Callable || value instanceof Undefined),
  defined: alone((value) => !(value instanceof Undefined)),
  undefined: alone((value) => value instanceof Undefined),
  none: alone((value) => value === null),
  true: alone((value) => value === true),
  false: alone((value) => value === false),
  string: alone((value) => textOf(value) !== undefined),
  number: alone(isNumber),
  integer: alone((value) => typeof value === "bigint"),
  float: alone((value) => typeof value === "number"),
  mapping: alone((value) => value instanceof Dict),
  sequence: alone((value) => isSequence(value) || value instanceof Undefined),
  iterable: alone((value) => isIterable(value)),
  escaped: alone((value) => value instanceof Markup),
  even: alone((value, budget) => equal(remainderOf(value, 2n, budget), 0n, budget)),
  odd: alone((value, budget) => equal(remainderOf(value, 2n, budget), 1n, budget)),
  divisibleby: beside((value, by, budget) => equal(remainderOf(value, by, budget), 0n, budget)),
  upper: cased("isupper"),
  lower: cased("islower"),
  filter: alone((value, _, known) => typeof value === "string" && known.filter(value)),
  test: alone((value, _, known) => typeof value === "string" && known.test(value)),
  in: beside((value, container, budget) => contains(container, value, budget)),
  sameas: beside((a, b) => a === b),
  "==": equals,
  eq: equals,
  equalto: equals,
  "!=": unequal,
  ne: unequal,
  ">": greater,
  gt: greater,
  greaterthan: greater,
  ">=": least,
  ge: least,
  "<": less,
  lt: less,
  lessthan: less,
  "<=": most,
  le: most,
};

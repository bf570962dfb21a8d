/** jinja2's tests: what stands behind `is`. */
import { bindArguments, type CallArguments } from "./arguments";
import type { Budget } from "./budget";
import { compare, contains, equal } from "./compare";
import { binary } from "./operators";
import { callTextMethod } from "./text_methods";
import { Callable, Dict, isIterable, isNumber, itemsOf, Markup, Range, textOf, Undefined, type Value } from "./values";
import { str } from "./writing";

/** Filters and tests that there are, for the tests that ask. */
export interface Known {
  filter(name: string): boolean;
  test(name: string): boolean;
}
type Test = (value: Value, given: CallArguments, budget: Budget, known: Known) => boolean;

const unaryTest =
  (test: (value: Value, budget: Budget, known: Known) => boolean): Test =>
  (value, given, budget, known) => {
    bindArguments("the test", [], given);
    return test(value, budget, known);
  };
const binaryTest =
  (test: (value: Value, other: Value, budget: Budget) => boolean): Test =>
  (value, given, budget) =>
    test(value, bindArguments("the test", ["other!"], given)[0]!, budget);
const comparisonTest = (sign: string, holds: (order: number) => boolean) =>
  binaryTest((a, b, budget) => holds(compare(a, b, sign, budget)));

const equals = binaryTest(equal);
const unequal = binaryTest((a, b, budget) => !equal(a, b, budget));
const greater = comparisonTest(">", (order) => order > 0);
const least = comparisonTest(">=", (order) => order >= 0);
const less = comparisonTest("<", (order) => order < 0);
const most = comparisonTest("<=", (order) => order <= 0);
/** Of a text it is what `%` formats. */
const remainderOf = (value: Value, by: Value, budget: Budget): Value => binary("%", value, by, budget);
const cased = (name: "isupper" | "islower") =>
  unaryTest((value, budget) => callTextMethod(name, str(value, budget), budget) as boolean);
const isSequence = (value: Value) =>
  textOf(value) !== undefined || itemsOf(value) !== undefined || value instanceof Dict || value instanceof Range;

export const tests: Readonly<Record<string, Test>> = {
  boolean: unaryTest((value) => typeof value === "boolean"),
  callable: unaryTest((value) => value instanceof Callable || value instanceof Undefined),
  defined: unaryTest((value) => !(value instanceof Undefined)),
  undefined: unaryTest((value) => value instanceof Undefined),
  none: unaryTest((value) => value === null),
  true: unaryTest((value) => value === true),
  false: unaryTest((value) => value === false),
  string: unaryTest((value) => textOf(value) !== undefined),
  number: unaryTest(isNumber),
  integer: unaryTest((value) => typeof value === "bigint"),
  float: unaryTest((value) => typeof value === "number"),
  mapping: unaryTest((value) => value instanceof Dict),
  sequence: unaryTest((value) => isSequence(value) || value instanceof Undefined),
  iterable: unaryTest((value) => isIterable(value)),
  escaped: unaryTest((value) => value instanceof Markup),
  even: unaryTest((value, budget) => equal(remainderOf(value, 2n, budget), 0n, budget)),
  odd: unaryTest((value, budget) => equal(remainderOf(value, 2n, budget), 1n, budget)),
  divisibleby: binaryTest((value, by, budget) => equal(remainderOf(value, by, budget), 0n, budget)),
  upper: cased("isupper"),
  lower: cased("islower"),
  filter: unaryTest((value, _, known) => typeof value === "string" && known.filter(value)),
  test: unaryTest((value, _, known) => typeof value === "string" && known.test(value)),
  in: binaryTest((value, container, budget) => contains(container, value, budget)),
  sameas: binaryTest((a, b) => a === b),
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

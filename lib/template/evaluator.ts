/** Evaluates the expressions of a template. */

import type { CallArguments } from "./arguments";
import { type Budget, TemplateFault } from "./budget";
import { compare, contains, equal } from "./compare";
import { type Known, tests } from "./jinja_tests";
import { listFilters } from "./list_filters";
import type { Arguments, CompareOperator, Expression } from "./nodes";
import { getAttribute, getItem, getSlice, Slice } from "./objects";
import { binary, concatenated, signed } from "./operators";
import { type FilterContext, valueFilters } from "./value_filters";
import {
  Callable,
  chargeMade,
  chargeRead,
  Dict,
  isTrue,
  iterated,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "./values";

const filters = { ...valueFilters, ...listFilters };

export const known: Known = {
  filter: (name) => Object.hasOwn(filters, name),
  test: (name) => Object.hasOwn(tests, name),
};

/** Names of a part of a template, and of what is around it. */
export class Scope {
  readonly names: Map<string, Value>;
  constructor(
    private readonly parent?: Scope,
    names: Map<string, Value> = new Map(),
  ) {
    this.names = names;
  }

  find(name: string, budget: Budget): Value | undefined {
    for (let scope: Scope | undefined = this; scope; scope = scope.parent) {
      budget.charge(1 / 16);
      const value = scope.names.get(name);
      if (value !== undefined) return value;
    }
    return undefined;
  }
}

/** A value that can be called and is no plain function. */
interface Recursive {
  recurse(args: readonly Value[]): Value;
}
const isRecursive = (value: Value): value is Value & Recursive =>
  typeof value === "object" && value !== null && "recurse" in value;

export class Evaluator implements FilterContext {
  constructor(readonly budget: Budget) {}

  evaluate(node: Expression, scope: Scope): Value {
    this.budget.charge(1);
    switch (node.kind) {
      case "constant":
        return node.value;
      case "name":
        return this.named(node.name, scope);
      case "attribute":
        return getAttribute(this.evaluate(node.object, scope), node.name, this.budget);
      case "item": {
        const object = this.evaluate(node.object, scope);
        const key = this.evaluate(node.key, scope);
        if (key instanceof Slice)
          return chargeMade(getSlice(object, key, this.budget, node.object.kind === "constant"), this.budget);
        return getItem(object, key, this.budget);
      }
      case "slice":
        return new Slice(node.parts.map((part) => (part ? this.evaluate(part, scope) : null)));
      case "call":
        return this.call(this.evaluate(node.callee, scope), this.arguments(node.arguments, scope));
      case "filter":
        return this.filter(node.name, this.evaluate(node.operand!, scope), this.arguments(node.arguments, scope));
      case "test":
        return this.test(node.name, this.evaluate(node.operand, scope), this.arguments(node.arguments, scope));
      case "list":
        return node.items.map((item) => this.evaluate(item, scope));
      case "tuple":
        return new Tuple(node.items.map((item) => this.evaluate(item, scope)));
      case "dict":
        return Dict.of(
          node.pairs.map(([key, value]) => [this.evaluate(key, scope), this.evaluate(value, scope)]),
          this.budget,
        );
      case "field":
        throw new TemplateFault("a field of a namespace stands where a value is expected");
      default:
        return this.operation(node, scope);
    }
  }

  private named(name: string, scope: Scope): Value {
    const value = scope.find(name, this.budget);
    return value === undefined ? new Undefined(`'${name}' is undefined`) : value;
  }

  private operation(node: Expression, scope: Scope): Value {
    const { budget } = this;
    switch (node.kind) {
      case "if": {
        if (isTrue(this.evaluate(node.test, scope), budget)) return this.evaluate(node.value, scope);
        if (node.otherwise) return this.evaluate(node.otherwise, scope);
        return new Undefined("the inline if-expression evaluated to false and no else section was defined.");
      }
      case "and": {
        const left = this.evaluate(node.left, scope);
        return isTrue(left, budget) ? this.evaluate(node.right, scope) : left;
      }
      case "or": {
        const left = this.evaluate(node.left, scope);
        return isTrue(left, budget) ? left : this.evaluate(node.right, scope);
      }
      case "not":
        return !isTrue(this.evaluate(node.operand, scope), budget);
      case "sign":
        return signed(node.negative, this.evaluate(node.operand, scope));
      case "binary": {
        const left = this.evaluate(node.left, scope);
        return chargeMade(binary(node.operator, left, this.evaluate(node.right, scope), budget), budget);
      }
      case "concat":
        return concatenated(
          node.parts.map((part) => this.evaluate(part, scope)),
          budget,
        );
      case "compare":
        return this.comparison(node, scope);
      default:
        throw new TemplateFault(`${node.kind} is no value`);
    }
  }

  private comparison(node: Expression & { kind: "compare" }, scope: Scope): Value {
    let left = this.evaluate(node.first, scope);
    for (const [operator, operand] of node.rest) {
      const right = this.evaluate(operand, scope);
      if (!this.holds(operator, left, right)) return false;
      left = right;
    }
    return true;
  }

  private holds(operator: CompareOperator, a: Value, b: Value): boolean {
    const { budget } = this;
    switch (operator) {
      case "==":
        return equal(a, b, budget);
      case "!=":
        return !equal(a, b, budget);
      case "in":
        return contains(b, a, budget);
      case "not in":
        return !contains(b, a, budget);
      case "<":
        return compare(a, b, operator, budget) < 0;
      case "<=":
        return compare(a, b, operator, budget) <= 0;
      case ">":
        return compare(a, b, operator, budget) > 0;
      default:
        return compare(a, b, operator, budget) >= 0;
    }
  }

  arguments(nodes: Arguments, scope: Scope): CallArguments {
    const args = nodes.args.map((node) => this.evaluate(node, scope));
    const named = new Map(nodes.named.map(([name, node]) => [name, this.evaluate(node, scope)]));
    if (nodes.spread) {
      for (const value of iterated(this.evaluate(nodes.spread, scope), this.budget)) args.push(value);
      this.budget.list(args.length);
    }
    if (nodes.spreadNamed) this.spread(this.evaluate(nodes.spreadNamed, scope), named);
    return { args, named };
  }

  private spread(given: Value, named: Map<string, Value>): void {
    if (!(given instanceof Dict))
      throw new TemplateFault(`argument after ** must be a mapping, not ${typeName(given)}`);
    this.budget.list(given.size);
    for (const [key, value] of given.entries.values()) {
      if (typeof key !== "string") throw new TemplateFault("keywords must be strings");
      if (named.has(key)) throw new TemplateFault(`got multiple values for keyword argument '${key}'`);
      named.set(key, value);
    }
  }

  /** Every operation may go through what it is given. */
  private chargeOperation({ args, named }: CallArguments, operand: Value = null): void {
    this.budget.charge(1);
    chargeRead(operand, this.budget);
    for (const value of args) chargeRead(value, this.budget);
    for (const value of named.values()) chargeRead(value, this.budget);
  }

  call(callee: Value, { args, named }: CallArguments): Value {
    this.chargeOperation({ args, named });
    if (callee instanceof Callable) return chargeMade(callee.call(args, named), this.budget);
    if (callee instanceof Undefined) callee.fail();
    if (isRecursive(callee)) return chargeMade(callee.recurse(args), this.budget);
    throw new TemplateFault(`'${typeName(callee)}' object is not callable`);
  }

  filter(name: string, value: Value, given: CallArguments): Value {
    this.chargeOperation(given, value);
    if (!Object.hasOwn(filters, name)) throw new TemplateFault(`No filter named '${name}' found.`);
    return chargeMade(filters[name]!(value, given, this), this.budget);
  }

  test(name: string, value: Value, given: CallArguments): boolean {
    this.chargeOperation(given, value);
    if (!Object.hasOwn(tests, name)) throw new TemplateFault(`No test named '${name}' found.`);
    return tests[name]!(value, given, this.budget, known);
  }
}

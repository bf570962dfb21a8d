/** Runs a parsed template: writes its text, and records the places of generation blocks in it. */
import { Budget, type TemplateBudget, TemplateFault } from "./budget";
import { Evaluator, known, Scope } from "./evaluator";
import { globalsOf } from "./globals";
import { Loop } from "./loop";
import type { Expression, MacroNode, Statement } from "./nodes";
import { type Program, parseTemplate } from "./parser";
import { Callable, Dict, isTrue, iterated, Namespace, Tuple, textOf, typeName, Undefined, type Value } from "./values";
import { str, TextWriter } from "./writing";

type Status = "done" | "break" | "continue";

/** What statements write; each was charged when it ran. */
class Output extends TextWriter {
  constructor(budget: Budget) {
    super(budget, 0, 4096);
  }
  override text(): string {
    this.budget.text(this.length);
    return super.text();
  }
}

/** A generation block's text, and its start as transformers computes it. */
export interface GeneratedText {
  readonly start: number;
  readonly text: string;
}

class Interpreter extends Evaluator {
  readonly root = new Output(this.budget);
  readonly generated: GeneratedText[] = [];
  private readonly globals: Scope;
  private readonly top: Scope;

  constructor(budget: Budget, variables: ReadonlyMap<string, Value>) {
    super(budget);
    this.globals = new Scope(undefined, new Map([...globalsOf(budget), ...variables]));
    this.top = new Scope(this.globals);
  }

  runAll(body: readonly Statement[]): void {
    this.run(body, this.top, this.root);
  }

  private run(body: readonly Statement[], scope: Scope, out: Output): Status {
    for (const statement of body) {
      this.budget.charge(1);
      const status = this.execute(statement, scope, out);
      if (status !== "done") return status;
    }
    return "done";
  }

  private execute(node: Statement, scope: Scope, out: Output): Status {
    switch (node.kind) {
      case "text":
        out.add(node.text);
        return "done";
      case "print":
        out.add(str(this.evaluate(node.value, scope), this.budget));
        return "done";
      case "branch":
        for (const [test, body] of node.branches)
          if (!test || isTrue(this.evaluate(test, scope), this.budget)) return this.run(body, scope, out);
        return "done";
      case "for":
        return this.loop(node, this.evaluate(node.iterable, scope), scope, out, 0);
      case "set":
        this.assign(node.target, this.evaluate(node.value, scope), scope);
        return "done";
      case "break":
      case "continue":
        return node.kind;
      default:
        return this.executeBlock(node, scope, out);
    }
  }

  private executeBlock(node: Statement, scope: Scope, out: Output): Status {
    switch (node.kind) {
      case "capture":
      case "filterBlock":
        return this.captured(node, scope, out);
      case "with": {
        const inner = new Scope(scope);
        const values = node.values.map((value) => this.evaluate(value, scope));
        for (const [at, target] of node.targets.entries()) this.assign(target, values[at]!, inner);
        return this.run(node.body, inner, out);
      }
      case "block":
        return this.run(node.body, new Scope(this.top), out);
      case "macro":
        scope.names.set(node.macro.name, this.macro(node.macro, scope));
        return "done";
      case "callBlock": {
        const call = node.call as Expression & { kind: "call" };
        const callee = this.evaluate(call.callee, scope);
        const { args, named } = this.arguments(call.arguments, scope);
        const all = new Map([...named, ["caller", this.macro(node.macro, scope, null)] as const]);
        out.add(str(this.call(callee, { args, named: all }), this.budget));
        return "done";
      }
      case "generation": {
        const part = new Output(this.budget);
        this.budget.nested(() => this.run(node.body, new Scope(scope), part));
        const text = part.text();
        this.generated.push({ start: this.root.length, text });
        out.add(text);
        return "done";
      }
      default:
        throw new TemplateFault(`${node.kind} is no block`);
    }
  }

  private captured(node: Statement & { kind: "capture" | "filterBlock" }, scope: Scope, out: Output): Status {
    const part = new Output(this.budget);
    const status = this.run(node.body, new Scope(scope), part);
    if (status !== "done") return status;
    const text = node.filter ? this.filtered(node.filter, part.text(), scope) : part.text();
    if (node.kind === "capture") this.assign(node.target, text, scope);
    else {
      const written = textOf(text);
      if (written === undefined)
        throw new TemplateFault(`sequence item 0: expected str instance, ${typeName(text)} found`);
      out.add(written);
    }
    return "done";
  }

  /** Filters of a block; the innermost takes its text. */
  private filtered(node: Expression, text: string, scope: Scope): Value {
    if (node.kind !== "filter") throw new TemplateFault("Expected a filter");
    const operand = node.operand ? this.filtered(node.operand, text, scope) : text;
    return this.filter(node.name, operand, this.arguments(node.arguments, scope));
  }

  private assign(target: Expression, value: Value, scope: Scope): void {
    if (target.kind === "name") scope.names.set(target.name, value);
    else if (target.kind === "field") {
      const space = scope.find(target.name, this.budget);
      if (!(space instanceof Namespace)) throw new TemplateFault("cannot assign attribute on non-namespace object");
      space.fields.set(target.field, value);
    } else if (target.kind === "tuple") {
      const items: Value[] = [];
      if (value instanceof Undefined) throw new TemplateFault("not enough values to unpack");
      for (const item of iterated(value, this.budget)) {
        if (items.length === target.items.length) throw new TemplateFault("too many values to unpack");
        items.push(item);
      }
      if (items.length < target.items.length) throw new TemplateFault("not enough values to unpack");
      for (const [at, one] of target.items.entries()) this.assign(one, items[at]!, scope);
    }
  }

  private loop(node: Statement & { kind: "for" }, given: Value, scope: Scope, out: Output, depth: number): Status {
    const { budget } = this;
    const again = (items: Value, level: number): Value =>
      budget.nested(() => {
        const part = new Output(budget);
        this.loop(node, items, scope, part, level);
        return part.text();
      });
    const items = node.test ? this.chosen(node, node.test, given, scope) : iterated(given, budget);
    const loop = new Loop(given, items, node.test !== undefined, depth, budget, node.recursive ? again : undefined);
    let ended = false; // whether a pass came to the end of its body: jinja2 runs `else` where none did
    for (let next = loop.next(); !next.done; next = loop.next()) {
      budget.charge(2);
      const inner = new Scope(scope);
      inner.names.set("loop", loop);
      this.assign(node.target, next.value, inner);
      const status = this.run(node.body, inner, out);
      if (status === "done") ended = true;
      else if (status === "break") break;
    }
    return ended ? "done" : this.run(node.otherwise, new Scope(scope), out);
  }

  private *chosen(node: Statement & { kind: "for" }, test: Expression, given: Value, scope: Scope): Generator<Value> {
    for (const item of iterated(given, this.budget)) {
      const inner = new Scope(scope);
      this.assign(node.target, item, inner);
      if (isTrue(this.evaluate(test, inner), this.budget)) yield item;
    }
  }

  /** @param name that it has for the template; that of a call block has none */
  private macro(node: MacroNode, scope: Scope, name: string | null = node.name): Callable {
    const fields = new Map<string, Value>([
      ["name", name],
      ["arguments", new Tuple(node.parameters)],
    ]);
    return new Callable(
      name ?? "",
      (args, named) => this.budget.nested(() => this.invoke(node, scope, args, named)),
      "Macro",
      fields,
    );
  }

  private invoke(node: MacroNode, scope: Scope, args: readonly Value[], given: ReadonlyMap<string, Value>): Value {
    const inner = new Scope(scope);
    const named = new Map(given);
    const { parameters, defaults, uses } = node;
    const firstDefault = parameters.length - defaults.length;
    const take = (name: string) => {
      const value = named.get(name);
      named.delete(name);
      return value;
    };
    const values = parameters.map((name, at) => (at < args.length ? args[at] : take(name)));
    if (uses.has("caller") && !parameters.includes("caller"))
      inner.names.set("caller", take("caller") ?? new Undefined("No caller defined"));
    if (uses.has("kwargs") && !parameters.includes("kwargs")) inner.names.set("kwargs", Dict.of(named, this.budget));
    else if (named.size > 0)
      throw new TemplateFault(`macro '${node.name}' takes no keyword argument '${[...named.keys()][0]}'`);
    if (uses.has("varargs") && !parameters.includes("varargs"))
      inner.names.set("varargs", new Tuple(args.slice(parameters.length)));
    else if (args.length > parameters.length)
      throw new TemplateFault(`macro '${node.name}' takes not more than ${parameters.length} argument(s)`);
    for (const [at, name] of parameters.entries()) {
      const missing = () =>
        at < firstDefault
          ? new Undefined(`parameter '${name}' was not provided`)
          : this.evaluate(defaults[at - firstDefault]!, inner);
      const value = values[at];
      inner.names.set(name, value === undefined ? missing() : value);
    }
    const out = new Output(this.budget);
    this.run(node.body, inner, out);
    return out.text();
  }
}

/** @throws {TemplateFault} where jinja2 does not compile the template */
export function parseProgram(source: string): Program {
  return parseTemplate(source, (kind, name) => known[kind](name));
}

/**
 * @param variables what the template sees in addition to jinja2's functions
 * @throws {TemplateLimit} where the budget does not suffice; TemplateFault where jinja2 raises an exception
 */
export function runProgram(
  program: Program,
  variables: ReadonlyMap<string, Value>,
  budget: TemplateBudget,
): { text: string; generated: readonly GeneratedText[] } {
  const interpreter = new Interpreter(new Budget(budget), variables);
  interpreter.runAll(program.body);
  return { text: interpreter.root.text(), generated: interpreter.generated };
}

/**
 * Running Jinja programs that may be hostile: every evaluated node and every value it gives is charged to a budget, so
 * that a template which loops for ever or grows without bound ends with an error after the same number of steps on every
 * machine, without a thread or a clock.
 */

/**
 * The parts of @huggingface/jinja in use; its own types are ES modules, which CommonJS cannot name. Its interpreter is
 * overridden below, so package.json names its exact version; look through this file before changing that.
 */
export interface TemplateNode {
  readonly type: string;
}
interface RuntimeValue {
  readonly type: string;
  readonly value: unknown;
}
interface JinjaEnvironment {
  set(name: string, value: unknown): unknown;
}
interface JinjaInterpreter {
  run(program: TemplateNode): RuntimeValue;
  evaluate(node: TemplateNode | undefined, environment: JinjaEnvironment): RuntimeValue;
}
const jinja = require("@huggingface/jinja") as {
  tokenize(source: string): unknown[];
  parse(tokens: unknown[]): TemplateNode;
  Environment: new () => JinjaEnvironment;
  Interpreter: new (environment: JinjaEnvironment) => JinjaInterpreter;
};

/** What a template may use up; each charge is about 0.1 to 1 microsecond of work. */
export interface TemplateBudget {
  /** Charges in all: one a node evaluated, and one for each element or 1,024 characters of each value. */
  readonly steps: number;
  /** Most elements of one value, all levels counted. */
  readonly elements: number;
  /** Longest string. The library's `replace` ends the process on strings of more than 2^27 matches. */
  readonly characters: number;
}

/** Thrown where a budget is used up. */
export class TemplateLimit extends Error {}

class BudgetedInterpreter extends jinja.Interpreter {
  private readonly weights = new WeakMap<object, number>();
  private readonly loopedOver = new WeakSet<object>();
  private left: number;
  private sawNamespace = false;

  constructor(
    environment: JinjaEnvironment,
    private readonly budget: TemplateBudget,
  ) {
    super(environment);
    this.left = budget.steps;
  }

  override evaluate(node: TemplateNode | undefined, environment: JinjaEnvironment): RuntimeValue {
    this.charge(1);
    if (node?.type === "For") this.loopedOver.add(iterableOf(node));
    const result = (node && this.strip(node, environment)) ?? super.evaluate(node, environment);
    const weight = this.weigh(result);
    // A loop may do nothing that is charged otherwise.
    if (node && this.loopedOver.has(node)) this.charge(weight);
    if (weight > this.budget.elements) throw new TemplateLimit("it makes a list that grows without bound");
    return result;
  }

  private charge(steps: number): void {
    this.left -= steps;
    if (this.left < 0) throw new TemplateLimit(`it did not end within ${this.budget.steps} steps`);
  }

  /**
   * Elements of a value, all levels counted: what it costs to write it out, also where parts are shared. Only namespaces
   * change after they are made, so everything else is counted once.
   */
  private weigh(value: RuntimeValue): number {
    if (typeof value.value === "string") {
      if (value.value.length > this.budget.characters)
        throw new TemplateLimit("it makes text that grows without bound");
      const weight = value.value.length / 1024;
      this.charge(weight);
      return weight;
    }
    if (typeof value.value !== "object" || value.value === null) return 0;
    const known = this.weights.get(value);
    if (known !== undefined) {
      this.charge(known / 64); // what is done with it, such as a comparison or a copy
      return known;
    }
    const outer = this.sawNamespace;
    this.sawNamespace = value.type === "NamespaceValue";
    let weight = 0;
    for (const element of (value.value as RuntimeValue[] | Map<string, RuntimeValue>).values()) {
      this.charge(1);
      weight += 1 + this.weigh(element);
    }
    if (!this.sawNamespace) this.weights.set(value, weight);
    this.sawNamespace ||= outer;
    return weight;
  }

  /** `text.strip(characters)` and its one-sided forms, whose argument the library leaves unread. */
  private strip(node: TemplateNode, environment: JinjaEnvironment): RuntimeValue | undefined {
    const call = node as TemplateNode & StripCall;
    if (call.type !== "CallExpression" || call.args.length !== 1 || call.callee.type !== "MemberExpression")
      return undefined;
    const method = call.callee.computed ? undefined : call.callee.property.value;
    if (method !== "strip" && method !== "lstrip" && method !== "rstrip") return undefined;
    const text = this.evaluate(call.callee.object, environment);
    const characters = this.evaluate(call.args[0], environment);
    if (typeof text.value !== "string" || typeof characters.value !== "string") return undefined;
    const StringValue = text.constructor as new (value: string) => RuntimeValue;
    return new StringValue(stripped(text.value, new Set(characters.value), method));
  }
}

function iterableOf(loop: TemplateNode): TemplateNode {
  const { iterable } = loop as TemplateNode & { iterable: TemplateNode & { lhs: TemplateNode } };
  return iterable.type === "SelectExpression" ? iterable.lhs : iterable;
}

interface StripCall {
  readonly args: readonly TemplateNode[];
  readonly callee: {
    readonly type: string;
    readonly computed: boolean;
    readonly object: TemplateNode;
    readonly property: { readonly value: string };
  };
}

function stripped(text: string, characters: ReadonlySet<string>, method: "strip" | "lstrip" | "rstrip"): string {
  const all = [...text];
  let start = 0;
  let end = all.length;
  if (method !== "rstrip") while (start < end && characters.has(all[start]!)) start++;
  if (method !== "lstrip") while (start < end && characters.has(all[end - 1]!)) end--;
  return all.slice(start, end).join("");
}

/** Python's `range`; the list may be no longer than a budget allows. */
function boundedRange(limit: number): (start: number, stop?: number, step?: number) => number[] {
  return (start, stop, step) => {
    const [from, to] = stop === undefined ? [0, start] : [start, stop];
    const by = step ?? 1;
    if (![from, to, by].every(Number.isInteger)) throw new Error("range() takes integers");
    if (by === 0) throw new Error("range() step must not be zero");
    const length = Math.max(0, Math.ceil((to - from) / by));
    if (length > limit) throw new TemplateLimit(`it asks for a range of ${length} numbers`);
    return Array.from({ length }, (_, at) => from + at * by);
  };
}

/** @param source a template whose whitespace control for blocks has been applied */
export function parseProgram(source: string): TemplateNode {
  return jinja.parse(jinja.tokenize(source));
}

/**
 * @param variables what the template sees besides `true`, `false`, `none` and `range`
 * @returns the text that the program writes
 * @throws {TemplateLimit} where the budget does not suffice
 */
export function runProgram(program: TemplateNode, variables: Record<string, unknown>, budget: TemplateBudget): string {
  const environment = new jinja.Environment();
  const constants = { true: true, True: true, false: false, False: false, none: null, None: null };
  for (const [name, value] of Object.entries({ ...constants, range: boundedRange(budget.elements), ...variables }))
    environment.set(name, value);
  return new BudgetedInterpreter(environment, budget).run(program).value as string;
}

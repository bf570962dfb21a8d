/**
 * Running Jinja programs that may be hostile: every evaluated node, and every operation whose cost depends on sizes, is
 * charged to a budget before it runs, so that a template which loops for ever or grows without bound ends with an error
 * after the same number of steps on every machine, without a thread or a clock.
 */
import { type Cost, costOf, type Operation, type RuntimeValue, type Size, searchSteps } from "./costs";

/**
 * The parts of @huggingface/jinja in use; its own types are ES modules, which CommonJS cannot name. Its interpreter is
 * overridden below, so package.json names its exact version; look through this file before changing that.
 */
export interface TemplateNode {
  readonly type: string;
}
interface JinjaEnvironment {
  readonly parent?: JinjaEnvironment;
  readonly variables: ReadonlyMap<string, RuntimeValue>;
  set(name: string, value: unknown): unknown;
}
type Arguments = [positional: RuntimeValue[], named: Map<string, RuntimeValue>];
interface JinjaInterpreter {
  run(program: TemplateNode): RuntimeValue;
  evaluate(node: TemplateNode | undefined, environment: JinjaEnvironment): RuntimeValue;
  evaluateBlock(nodes: readonly TemplateNode[], environment: JinjaEnvironment): RuntimeValue;
  evaluateArguments(nodes: readonly TemplateNode[], environment: JinjaEnvironment): Arguments;
  applyFilter(operand: RuntimeValue, filter: TemplateNode, environment: JinjaEnvironment): RuntimeValue;
}
const jinja = require("@huggingface/jinja") as {
  tokenize(source: string): unknown[];
  parse(tokens: unknown[]): TemplateNode;
  Environment: new () => JinjaEnvironment;
  Interpreter: new (environment: JinjaEnvironment) => JinjaInterpreter;
};

/** What a template may use up; each charge is about 0.1 to 1 microsecond of work. */
interface TemplateBudget {
  /** Charges in all: one a node evaluated, and what template_costs.ts says of each operation. */
  readonly steps: number;
  /** Most elements of one value, all levels counted. */
  readonly elements: number;
  /** Longest string. The library's `replace` ends the process on strings of more than 2^27 matches. */
  readonly characters: number;
  /** Markers: variables whose characters do not count, up to so many characters in all. */
  readonly markers?: { readonly names: ReadonlySet<string>; readonly characters: number };
}

/** Thrown where a budget is used up. */
export class TemplateLimit extends Error {}

/** Fields of the nodes that are looked at. */
interface Fields extends TemplateNode {
  readonly operator: { readonly value: string };
  readonly left: TemplateNode;
  readonly right: TemplateNode;
  readonly operand: TemplateNode;
  readonly test: { readonly value: string };
  readonly callee: TemplateNode;
  readonly args: readonly TemplateNode[];
  readonly call: Fields;
  readonly object: TemplateNode;
  readonly property: Fields;
  readonly computed: boolean;
  readonly iterable: Fields;
  readonly lhs: TemplateNode;
  readonly argument: TemplateNode;
  readonly value: unknown;
}

/** A node that was evaluated before its parent is. */
interface Evaluated extends TemplateNode {
  readonly result: RuntimeValue;
}
const evaluated = (result: RuntimeValue): Evaluated => ({ type: "Evaluated", result });

const none: Size = { elements: 0, characters: 0, depth: 0 };

class BudgetedInterpreter extends jinja.Interpreter {
  private readonly sizes = new WeakMap<object, Size>();
  private readonly programSizes = new WeakMap<object, number>();
  /** Methods by the function that stands for them, with the value that they belong to. */
  private readonly methods = new WeakMap<RuntimeValue, { readonly name: string; readonly owner: RuntimeValue }>();
  private readonly loopedOver = new WeakSet<object>();
  private left: number;
  private sawNamespace = false;
  private markerCharacters = 0;

  constructor(
    environment: JinjaEnvironment,
    private readonly budget: TemplateBudget,
  ) {
    super(environment);
    this.left = budget.steps;
  }

  override evaluate(node: TemplateNode | undefined, environment: JinjaEnvironment): RuntimeValue {
    if (node?.type === "Evaluated") return (node as Evaluated).result;
    this.charge(1);
    const charged = node && this.charged(node as Fields, environment);
    const result = charged?.type === "Evaluated" ? (charged as Evaluated).result : super.evaluate(charged, environment);
    const { elements } = this.sizeOf(result);
    // An iteration makes a scope and the variable `loop`, and may do nothing else.
    if (node && this.loopedOver.has(node)) this.charge(4 * elements);
    if (elements > this.budget.elements) throw new TemplateLimit("it makes a list that grows without bound");
    return result;
  }

  private charge(steps: number): void {
    this.left -= steps;
    if (!(this.left >= 0)) throw new TemplateLimit(`it did not end within ${this.budget.steps} steps`);
  }

  private chargeCost({ steps, characters }: Cost): void {
    this.charge(steps);
    this.checkLength(characters);
  }

  private checkLength(characters: number): void {
    if (!(characters <= this.budget.characters + this.markerCharacters))
      throw new TemplateLimit("it makes text that grows without bound");
  }

  private countMarker(name: string, value: unknown): void {
    const { markers } = this.budget;
    if (!markers?.names.has(name) || typeof value !== "string") return;
    this.markerCharacters = Math.min(this.markerCharacters + value.length, markers.characters);
  }

  /** Charges for what a node does; the node that is then to be evaluated has those parts evaluated that the charge needs. */
  private charged(node: Fields, environment: JinjaEnvironment): TemplateNode | undefined {
    switch (node.type) {
      case "BinaryExpression":
        return this.chargedOperator(node, environment);
      case "TestExpression": {
        const operand = this.evaluate(node.operand, environment);
        this.chargeOperation(node.test.value, operand, [[], new Map()]);
        return { ...node, operand: evaluated(operand) } as TemplateNode;
      }
      case "CallExpression":
        return this.chargedCall(node, environment);
      case "CallStatement":
        this.charge(this.programSize(node));
        return { ...node, call: this.chargedCall(node.call, environment) } as TemplateNode;
      case "Macro":
        this.charge(this.programSize(node));
        return node;
      case "MemberExpression":
        return this.chargedMember(node, environment);
      case "Identifier":
        return this.chargedLookUp(node, environment);
      case "For":
        this.loopedOver.add(node.iterable.type === "SelectExpression" ? node.iterable.lhs : node.iterable);
        return node;
      case "Break":
      case "Continue":
        this.charge(16); // these are exceptions, which note the stack
        return node;
      default:
        return node;
    }
  }

  private chargedOperator(node: Fields, environment: JinjaEnvironment): TemplateNode {
    const { value: operator } = node.operator;
    if (operator === "and" || operator === "or") return node;
    const left = this.evaluate(node.left, environment);
    const right = this.evaluate(node.right, environment);
    const [a, b] = [this.sizeOf(left), this.sizeOf(right)];
    const written = (a.characters + b.characters) / 1024 + (a.elements + b.elements) / 2;
    if (operator === "in" || operator === "not in") {
      const inText = typeof left.value === "string" && typeof right.value === "string";
      if (inText) this.charge(searchSteps(b.characters, a.characters));
      else this.charge(b.elements / 16 + (Math.min(a.characters, b.characters) * (b.elements + 1)) / 4096);
    } else this.charge(written);
    return { ...node, left: evaluated(left), right: evaluated(right) } as TemplateNode;
  }

  private chargedCall(node: Fields, environment: JinjaEnvironment): TemplateNode {
    const [args, values] = this.evaluatedArguments(node.args, environment);
    const callee = this.evaluate(node.callee, environment);
    const method = this.methods.get(callee);
    if (method) {
      this.chargeOperation(method.name, method.owner, values);
      const stripped = strip(method.name, method.owner, values);
      if (stripped) return evaluated(stripped);
    } else if ((node.callee as Fields).value === "namespace") this.chargeOperation("namespace", values[0][0], values);
    return { ...node, callee: evaluated(callee), args } as TemplateNode;
  }

  private chargedMember(node: Fields, environment: JinjaEnvironment): TemplateNode {
    const object = this.evaluate(node.object, environment);
    if (node.computed && node.property.type === "SliceExpression") {
      const { elements, characters } = this.sizeOf(object);
      this.charge(elements / 16 + characters / 16); // a string becomes a list of its characters
      return { ...node, object: evaluated(object) } as TemplateNode;
    }
    const property = node.computed ? this.evaluate(node.property, environment) : undefined;
    const whole = { ...node, object: evaluated(object), ...(property && { property: evaluated(property) }) };
    const result = super.evaluate(whole as TemplateNode, environment);
    if (result.type === "FunctionValue") {
      this.charge(4); // the first use of a value makes all of its methods
      const name = node.computed ? property!.value : node.property.value;
      if (typeof name === "string" && !this.methods.has(result)) this.methods.set(result, { name, owner: object });
    }
    return evaluated(result);
  }

  /** The library's own look-up throws an exception where it finds nothing. */
  private chargedLookUp(node: Fields, environment: JinjaEnvironment): TemplateNode | undefined {
    let scopes = 0;
    for (let scope: JinjaEnvironment | undefined = environment; scope; scope = scope.parent) {
      scopes++;
      const value = scope.variables.get(node.value as string);
      if (value === undefined && !scope.variables.has(node.value as string)) continue;
      this.charge(scopes / 16);
      this.countMarker(node.value as string, value?.value);
      return value && evaluated(value);
    }
    this.charge(scopes / 16);
    return undefined;
  }

  private chargeOperation(name: string, operand: RuntimeValue | undefined, [positional, named]: Arguments): void {
    let elements = 0;
    let characters = 0;
    for (const argument of [...positional, ...named.values()]) {
      const size = this.sizeOf(argument);
      elements += 1 + size.elements;
      characters += size.characters;
    }
    const operation: Operation = {
      name,
      operand: operand ? this.sizeOf(operand) : none,
      arguments: positional,
      named,
      argumentSize: { elements, characters, depth: 0 },
      text: typeof operand?.value === "string" ? operand.value : undefined,
    };
    this.chargeCost(costOf(operation));
  }

  /** Arguments as nodes that are evaluated, literals aside, which some filters ask for; and their values. */
  private evaluatedArguments(
    nodes: readonly TemplateNode[],
    environment: JinjaEnvironment,
  ): [nodes: TemplateNode[], values: Arguments] {
    const parts = nodes.map((node): TemplateNode => {
      const { type, value, argument } = node as Fields;
      if (type.endsWith("Literal") && typeof value !== "object") return node;
      if (type === "KeywordArgumentExpression")
        return { ...node, value: evaluated(this.evaluate(value as TemplateNode, environment)) } as TemplateNode;
      if (type !== "SpreadExpression" && type !== "KeywordSpreadExpression")
        return evaluated(this.evaluate(node, environment));
      const spread = this.evaluate(argument, environment);
      this.charge(this.sizeOf(spread).elements);
      return { ...node, argument: evaluated(spread) } as TemplateNode;
    });
    return [parts, this.evaluateArguments(parts, environment)];
  }

  override applyFilter(operand: RuntimeValue, filter: TemplateNode, environment: JinjaEnvironment): RuntimeValue {
    const { type, value, callee, args } = filter as Fields;
    if (type === "Identifier") {
      this.chargeOperation(value as string, operand, [[], new Map()]);
      return super.applyFilter(operand, filter, environment);
    }
    if (type !== "CallExpression") return super.applyFilter(operand, filter, environment);
    const [nodes, values] = this.evaluatedArguments(args, environment);
    this.chargeOperation((callee as Fields).value as string, operand, values);
    return super.applyFilter(operand, { ...filter, args: nodes } as TemplateNode, environment);
  }

  override evaluateBlock(nodes: readonly TemplateNode[], environment: JinjaEnvironment): RuntimeValue {
    let text = "";
    for (const node of nodes) {
      const result = this.evaluate(node, environment);
      if (result.type === "NullValue" || result.type === "UndefinedValue") continue;
      this.chargeOperation("string", result, [[], new Map()]);
      text += String(result);
      this.checkLength(text.length);
    }
    return super.evaluate({ type: "StringLiteral", value: text } as TemplateNode, environment);
  }

  /**
   * The size of a value: what it costs to write it out, also where parts are shared. Only namespaces change after they are
   * made, so everything else is counted once.
   */
  private sizeOf(value: RuntimeValue): Size {
    if (typeof value.value === "string") {
      const characters = value.value.length;
      this.checkLength(characters);
      this.charge(characters / 4096);
      return { elements: 0, characters, depth: 0 };
    }
    if (typeof value.value !== "object" || value.value === null) return none;
    const known = this.sizes.get(value);
    if (known !== undefined) return known;
    const outer = this.sawNamespace;
    this.sawNamespace = value.type === "NamespaceValue";
    let [elements, characters, depth] = [0, 0, 0];
    for (const [name, element] of (value.value as RuntimeValue[] | Map<string, RuntimeValue>).entries()) {
      this.charge(1);
      const size = this.sizeOf(element);
      elements += 1 + size.elements;
      characters += size.characters + (typeof name === "string" ? name.length : 0);
      depth = Math.max(depth, size.depth + 1);
    }
    const size = { elements, characters, depth };
    if (!this.sawNamespace) this.sizes.set(value, size);
    this.sawNamespace ||= outer;
    return size;
  }

  /** Nodes of a part of the program, which the library walks through to define a macro. */
  private programSize(node: object): number {
    const known = this.programSizes.get(node);
    if (known !== undefined) return known;
    let size = 1;
    for (const part of node instanceof Map ? [...node.keys(), ...node.values()] : Object.values(node))
      if (typeof part === "object" && part !== null) size += this.programSize(part);
    this.programSizes.set(node, size);
    return size;
  }
}

/** `text.strip(characters)` and its one-sided forms, whose argument the library leaves unread. */
function strip(method: string, owner: RuntimeValue, [positional]: Arguments): RuntimeValue | undefined {
  if (method !== "strip" && method !== "lstrip" && method !== "rstrip") return undefined;
  const characters = positional[0]?.value;
  if (typeof owner.value !== "string" || typeof characters !== "string") return undefined;
  const StringValue = owner.constructor as new (value: string) => RuntimeValue;
  return new StringValue(stripped(owner.value, new Set(characters), method));
}

function stripped(text: string, characters: ReadonlySet<string>, method: "strip" | "lstrip" | "rstrip"): string {
  let start = 0;
  let end = text.length;
  while (method !== "rstrip" && start < end) {
    const first = String.fromCodePoint(text.codePointAt(start)!);
    if (!characters.has(first)) break;
    start += first.length;
  }
  while (method !== "lstrip" && start < end) {
    const pair = end - start > 1 && text.codePointAt(end - 2)! > 0xffff;
    const last = text.slice(pair ? end - 2 : end - 1, end);
    if (!characters.has(last)) break;
    end -= last.length;
  }
  return text.slice(start, end);
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

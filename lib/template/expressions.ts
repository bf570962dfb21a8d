/** Expressions of a template, parsed by jinja2's grammar. */
import { TemplateFault } from "./budget";
import type { Token } from "./lexer";
import type { Arguments, BinaryOperator, CompareOperator, Expression } from "./nodes";
import { TokenReader } from "./token_reader";
import type { Value } from "./values";

const comparisons = new Set(["==", "!=", "<", "<=", ">", ">="]);
const constants: Readonly<Record<string, Value>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
};
const none: Arguments = { args: [], named: [] };

export class ExpressionParser extends TokenReader {
  /** Names that the macros around this place read. */
  protected readonly reading: Set<string>[] = [];
  /** All names that are read, and fields that are looked up: what a template may use at all. */
  protected readonly mentioned = new Set<string>();
  protected readonly strings = new Set<string>();
  /** Whether an unknown filter or test is an error only when it is evaluated. */
  protected soft = false;
  /** Unknown filters and tests that are errors when the template is parsed. */
  protected readonly unknown: string[] = [];

  /** @param knows whether there is a filter or test of that name */
  constructor(
    tokens: readonly Token[],
    private readonly knows: (kind: "filter" | "test", name: string) => boolean,
  ) {
    super(tokens);
  }

  expression(conditional = true): Expression {
    return this.nested(() => (conditional ? this.conditional() : this.or()));
  }

  private conditional(): Expression {
    const before = this.unknown.length;
    let result = this.or();
    while (this.skipName("if")) {
      const test = this.or();
      const otherwise = this.skipName("else") ? this.nested(() => this.conditional()) : undefined;
      this.unknown.length = before;
      result = { kind: "if", test, value: result, otherwise };
    }
    return result;
  }

  private or(): Expression {
    let left = this.and();
    while (this.skipName("or")) left = { kind: "or", left, right: this.and() };
    return left;
  }

  private and(): Expression {
    let left = this.not();
    while (this.skipName("and")) left = { kind: "and", left, right: this.not() };
    return left;
  }

  private not(): Expression {
    if (!this.skipName("not")) return this.comparison();
    return { kind: "not", operand: this.nested(() => this.not()) };
  }

  private comparison(): Expression {
    const first = this.sum();
    const rest: [CompareOperator, Expression][] = [];
    for (;;) {
      if (comparisons.has(this.current.type)) {
        const { type } = this.next();
        rest.push([type as CompareOperator, this.sum()]);
      } else if (this.skipName("in")) rest.push(["in", this.sum()]);
      else if (this.isName("not") && this.isName("in", this.following)) {
        this.next();
        this.next();
        rest.push(["not in", this.sum()]);
      } else return rest.length === 0 ? first : { kind: "compare", first, rest };
    }
  }

  private binary(operators: string, operand: () => Expression): Expression {
    let left = operand();
    while (operators.split(" ").includes(this.current.type)) {
      const operator = this.next().type as BinaryOperator;
      left = { kind: "binary", operator, left, right: operand() };
    }
    return left;
  }

  private readonly sum = () => this.binary("+ -", this.concat);
  private readonly concat = (): Expression => {
    const parts = [this.product()];
    while (this.skip("~")) parts.push(this.product());
    return parts.length === 1 ? parts[0]! : { kind: "concat", parts };
  };
  private readonly product = () => this.binary("* / // %", this.power);
  private readonly power = () => this.binary("**", () => this.unary(true));

  private unary(filtered: boolean): Expression {
    let node: Expression;
    const { type } = this.current;
    if (type === "-" || type === "+") {
      this.next();
      node = { kind: "sign", negative: type === "-", operand: this.nested(() => this.unary(false)) };
    } else node = this.primary();
    node = this.postfix(node);
    return filtered ? this.filtered(node) : node;
  }

  /** @param withField whether `name.field` is a target of an assignment */
  protected primary(withField = false): Expression {
    const token = this.current;
    switch (token.type) {
      case "name": {
        this.next();
        if (Object.hasOwn(constants, token.value)) return { kind: "constant", value: constants[token.value]! };
        if (withField && this.skip(".")) {
          this.mention(token.value);
          return { kind: "field", name: token.value, field: this.expect("name").value };
        }
        this.mention(token.value);
        return { kind: "name", name: token.value };
      }
      case "string": {
        let value = "";
        while (this.current.type === "string") value += this.next().value;
        this.mentioned.add(value);
        this.strings.add(value);
        return { kind: "constant", value };
      }
      case "integer":
        this.next();
        return { kind: "constant", value: integer(token.value) };
      case "float":
        this.next();
        return { kind: "constant", value: Number(token.value.replaceAll("_", "")) };
      case "(": {
        this.next();
        const node = this.nested(() => this.tuple({ parenthesized: true }));
        this.expect(")");
        return node;
      }
      case "[":
        this.next();
        return { kind: "list", items: this.nested(() => this.items("]", () => this.expression())) };
      case "{":
        this.next();
        return { kind: "dict", pairs: this.nested(() => this.items("}", () => this.pair())) };
      default:
        return this.fail(`unexpected ${this.described()}`);
    }
  }

  private mention(name: string): void {
    this.mentioned.add(name);
    for (const names of this.reading) names.add(name);
  }

  private items<T>(end: string, item: () => T): T[] {
    const items: T[] = [];
    while (this.current.type !== end) {
      if (items.length > 0) this.expect(",");
      if (this.current.type === end) break;
      items.push(item());
    }
    this.next();
    return items;
  }

  private pair(): [Expression, Expression] {
    const key = this.expression();
    this.expect(":");
    return [key, this.expression()];
  }

  /** One expression, or several with commas as a tuple. */
  protected tuple(
    options: {
      readonly conditional?: boolean;
      readonly targets?: "names" | "fields";
      readonly end?: string;
      readonly parenthesized?: boolean;
    } = {},
  ): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.expect(",");
      const { type } = this.current;
      if (type === "}}" || type === "%}" || type === ")" || (options.end && this.isName(options.end))) break;
      items.push(
        options.targets ? this.primary(options.targets === "fields") : this.expression(options.conditional ?? true),
      );
      if (this.current.type !== ",") break;
      isTuple = true;
    }
    if (!isTuple) {
      if (items.length === 1) return items[0]!;
      if (!options.parenthesized) this.fail(`Expected an expression, got ${this.described()}`);
    }
    return { kind: "tuple", items };
  }

  protected postfix(operand: Expression): Expression {
    let node = operand;
    for (;;) {
      if (this.skip(".")) node = this.attribute(node);
      else if (this.skip("[")) node = this.item(node);
      else if (this.current.type === "(") node = { kind: "call", callee: node, arguments: this.arguments() };
      else return node;
    }
  }

  private attribute(object: Expression): Expression {
    const { type, value } = this.next();
    if (type === "integer") return { kind: "item", object, key: { kind: "constant", value: integer(value) } };
    if (type !== "name") this.fail("expected name or number");
    this.mentioned.add(value);
    return { kind: "attribute", object, name: value };
  }

  private item(object: Expression): Expression {
    const keys: Expression[] = [];
    while (this.current.type !== "]") {
      if (keys.length > 0) this.expect(",");
      keys.push(this.subscript());
    }
    this.next();
    return { kind: "item", object, key: keys.length === 1 ? keys[0]! : { kind: "tuple", items: keys } };
  }

  private subscript(): Expression {
    const absent = () => [":", "]", ","].includes(this.current.type);
    const parts: (Expression | undefined)[] = [absent() && this.current.type === ":" ? undefined : this.expression()];
    if (parts[0] && this.current.type !== ":") return parts[0];
    while (parts.length < 3 && this.skip(":")) parts.push(absent() ? undefined : this.expression());
    return { kind: "slice", parts };
  }

  protected arguments(): Arguments {
    return this.nested(() => this.listedArguments());
  }

  private listedArguments(): Arguments {
    const args: Expression[] = [];
    const named: [string, Expression][] = [];
    let spread: Expression | undefined;
    let spreadNamed: Expression | undefined;
    let first = true;
    const ensure = (right: boolean) => {
      if (!right) this.fail("invalid syntax for function call expression");
    };
    this.expect("(");
    while (this.current.type !== ")") {
      if (!first) {
        this.expect(",");
        if (this.current.type === ")") break;
      }
      first = false;
      if (this.skip("*")) {
        ensure(!spread && !spreadNamed);
        spread = this.expression();
      } else if (this.skip("**")) {
        ensure(!spreadNamed);
        spreadNamed = this.expression();
      } else if (this.current.type === "name" && this.following.type === "=") {
        ensure(!spreadNamed);
        const name = this.next().value;
        this.next();
        if (named.some(([other]) => other === name)) this.fail(`keyword argument repeated: ${name}`);
        named.push([name, this.expression()]);
      } else {
        ensure(!spread && !spreadNamed && named.length === 0);
        args.push(this.expression());
      }
    }
    this.next();
    return { args, named, spread, spreadNamed };
  }

  private filtered(operand: Expression): Expression {
    let node = operand;
    for (;;) {
      if (this.skip("|")) node = this.filter(node);
      else if (this.skipName("is")) node = this.test(node);
      else if (this.current.type === "(") node = { kind: "call", callee: node, arguments: this.arguments() };
      else return node;
    }
  }

  private dottedName(kind: "filter" | "test"): string {
    let name = this.expect("name").value;
    while (this.skip(".")) name += `.${this.expect("name").value}`;
    if (!this.soft && !this.knows(kind, name)) this.unknown.push(`No ${kind} named '${name}'.`);
    return name;
  }

  /** What follows a bar. */
  protected filter(operand: Expression | undefined): Expression {
    const name = this.dottedName("filter");
    return { kind: "filter", operand, name, arguments: this.current.type === "(" ? this.arguments() : none };
  }

  private test(operand: Expression): Expression {
    const negated = this.skipName("not");
    const name = this.dottedName("test");
    const node: Expression = { kind: "test", operand, name, arguments: this.testArguments() };
    return negated ? { kind: "not", operand: node } : node;
  }

  private testArguments(): Arguments {
    const { type, value } = this.current;
    if (type === "(") return this.arguments();
    if (!["name", "string", "integer", "float", "[", "{"].includes(type)) return none;
    if (type === "name" && ["else", "or", "and"].includes(value)) return none;
    if (this.isName("is")) this.fail("You cannot chain multiple tests with is");
    return { args: [this.postfix(this.primary())], named: [] };
  }
}

function integer(text: string): bigint {
  const value = text.replaceAll("_", "");
  if (value.length > 4300) throw new TemplateFault("Exceeds the limit (4300 digits) for integer string conversion");
  return BigInt(/^0+$/.test(value) ? "0" : value.toLowerCase());
}

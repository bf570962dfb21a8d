/** Statements of a template, parsed by jinja2's grammar with loop controls and transformers' generation blocks. */
import { ExpressionParser } from "./expressions";
import { tokens } from "./lexer";
import type { Expression, MacroNode, Signature, Statement } from "./nodes";

export interface Program {
  readonly body: readonly Statement[];
  /** Names, fields and strings of the template. */
  readonly mentioned: ReadonlySet<string>;
  /** Its string literals. */
  readonly strings: ReadonlySet<string>;
  /** Whether it has a `{% generation %}` tag. */
  readonly marksGeneration: boolean;
}

/**
 * @param knows whether there is a filter or test of that name
 * @throws {TemplateFault} where jinja2 does not compile the template
 */
export function parseTemplate(source: string, knows: (kind: "filter" | "test", name: string) => boolean): Program {
  return new Parser(tokens(source), knows).program();
}

class Parser extends ExpressionParser {
  /** Whether a loop is around this place that `break` could end. */
  private inLoop = false;
  /** Loops around the present place. */
  private loops = 0;
  private marksGeneration = false;

  program(): Program {
    const body = this.statements([]);
    if (this.unknown.length > 0) this.fail(this.unknown[0]!);
    const { mentioned, strings, marksGeneration } = this;
    return { body, mentioned, strings, marksGeneration };
  }

  /** Statements up to one of the tags, which is current then. */
  private statements(ends: readonly string[]): Statement[] {
    const body: Statement[] = [];
    for (;;) {
      const { type, value } = this.current;
      if (type === "eof") {
        if (ends.length > 0) this.fail(`Unexpected end of template. Expected ${ends.join(" or ")}`);
        return body;
      }
      this.next();
      if (type === "data") body.push({ kind: "text", text: value });
      else if (type === "{{") {
        body.push({ kind: "print", value: this.tuple() });
        this.expect("}}");
      } else {
        if (ends.some((end) => this.isName(end))) return body;
        body.push(...this.nested(() => this.statement()));
        this.expect("%}");
      }
    }
  }

  private body(...ends: string[]): Statement[] {
    this.skip(":");
    this.expect("%}");
    return this.statements(ends);
  }

  private scope<T>(work: () => T, loop = this.inLoop): T {
    const { soft, inLoop } = this;
    this.soft = false;
    this.inLoop = loop;
    const result = work();
    this.soft = soft;
    this.inLoop = inLoop;
    return result;
  }

  private bodyOf(end: string): Statement[] {
    return this.scope(() => {
      const body = this.body(end);
      this.next();
      return body;
    });
  }

  private statement(): Statement[] {
    const tag = this.expect("name").value;
    switch (tag) {
      case "for":
        return [this.loop()];
      case "if":
        return [this.branch()];
      case "set":
        return [this.assignment()];
      case "with":
        return [this.withBlock()];
      case "macro": {
        const name = this.expect("name").value;
        return [{ kind: "macro", macro: this.macro(name, this.signature(), "endmacro") }];
      }
      case "call":
        return [this.callBlock()];
      case "filter": {
        let filter = this.filter(undefined);
        while (this.skip("|")) filter = this.filter(filter);
        return [{ kind: "filterBlock", filter, body: this.bodyOf("endfilter") }];
      }
      case "generation":
        this.marksGeneration = true;
        return [{ kind: "generation", body: this.scope(() => this.bodyOf("endgeneration"), false) }];
      case "print":
        return this.printed();
      case "block":
        return [this.block()];
      case "autoescape": {
        const value = this.expression();
        if (value.kind !== "constant" || value.value !== false) this.fail("autoescape is not supported");
        return [{ kind: "with", targets: [], values: [], body: this.bodyOf("endautoescape") }];
      }
      case "break":
      case "continue":
        if (!this.inLoop) this.fail(`'${tag}' outside loop`);
        return [{ kind: tag }];
      default:
        return this.fail(
          ["extends", "include", "import", "from"].includes(tag)
            ? `no loader for this environment specified, which '${tag}' needs`
            : `Encountered unknown tag '${tag}'.`,
        );
    }
  }

  private target(options: { readonly fields?: boolean; readonly end?: string } = {}): Expression {
    const target = this.tuple({
      targets: options.fields ? "fields" : "names",
      ...(options.end && { end: options.end }),
    });
    this.requireTarget(target);
    return target;
  }

  private requireTarget(target: Expression): void {
    if (target.kind === "tuple") for (const item of target.items) this.requireTarget(item);
    else if (target.kind !== "name" && target.kind !== "field") this.fail(`can't assign to '${target.kind}'`);
  }

  private loop(): Statement {
    const target = this.target({ end: "in" });
    if (names(target).includes("loop")) this.fail("Can't assign to special loop variable in for-loop target");
    this.expectName("in");
    const iterable = this.tuple({ conditional: false, end: "recursive" });
    const test = this.skipName("if") ? this.expression() : undefined;
    const recursive = this.skipName("recursive");
    this.loops++;
    const body = this.scope(() => this.body("endfor", "else"), true);
    const otherwise = this.next().value === "else" ? this.bodyOf("endfor") : [];
    this.loops--;
    return { kind: "for", target, iterable, test, recursive, body, otherwise };
  }

  private branch(): Statement {
    const branches: [Expression | undefined, Statement[]][] = [];
    const { soft } = this;
    this.soft = true;
    let tag = "if";
    while (tag !== "endif") {
      const test = tag === "else" ? undefined : this.tuple({ conditional: false });
      branches.push([test, tag === "else" ? this.body("endif") : this.body("elif", "else", "endif")]);
      tag = this.next().value;
    }
    this.soft = soft;
    return { kind: "branch", branches };
  }

  private assignment(): Statement {
    const target = this.target({ fields: true });
    if (this.loops > 0 && names(target).includes("loop"))
      this.fail("Can't assign to special loop variable in for-loop");
    if (this.skip("=")) return { kind: "set", target, value: this.tuple() };
    let filter: Expression | undefined;
    while (this.skip("|")) filter = this.filter(filter);
    return { kind: "capture", target, filter, body: this.bodyOf("endset") };
  }

  private withBlock(): Statement {
    const targets: Expression[] = [];
    const values: Expression[] = [];
    while (this.current.type !== "%}") {
      if (targets.length > 0) this.expect(",");
      targets.push(this.target());
      this.expect("=");
      values.push(this.expression());
    }
    return { kind: "with", targets, values, body: this.bodyOf("endwith") };
  }

  private signature(): Signature {
    const parameters: string[] = [];
    const defaults: Expression[] = [];
    this.expect("(");
    while (this.current.type !== ")") {
      if (parameters.length > 0) this.expect(",");
      const { value } = this.expect("name");
      if (parameters.includes(value)) this.fail(`duplicate argument '${value}' in function definition`);
      if (this.skip("=")) defaults.push(this.expression());
      else if (defaults.length > 0) this.fail("non-default argument follows default argument");
      parameters.push(value);
    }
    this.next();
    return { parameters, defaults };
  }

  private macro(name: string, signature: Signature, end: string): MacroNode {
    const uses = new Set<string>();
    this.reading.push(uses);
    const body = this.scope(() => this.bodyOf(end), false);
    this.reading.pop();
    return { name, ...signature, body, uses };
  }

  private callBlock(): Statement {
    const signature = this.current.type === "(" ? this.signature() : { parameters: [], defaults: [] };
    const call = this.expression();
    if (call.kind !== "call") this.fail("expected call");
    return { kind: "callBlock", call, macro: this.macro("caller", signature, "endcall") };
  }

  private printed(): Statement[] {
    const values: Statement[] = [];
    while (this.current.type !== "%}") {
      if (values.length > 0) this.expect(",");
      values.push({ kind: "print", value: this.expression() });
    }
    return values;
  }

  private block(): Statement {
    const name = this.expect("name").value;
    for (const option of ["scoped", "required"]) this.skipName(option);
    const body = this.scope(() => this.bodyOf("endblock"), false);
    this.skipName(name);
    return { kind: "block", body };
  }
}

/** Names that an assignment to a target binds. */
export function names(target: Expression): string[] {
  if (target.kind === "tuple") return target.items.flatMap(names);
  return target.kind === "name" ? [target.name] : [];
}

/** The variable `loop`. */
import { type Budget, TemplateFault } from "./budget";
import { equal } from "./compare";
import { Attributes, Callable, lengthOf, Tuple, Undefined, type Value } from "./values";

/** Elements of a loop, read one ahead at most, and what the template may ask about them. */
export class Loop extends Attributes {
  readonly type = "LoopContext";
  private index = -1;
  private ahead: IteratorResult<Value> | undefined;
  private before: Value | undefined;
  private current: Value | undefined;
  private changed: Value | undefined;
  private length: number | undefined;

  constructor(
    given: Value,
    private iterator: Iterator<Value>,
    filtered: boolean,
    private readonly depth: number,
    private readonly budget: Budget,
    private readonly body: ((items: Value, depth: number) => Value) | undefined,
  ) {
    super();
    if (!filtered) this.length = lengthOf(given, budget);
  }

  next(): IteratorResult<Value> {
    const result = this.ahead ?? this.iterator.next();
    this.ahead = undefined;
    if (result.done) return result;
    this.index++;
    this.before = this.current;
    this.current = result.value;
    return result;
  }

  recurse(args: readonly Value[]): Value {
    if (!this.body) throw new TemplateFault("The loop must have the 'recursive' marker to be called recursively.");
    if (args.length !== 1) throw new TemplateFault("loop() takes 1 argument");
    return this.body(args[0]!, this.depth + 1);
  }

  private peek(): IteratorResult<Value> {
    this.ahead ??= this.iterator.next();
    return this.ahead;
  }

  /** A generator has to be read to its end for that. */
  private count(): number {
    if (this.length !== undefined) return this.length;
    const rest: Value[] = [];
    const ahead = this.ahead && !this.ahead.done ? 1 : 0;
    for (let next = this.iterator.next(); !next.done; next = this.iterator.next()) rest.push(next.value);
    this.budget.list(rest.length);
    this.iterator = rest.values();
    this.length = rest.length + this.index + 1 + ahead;
    return this.length;
  }

  attribute(name: string): Value | undefined {
    switch (name) {
      case "index":
        return BigInt(this.index + 1);
      case "index0":
        return BigInt(this.index);
      case "revindex":
        return BigInt(this.count() - this.index);
      case "revindex0":
        return BigInt(this.count() - this.index - 1);
      case "first":
        return this.index === 0;
      case "last":
        return this.peek().done === true;
      case "length":
      case "__len__":
        return BigInt(this.count());
      case "depth":
        return BigInt(this.depth + 1);
      case "depth0":
        return BigInt(this.depth);
      case "previtem":
        return this.before === undefined ? new Undefined("there is no previous item") : this.before;
      case "nextitem": {
        const next = this.peek();
        return next.done ? new Undefined("there is no next item") : next.value;
      }
      case "cycle":
        return new Callable(name, (args) => {
          if (args.length === 0) throw new TemplateFault("no items for cycling given");
          return args[this.index % args.length]!;
        });
      case "changed":
        return new Callable(name, (args) => {
          const value = new Tuple(args);
          const same = this.changed !== undefined && equal(this.changed, value, this.budget);
          this.changed = value;
          return !same;
        });
      case "__repr__":
        return `<LoopContext ${this.index + 1}/${this.count()}>`;
      default:
        return undefined;
    }
  }
}

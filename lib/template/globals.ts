/** The functions that every template has: those of jinja2, and transformers' two. */
import { bindArguments, requireInteger } from "./arguments";
import { type Budget, TemplateFault, TemplateLimit } from "./budget";
import { strftime } from "./strftime";
import {
  Attributes,
  Callable,
  Dict,
  iterated,
  listOfValue,
  type Named,
  Namespace,
  Range,
  Undefined,
  type Value,
} from "./values";
import { str } from "./writing";

/** More numbers than that jinja2's sandbox refuses. */
const mostNumbers = 100_000;

function range(args: readonly Value[], named: Named): Value {
  if (named.size > 0) throw new TemplateFault("range() takes no keyword arguments");
  if (args.length < 1 || args.length > 3)
    throw new TemplateFault(`range expected 1 to 3 arguments, got ${args.length}`);
  const numbers = args.map(requireInteger);
  const [start, stop] = numbers.length === 1 ? [0n, numbers[0]!] : [numbers[0]!, numbers[1]!];
  const step = numbers[2] ?? 1n;
  if (step === 0n) throw new TemplateFault("range() arg 3 must not be zero");
  const result = new Range(start, stop, step);
  if (result.length > mostNumbers) throw new TemplateLimit(`it asks for a range of ${result.length} numbers`);
  return result;
}

function pairsOf(args: readonly Value[], named: Named, budget: Budget): Dict {
  const dict = new Dict();
  const [given] = args;
  if (args.length > 1) throw new TemplateFault(`dict expected at most 1 argument, got ${args.length}`);
  if (given instanceof Undefined) given.fail();
  if (given instanceof Dict) for (const [key, value] of given.entries.values()) dict.set(key, value, budget);
  else if (given !== undefined)
    for (const pair of iterated(given, budget)) {
      const [key, value, ...more] = listOfValue(pair, budget);
      if (key === undefined || value === undefined || more.length > 0)
        throw new TemplateFault("dictionary update sequence element has not length 2");
      dict.set(key, value, budget);
    }
  for (const [key, value] of named) dict.set(key, value, budget);
  budget.list(dict.size);
  return dict;
}

function namespace(args: readonly Value[], named: Named, budget: Budget): Value {
  const result = new Namespace();
  for (const [key, value] of pairsOf(args, named, budget).entries.values()) result.fields.set(key as string, value);
  return result;
}

/** `cycler(...)` */
class Cycler extends Attributes {
  readonly type = "Cycler";
  private at = 0;
  constructor(private readonly items: readonly Value[]) {
    super();
    if (items.length === 0) throw new TemplateFault("at least one item has to be provided");
  }
  attribute(name: string): Value | undefined {
    if (name === "current") return this.items[this.at]!;
    if (name === "reset")
      return new Callable(name, () => {
        this.at = 0;
        return null;
      });
    if (name !== "next") return undefined;
    return new Callable(name, () => {
      const item = this.items[this.at]!;
      this.at = (this.at + 1) % this.items.length;
      return item;
    });
  }
}

function joiner(args: readonly Value[], named: Named): Value {
  const [separator = ", "] = bindArguments("joiner", ["sep"], { args, named });
  let used = false;
  return new Callable("joiner", () => {
    const result = used ? separator : "";
    used = true;
    return result;
  });
}

export function globalsOf(budget: Budget): Map<string, Value> {
  const functions: Record<string, (args: readonly Value[], named: Named) => Value> = {
    range: (args, named) => range(args, named),
    dict: (args, named) => pairsOf(args, named, budget),
    namespace: (args, named) => namespace(args, named, budget),
    cycler: (args) => new Cycler(args),
    joiner,
    raise_exception: (args, named) => {
      const [message = null] = bindArguments("raise_exception", ["message!"], { args, named });
      throw new TemplateFault(message instanceof Undefined ? "it raised an exception" : str(message, budget));
    },
    strftime_now: (args, named) => {
      const [format] = bindArguments("strftime_now", ["format!"], { args, named });
      if (typeof format !== "string" || format.length > 256)
        throw new TemplateFault("strftime_now() takes a short string");
      budget.charge(format.length / 4);
      return strftime(new Date(), format);
    },
  };
  return new Map(Object.entries(functions).map(([name, call]) => [name, new Callable(name, call, "function")]));
}

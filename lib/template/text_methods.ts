/** The methods of Python's str. */
import { type CallArguments, integerOf } from "./arguments";
import { type Budget, TemplateFault } from "./budget";
import { formatBraces } from "./format";
import { whitespace } from "./lexer";
import { indexOf, slicePlaces } from "./operators";
import { replaced, split, splitRight, stripped } from "./text_parts";
import { Dict, isTrue, isWide, iterated, lengthOfText, Tuple, textOf, typeName, type Value } from "./values";

// biome-ignore lint/suspicious/noControlCharactersInRegex: three of them end lines
const lineEnd = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/g;

/** A call of a method of a text. */
interface TextCall extends CallArguments {
  readonly budget: Budget;
  readonly lookup: (value: Value, key: Value, attribute: boolean) => Value;
}
type Method = (text: string, call: TextCall) => Value;

function textArgument({ args }: TextCall, at: number, otherwise?: string): string {
  const value = args[at];
  if (value === undefined && otherwise !== undefined) return otherwise;
  const text = value === undefined ? undefined : textOf(value);
  if (text === undefined)
    throw new TemplateFault(
      value === undefined ? `expected at least ${at + 1} argument` : `must be str, not ${typeName(value)}`,
    );
  return text;
}

function numberArgument({ args, named }: TextCall, at: number, name: string, otherwise: number): number {
  return integerOf(args[at] ?? named.get(name), otherwise);
}

const strip =
  (sides: "both" | "left" | "right"): Method =>
  (text, call) => {
    const given = call.args[0] ?? null;
    return stripped(text, given === null ? null : textArgument(call, 0), sides, call.budget);
  };

const splitter =
  (work: typeof split): Method =>
  (text, call) => {
    const given = call.args[0] ?? call.named.get("sep") ?? null;
    const most = numberArgument(call, 1, "maxsplit", -1);
    const separator = given === null ? null : textArgument({ ...call, args: [given] }, 0);
    return work(text, separator, most < 0 ? Number.POSITIVE_INFINITY : most, call.budget);
  };

function splitLines(text: string, call: TextCall): Value {
  const kept = isTrue(call.args[0] ?? call.named.get("keepends") ?? false, call.budget);
  call.budget.text(text.length, 64);
  const lines: string[] = [];
  let at = 0;
  for (const found of text.matchAll(lineEnd)) {
    call.budget.charge(1 / 4);
    lines.push(text.slice(at, kept ? found.index + found[0].length : found.index));
    at = found.index + found[0].length;
  }
  if (at < text.length) lines.push(text.slice(at));
  return lines;
}

/** The text between the places that `find`, `count`, `startswith` and others take, and where it begins in code points. */
function within(text: string, call: TextCall, from: number): { part: string; start: number } | undefined {
  if (call.args[from] === undefined) return { part: text, start: 0 };
  const points = isWide(text) ? [...text] : undefined;
  call.budget.text(text.length, points ? 16 : 1024);
  const length = points?.length ?? text.length;
  const [start, stop] = slicePlaces([call.args[from] ?? null, call.args[from + 1] ?? null, null], length)!;
  const given = indexOf(call.args[from] ?? 0n) ?? 0;
  if (start! > stop! || given > length) return undefined;
  return { part: points ? points.slice(start, stop).join("") : text.slice(start, stop), start: start! };
}

function find(text: string, call: TextCall, last: boolean): number {
  const sought = textArgument(call, 0);
  const place = within(text, call, 1);
  if (!place) return -1;
  call.budget.search(place.part.length, sought.length);
  const at = last ? place.part.lastIndexOf(sought) : place.part.indexOf(sought);
  if (at < 0) return -1;
  return place.start + lengthOfText(place.part.slice(0, at), call.budget);
}

const finder =
  (last: boolean, required: boolean): Method =>
  (text, call) => {
    const at = find(text, call, last);
    if (at < 0 && required) throw new TemplateFault("substring not found");
    return BigInt(at);
  };

const affix =
  (end: boolean): Method =>
  (text, call) => {
    const { args, budget } = call;
    const [given] = args;
    const wanted = given instanceof Tuple ? given.items : [given];
    const place = within(text, call, 1);
    return wanted.some((one) => {
      const affixText = one === undefined ? undefined : textOf(one);
      if (affixText === undefined)
        throw new TemplateFault(
          `first arg must be str or a tuple of str, not ${one === undefined ? "nothing" : typeName(one)}`,
        );
      budget.charge(1 / 4 + Math.min(text.length, affixText.length) / 256);
      if (!place) return false;
      return end ? place.part.endsWith(affixText) : place.part.startsWith(affixText);
    });
  };

function partition(text: string, call: TextCall, last: boolean): Value {
  const separator = textArgument(call, 0);
  if (separator === "") throw new TemplateFault("empty separator");
  call.budget.search(text.length, separator.length);
  const at = last ? text.lastIndexOf(separator) : text.indexOf(separator);
  if (at < 0) return new Tuple(last ? ["", "", text] : [text, "", ""]);
  return new Tuple([text.slice(0, at), separator, text.slice(at + separator.length)]);
}

function justified(align: "left" | "right" | "center"): Method {
  return (text, call) => {
    const { budget } = call;
    const width = numberArgument(call, 0, "width", 0);
    const fill = textArgument(call, 1, " ");
    if (lengthOfText(fill, budget) !== 1)
      throw new TemplateFault("The fill character must be exactly one character long");
    const missing = width - lengthOfText(text, budget);
    if (missing <= 0) return text;
    budget.text(text.length + missing * fill.length);
    // Python puts the odd one before the text where the width is odd.
    const before = align === "right" ? missing : align === "left" ? 0 : Math.floor(missing / 2) + (missing & width & 1);
    return fill.repeat(before) + text + fill.repeat(missing - before);
  };
}

/** Whether all characters are of a class, and there is one. */
const every =
  (pattern: RegExp): Method =>
  (text, { budget }) => {
    budget.text(text.length, 64);
    return pattern.test(text);
  };

const cased =
  (all: RegExp, other: RegExp): Method =>
  (text, { budget }) => {
    budget.text(text.length, 64);
    return all.test(text) && !other.test(text);
  };

const mapped =
  (work: (text: string) => string): Method =>
  (text, { budget }) => {
    budget.text(text.length, 64);
    const result = work(text);
    budget.text(result.length);
    return result;
  };

/** A text in lower case without its first character, which decides with the others which sigma is a final one. */
const lowerAfter = (first: string, text: string): string => text.toLowerCase().slice(first.toLowerCase().length);

/** Case folding of one character: what all its cases have in common. Cherokee folds to upper case, the dotless i not at all. */
function foldedCharacter(one: string): string {
  if (one === "ı") return one;
  const upper = one.toLowerCase().toUpperCase();
  return /[\u13a0-\u13f5]/.test(upper) ? upper : [...upper].map((part) => part.toLowerCase()).join("");
}
const caseFolded = (text: string): string =>
  text.replace(/[^\p{ASCII}]/gu, foldedCharacter).replace(/[A-Z]+/g, (part) => part.toLowerCase());

const titleOf = (text: string): string =>
  text.replace(
    /(\p{Cased})((?:\p{Cased}|\p{M})*)/gu,
    (_, first: string, rest: string) => titled(first) + lowerAfter(first, first + rest),
  );
/** Their title case differs from their upper case. */
const digraphs: Readonly<Record<string, string>> = {
  ǆ: "ǅ",
  Ǆ: "ǅ",
  ǉ: "ǈ",
  Ǉ: "ǈ",
  ǌ: "ǋ",
  Ǌ: "ǋ",
  ǳ: "ǲ",
  Ǳ: "ǲ",
  ŉ: "ʼN",
};
const titled = (character: string): string => {
  if (Object.hasOwn(digraphs, character)) return digraphs[character]!;
  const upper = character.toUpperCase();
  return upper.length > 1 && character.length === 1 ? upper[0] + upper.slice(1).toLowerCase() : upper;
};
export const capitalized = (text: string): string => {
  const [first = ""] = text;
  return titled(first) + lowerAfter(first, text);
};

function expandTabs(text: string, call: TextCall): Value {
  const size = numberArgument(call, 0, "tabsize", 8);
  call.budget.text(text.length + (text.match(/\t/g)?.length ?? 0) * Math.max(0, size), 64);
  let column = 0;
  return [...text]
    .map((character) => {
      if (character === "\t") {
        const width = size > 0 ? size - (column % size) : 0;
        column += width;
        return " ".repeat(width);
      }
      column = character === "\n" || character === "\r" ? 0 : column + 1;
      return character;
    })
    .join("");
}

function join(text: string, { args, budget }: TextCall): Value {
  const parts: string[] = [];
  let length = 0;
  for (const item of iterated(args[0] ?? null, budget)) {
    const part = textOf(item);
    if (part === undefined)
      throw new TemplateFault(`sequence item ${parts.length}: expected str instance, ${typeName(item)} found`);
    length += part.length + text.length;
    budget.text(length - text.length, Number.POSITIVE_INFINITY);
    budget.charge((part.length + text.length) / 1024);
    parts.push(part);
  }
  return parts.join(text);
}

function count(text: string, call: TextCall): Value {
  const sought = textArgument(call, 0);
  const part = within(text, call, 1)?.part;
  if (part === undefined) return 0n;
  if (sought === "") return BigInt(lengthOfText(part, call.budget) + 1);
  return BigInt(split(part, sought, Number.POSITIVE_INFINITY, call.budget).length - 1);
}

function zeroFilled(text: string, call: TextCall): Value {
  const missing = numberArgument(call, 0, "width", 0) - lengthOfText(text, call.budget);
  if (missing <= 0) return text;
  call.budget.text(text.length + missing);
  const sign = /^[-+]?/.exec(text)![0];
  return sign + "0".repeat(missing) + text.slice(sign.length);
}

export const textMethods: Readonly<Record<string, Method>> = {
  strip: strip("both"),
  lstrip: strip("left"),
  rstrip: strip("right"),
  split: splitter(split),
  rsplit: splitter(splitRight),
  splitlines: splitLines,
  replace: (text, call) => {
    const most = numberArgument(call, 2, "count", -1);
    return replaced(
      text,
      textArgument(call, 0),
      textArgument(call, 1),
      most < 0 ? Number.POSITIVE_INFINITY : most,
      call.budget,
    );
  },
  find: finder(false, false),
  rfind: finder(true, false),
  index: finder(false, true),
  rindex: finder(true, true),
  count,
  startswith: affix(false),
  endswith: affix(true),
  removeprefix: (text, call) => {
    const prefix = textArgument(call, 0);
    return text.startsWith(prefix) ? text.slice(prefix.length) : text;
  },
  removesuffix: (text, call) => {
    const suffix = textArgument(call, 0);
    return suffix !== "" && text.endsWith(suffix) ? text.slice(0, -suffix.length) : text;
  },
  partition: (text, call) => partition(text, call, false),
  rpartition: (text, call) => partition(text, call, true),
  join,
  format: (text, { args, named, lookup, budget }) => formatBraces(text, args, named, lookup, budget),
  format_map: (text, { args, lookup, budget }) => {
    const names = new Map<string, Value>();
    if (args[0] instanceof Dict) budget.list(args[0].size);
    if (args[0] instanceof Dict)
      for (const [key, value] of args[0].entries.values()) if (typeof key === "string") names.set(key, value);
    return formatBraces(text, [], names, lookup, budget);
  },
  upper: mapped((text) => text.toUpperCase()),
  lower: mapped((text) => text.toLowerCase()),
  casefold: mapped(caseFolded),
  title: (text, { budget }) => {
    budget.text(text.length, 8);
    return titleOf(text);
  },
  capitalize: mapped(capitalized),
  swapcase: mapped((text) =>
    text.replace(/\p{Cased}/gu, (one) => (one === one.toUpperCase() ? one.toLowerCase() : one.toUpperCase())),
  ),
  center: justified("center"),
  ljust: justified("left"),
  rjust: justified("right"),
  zfill: zeroFilled,
  expandtabs: expandTabs,
  isdigit: every(/^[\p{Nd}\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468]+$/u),
  isdecimal: every(/^\p{Nd}+$/u),
  isnumeric: every(/^\p{N}+$/u),
  isalpha: every(/^\p{L}+$/u),
  isalnum: every(/^[\p{L}\p{N}]+$/u),
  isascii: every(/^\p{ASCII}*$/u),
  isspace: every(new RegExp(`^[${whitespace}]+$`)),
  isidentifier: every(/^[\p{XID_Start}_]\p{XID_Continue}*$/u),
  isprintable: every(/^(?:[^\p{C}\p{Z}]| )*$/u),
  isupper: cased(/\p{Uppercase}/u, /\p{Lowercase}|\p{Lt}/u),
  islower: cased(/\p{Lowercase}/u, /\p{Uppercase}|\p{Lt}/u),
  istitle: (text, { budget }) => {
    budget.text(text.length, 64);
    return /\p{Cased}/u.test(text) && titleOf(text) === text;
  },
};

/** A call of a method by its name, of one that reads no fields of its arguments. */
export function callTextMethod(name: string, text: string, budget: Budget, args: readonly Value[] = []): Value {
  return textMethods[name]!(text, { args, named: new Map(), budget, lookup: () => null });
}

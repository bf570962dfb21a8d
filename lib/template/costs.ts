/**
 * What operations of a template cost beside the nodes that they evaluate, in steps of about a microsecond. Costs are known
 * before an operation runs, since nothing can stop one of them midway.
 */

export interface RuntimeValue {
  readonly type: string;
  readonly value: unknown;
}

/** Size of a value, all levels counted. */
export interface Size {
  readonly elements: number;
  /** Characters of its strings, and of the names of its fields. */
  readonly characters: number;
  readonly depth: number;
}

/** An operation on a value; the costs of the cheap ones are those of the nodes. */
export interface Operation {
  readonly name: string;
  readonly operand: Size;
  readonly arguments: readonly RuntimeValue[];
  readonly named: ReadonlyMap<string, RuntimeValue>;
  /** Of all arguments, named ones too. */
  readonly argumentSize: Size;
  /** The string that is operated on, if it is one. */
  readonly text: string | undefined;
}

/** What an operation costs, and how long the text is at most that it makes. */
export interface Cost {
  readonly steps: number;
  readonly characters: number;
}

const charactersOf = (value: RuntimeValue | undefined) => (typeof value?.value === "string" ? value.value.length : 0);
const numberOf = (value: RuntimeValue | undefined, otherwise: number) =>
  typeof value?.value === "number" ? Math.abs(value.value) : otherwise;

/** Finding a string in another: V8 compares every character with every other at worst. */
export function searchSteps(text: number, sought: number): number {
  return text / 256 + (sought > text ? 0 : (Math.max(0, text - sought) * Math.min(sought, text)) / 1024);
}

const linear =
  (perStep: number) =>
  ({ operand }: Operation): Cost => ({
    steps: operand.elements / 8 + operand.characters / perStep,
    characters: operand.characters,
  });

/** Lists of new values. */
const listed = ({ operand }: Operation): Cost => ({
  steps: operand.elements + operand.characters / 256,
  characters: operand.characters,
});

function sortCost({ operand, argumentSize }: Operation): Cost {
  const { elements, characters } = operand;
  const comparisons = elements * Math.log2(elements + 2);
  // All characters may be those of one element, which may be compared with every other.
  const longest = Math.min(characters, (4 * characters) / (elements + 1) + 65_536);
  return { steps: comparisons * (0.5 + argumentSize.characters / 64) + (longest * elements) / 512, characters };
}

/** Writing a value: a string as it is, anything else as JSON. */
function stringCost(operation: Operation): Cost {
  if (operation.text === undefined) return jsonCost(operation);
  return { steps: operation.text.length / 256, characters: operation.text.length };
}

/** Characters of a string as JSON, without its quotes; at most six for each, which only a long string is counted for. */
function escapedLength(text: string, ascii: boolean): number {
  if (text.length < 65_536 || ascii) return 6 * text.length;
  let length = text.length;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code < 0x20 || (code >= 0xd800 && code < 0xe000)) length += 5;
    else if (code === 0x22 || code === 0x5c) length++;
  }
  return length;
}

function jsonCost({ operand, named, text }: Operation): Cost {
  const { elements, characters, depth } = operand;
  const indent = numberOf(named.get("indent"), 0);
  const separators = named.get("separators")?.value;
  const between = Array.isArray(separators)
    ? separators.reduce((sum: number, one: RuntimeValue) => sum + charactersOf(one), 0)
    : 4;
  const ascii = named.get("ensure_ascii")?.value === true;
  const escaped = text === undefined ? characters * 6 : escapedLength(text, ascii);
  const length = elements * (indent * (depth + 1) + between + 24) + escaped;
  const sorted = named.get("sort_keys")?.value === true ? elements * Math.log2(elements + 2) * 2 + characters / 64 : 0;
  return { steps: elements / 2 + characters / (ascii ? 8 : 256) + length / 4096 + sorted, characters: length };
}

function replaceCost({ text = "", arguments: args }: Operation): Cost {
  const sought = charactersOf(args[0]);
  const matches = sought === 0 ? text.length + 1 : text.length / sought;
  const length = text.length + matches * charactersOf(args[1]);
  // How many matches there are at most is known; that there are so many is not, and seldom so.
  const found = sought === 0 ? matches : countedMatches(text, args[0]!.value as string, matches);
  return {
    steps: searchSteps(text.length, sought) + found / 4,
    characters: sought === 0 ? length : text.length + found * charactersOf(args[1]),
  };
}

function splitCost({ text = "", arguments: args }: Operation): Cost {
  const sought = charactersOf(args[0]);
  const pieces = sought === 0 ? text.length / 2 : countedMatches(text, args[0]!.value as string, text.length / sought);
  return { steps: searchSteps(text.length, sought) + pieces / 2 + text.length / 256, characters: text.length };
}

/** Matches of a string that is short enough to look for, else as many as there can be. */
function countedMatches(text: string, sought: string, atMost: number): number {
  if (searchSteps(text.length, sought.length) > 4096 + text.length / 32) return atMost;
  let count = 0;
  for (let at = text.indexOf(sought); at >= 0; at = text.indexOf(sought, at + sought.length)) count++;
  return count;
}

function indentCost({ text = "", operand, arguments: args, named }: Operation): Cost {
  const width = numberOf(args[0] ?? named.get("width"), 4);
  const lines = countedMatches(text, "\n", operand.characters) + 1;
  const length = text.length + lines * width;
  return { steps: lines / 4 + length / 512, characters: length };
}

function joinCost({ operand, arguments: args, named }: Operation): Cost {
  const separator = charactersOf(args[0] ?? named.get("separator"));
  const parts = operand.elements + (operand.elements === 0 ? operand.characters : 0);
  const length = operand.characters + operand.elements * 24 + parts * separator;
  return { steps: parts / 4 + length / 512, characters: operand.characters + parts * separator };
}

const pathCost = ({ operand, argumentSize }: Operation): Cost => ({
  steps: operand.elements * (0.5 + argumentSize.characters / 64),
  characters: 0,
});

function prefixCost({ operand, argumentSize }: Operation): Cost {
  return {
    steps: argumentSize.elements / 8 + Math.min(operand.characters, argumentSize.characters) / 256,
    characters: 0,
  };
}

/** Filters, methods and tests by name; what is not here costs no more than its node. */
const operations: Readonly<Record<string, (operation: Operation) => Cost>> = {
  tojson: jsonCost,
  string: stringCost,
  sort: sortCost,
  dictsort: sortCost,
  join: joinCost,
  indent: indentCost,
  replace: replaceCost,
  split: splitCost,
  startswith: prefixCost,
  endswith: prefixCost,
  map: pathCost,
  selectattr: pathCost,
  rejectattr: pathCost,
  title: linear(8),
  capitalize: linear(64),
  upper: linear(64),
  lower: linear(64),
  trim: linear(64),
  strip: linear(64),
  lstrip: linear(64),
  rstrip: linear(64),
  unique: linear(256),
  reverse: linear(256),
  items: listed,
  keys: listed,
  values: listed,
  list: linear(256),
  int: linear(256),
  float: linear(256),
  namespace: linear(256),
};

const free: Cost = { steps: 0, characters: 0 };

/** What an operation costs that has a name: a filter, a method or a test. */
export function costOf(operation: Operation): Cost {
  return Object.hasOwn(operations, operation.name) ? operations[operation.name]!(operation) : free;
}

/** Kinds of option values: a description, a check, and how the command line parses a value. */
import { limits } from "./limits";

export interface Kind<T> {
  /** Placeholder for the value in --help; undefined: the command line takes no value. */
  readonly placeholder: string | undefined;
  /** Description of a valid value, for "Expected ... for NAME but received ...". */
  readonly expects: string;
  /** @returns the value that a command-line text stands for, not checked yet; undefined if it has none of this kind */
  readonly read: (text: string) => T | undefined;
  /** @returns what was expected instead of this value; undefined if the value is valid */
  readonly fault: (value: unknown) => string | undefined;
  /** For an object: the kind of each field. */
  readonly fields?: Readonly<Record<string, Kind<unknown>>>;
}

const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);

const numberPattern = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Parses a decimal number; undefined if the text is not one. */
export function numberIn(text: string): number | undefined {
  return numberPattern.test(text) ? Number(text) : undefined;
}

/** @param expects text for messages, if the default text for the range is not suitable */
export function integer(least: number, most = Number.MAX_SAFE_INTEGER, expects?: string): Kind<number> {
  const open = least === 1 ? "a positive integer" : `an integer of at least ${least}`;
  const words = expects ?? (most === Number.MAX_SAFE_INTEGER ? open : `an integer from ${least} to ${most}`);
  const holds = (value: unknown) => Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most;
  return {
    placeholder: "N",
    expects: words,
    read: (text) => (/^[+-]?\d+$/.test(text) ? Number(text) : undefined),
    fault: (value) => (holds(value) ? undefined : words),
  };
}

function numberKind(expects: string, fault: (value: number) => string | undefined): Kind<number> {
  return {
    placeholder: "X",
    expects,
    read: numberIn,
    fault: (value) => (isNumber(value) ? fault(value) : expects),
  };
}

export function number(least: number, most = Number.POSITIVE_INFINITY): Kind<number> {
  const range = most === Number.POSITIVE_INFINITY ? `of at least ${least}` : `from ${least} to ${most}`;
  const expects = `a number ${range}`;
  return numberKind(expects, (value) => (value >= least && value <= most ? undefined : expects));
}

/** A kind restricted to some of its values. */
export function narrowed<T>(kind: Kind<T>, expects: string, holds: (value: T) => boolean): Kind<T> {
  const fault = (value: unknown) => (kind.fault(value) === undefined && holds(value as T) ? undefined : expects);
  return { ...kind, expects, fault };
}

const { smallestFloat32, largestFloat32, largestBeta } = limits;
const float32Range = `from 2^-126 to ${largestFloat32} (the range of float32)`;
/** Temperatures that are taken, for messages. */
export const temperatures = `0, or a number from 2^-126 to ${limits.mostTemperature}`;
const fitsFloat32 = (value: number) => value >= smallestFloat32 && value <= largestFloat32;

/** The core computes in float32: a number that rounds to infinity or 0 there would change its meaning. */
export const nonNegativeFloat32 = numberKind("a number of at least 0", (value) => {
  if (value < 0) return "a number of at least 0";
  return value === 0 || fitsFloat32(value) ? undefined : `0 or a number ${float32Range}`;
});

export const positiveFloat32 = numberKind("a positive number", (value) => {
  if (value <= 0) return "a positive number";
  return fitsFloat32(value) ? undefined : `a number ${float32Range}`;
});

/** A number of a kind, or a word. */
export function numberOr<const T extends string>(kind: Kind<number>, word: T): Kind<number | T> {
  const expects = `${kind.expects} or "${word}"`;
  return {
    placeholder: `${kind.placeholder}|${word}`,
    expects,
    read: (text) => (text === word ? word : kind.read(text)),
    fault: (value) => (value === word ? undefined : isNumber(value) ? kind.fault(value) : expects),
  };
}

/** A decay rate: below 1 also after rounding to float32. */
export const belowOne = numberKind("a number in [0, 1)", (value) => {
  if (value < 0 || value >= 1) return "a number in [0, 1)";
  return value <= largestBeta ? undefined : "a number of at most 1 - 2^-24 (the largest float32 below 1)";
});

export function choice<const T extends string>(choices: readonly T[]): Kind<T> {
  const expects = `one of ${choices.join(", ")}`;
  return {
    placeholder: choices.join("|"),
    expects,
    read: (text) => choices.find((one) => one === text),
    fault: (value) => (choices.includes(value as T) ? undefined : expects),
  };
}

/** A subset of the known names, in any order; comma-separated on the command line. */
export function list<const T extends string>(known: readonly T[]): Kind<readonly T[]> {
  const expects = `some of ${known.join(", ")}, each once`;
  return {
    placeholder: "LIST",
    expects,
    read: (text) => text.split(",").map((part) => part.trim()) as T[],
    fault(value) {
      if (!Array.isArray(value) || value.length > known.length) return expects;
      const items = Array.from({ length: value.length }, (_, at) => value[at]);
      return items.every((item, at) => known.includes(item) && items.indexOf(item) === at) ? undefined : expects;
    },
  };
}

export const boolean: Kind<boolean> = {
  placeholder: undefined,
  expects: "true or false",
  read: () => undefined,
  fault: (value) => (typeof value === "boolean" ? undefined : "true or false"),
};

/** Kind of a flag without a value. */
export const noValue: Kind<boolean> = { ...boolean, expects: "no value" };

/** true, false or a word. */
export function booleanOr<const T extends string>(word: T): Kind<boolean | T> {
  const expects = `true, false or "${word}"`;
  const values: readonly (boolean | T)[] = [true, false, word];
  return {
    placeholder: word,
    expects,
    read: (text) => values.find((value) => String(value) === text),
    fault: (value) => (values.includes(value as T) ? undefined : expects),
  };
}

export function text(placeholder: string, expects = "a text that is not empty"): Kind<string> {
  return {
    placeholder,
    expects,
    read: (value) => value,
    fault: (value) => (typeof value === "string" && value !== "" ? undefined : expects),
  };
}

export function path(placeholder: string, expects = "a path"): Kind<string> {
  const { read, fault } = text(placeholder, expects);
  return {
    placeholder,
    expects,
    read,
    fault: (value) => fault(value) ?? ((value as string).includes("\0") ? expects : undefined),
  };
}

/** true, false, or a path. */
export function booleanOrPath(placeholder: string, expects: string): Kind<boolean | string> {
  const { read, fault } = path(placeholder, expects);
  return { placeholder, expects, read, fault: (value) => (typeof value === "boolean" ? undefined : fault(value)) };
}

/** A field that may be missing. */
export function optional<T>(kind: Kind<T>): Kind<T | undefined> {
  return { ...kind, fault: (value) => (value === undefined ? undefined : kind.fault(value)) };
}

type Fields = Readonly<Record<string, Kind<unknown>>>;

/** An object; each field has its own kind. The command line has a flag for each field. */
export function record<T extends object>(fields: Fields & { readonly [K in keyof T]-?: Kind<T[K]> }): Kind<T> {
  const expects = `{ ${Object.keys(fields).join(", ")} }`;
  return {
    placeholder: undefined,
    expects,
    read: () => undefined,
    fault: (value) => (typeof value === "object" ? undefined : expects),
    fields,
  };
}

/** true, false, or a value of another kind. */
export function booleanOrRecord<T extends object>(kind: Kind<T>): Kind<boolean | T> {
  const expects = `true, false or ${kind.expects}`;
  const fault = (value: unknown) => (typeof value === "boolean" || !kind.fault(value) ? undefined : expects);
  return { ...kind, expects, fault };
}

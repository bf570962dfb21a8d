/** Checks of callers' arguments. An invalid value, and an error thrown while reading one, becomes a RubricateError. */
import { invalid, RubricateError, reasonOf } from "./errors";
import { limits } from "./limits";
import { lettersOf, otherNameHint } from "./other_names";

/** The names of an interface's options. A missing or unknown name does not compile. */
export type OptionNames<T> = Readonly<Record<keyof T, true>>;

/** Edit distance: letters to change, insert, delete or swap with a neighbour to turn one word into the other. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      current[j] = Math.min(change, previous[j]! + 1, current[j - 1]! + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        current[j] = Math.min(current[j]!, before[j - 2]! + 1);
    }
    before = previous;
    previous = current;
  }
  return previous[b.length]!;
}

/** Whether `short` is a subsequence of `long`, as maxTokens is of maxNewTokens. */
function abbreviates(short: string, long: string): boolean {
  let at = 0;
  for (const letter of long) if (letter === short[at]) at++;
  return at === short.length && 3 * short.length >= 2 * long.length;
}

/** Longer names are not compared: that takes time, and no option name is similar. */
const longestName = 64;

/** "; did you mean NAME?" with the most similar name; empty if none is similar. */
export function suggestion(given: string, known: readonly string[]): string {
  if (given.length > longestName) return "";
  const other = otherNameHint(given, known);
  if (other !== undefined) return other;
  const letters = lettersOf(given);
  const [nearest] = known
    .map((name) => ({ name, away: distance(letters, lettersOf(name)) }))
    .sort((a, b) => a.away - b.away);
  if (nearest && nearest.away <= Math.max(1, given.length / 4)) return `; did you mean ${nearest.name}?`;
  const abbreviated = known.find((name) => abbreviates(letters, lettersOf(name)));
  return abbreviated === undefined ? "" : `; did you mean ${abbreviated}?`;
}

/**
 * Reads from a caller's object; its getters and proxies may throw anything.
 * @throws RubricateError ERR_ARGUMENT with the thrown value as its cause
 */
export function readArgument<T>(name: string, what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof RubricateError) throw cause;
    throw new RubricateError("ERR_ARGUMENT", `Expected ${what} for ${name} but reading it failed: ${reasonOf(cause)}`, {
      cause,
    });
  }
}

/** Tags of objects that are not records and whose class has no global name. */
const strangeTags = /^(Arguments|(Async)?Generator|(Async|Array|Map|Set|String|RegExp String) .*Iterator)$/;

/**
 * Whether a value is an object of named fields, including one of a caller's own class, which may define a tag. Promises,
 * maps, arrays and the like have tags that are names of global classes.
 */
export function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const tag = Object.prototype.toString.call(value).slice("[object ".length, -1);
  return tag === "Object" || !(tag in globalThis || strangeTags.test(tag));
}

/** Whether an object is some realm's Object.prototype. Properties that others add to it are ignored. */
function isObjectPrototype(value: object): boolean {
  return Object.getPrototypeOf(value) === null && Object.hasOwn(value, "isPrototypeOf");
}

/** Whether an object has an own property, or inherits it from an object other than Object.prototype. */
function hasOption(options: object, name: string): boolean {
  for (let from: object | null = options; from !== null; from = Object.getPrototypeOf(from)) {
    if (from !== options && isObjectPrototype(from)) return false;
    if (Object.hasOwn(from, name)) return true;
  }
  return false;
}

/** Objects without a prototype. Those made by `Object.create(null)` are slower. */
class Taken {
  [name: string]: unknown;
}
Object.setPrototypeOf(Taken.prototype, null);

/**
 * Copies the options of a call, own or inherited, except from Object.prototype. The copy has every name as an own property,
 * so that no lookup reaches a prototype.
 * @param what the function, for messages
 * @throws RubricateError ERR_ARGUMENT if it is not an object, or has an own field of another name that is not undefined
 */
export function checkOptions<T extends object>(options: T, names: OptionNames<T>, what: string): T {
  try {
    if (typeof options !== "object" || options === null) throw notOptions(options, what);
    const isPlain = Object.getPrototypeOf(options) === Object.prototype && !Array.isArray(options);
    if (!isPlain && !isRecord(options)) throw notOptions(options, what);
    const given = Object.keys(options);
    if (given.length > limits.optionFields)
      throw new RubricateError(
        "ERR_ARGUMENT",
        `Expected at most ${limits.optionFields} fields for the options of ${what} but received ${given.length}`,
      );
    for (const name of given)
      if (!Object.hasOwn(names, name) && options[name as keyof T] !== undefined)
        throw unknownOption(name, Object.keys(names), what);
    const taken = new Taken();
    for (const name of Object.keys(names)) {
      const has = isPlain ? Object.hasOwn(options, name) : hasOption(options, name);
      taken[name] = has ? options[name as keyof T] : undefined;
    }
    return taken as T;
  } catch (error) {
    return readArgument(`the options of ${what}`, "an object", () => {
      throw error;
    });
  }
}

function notOptions(options: unknown, what: string): RubricateError {
  return invalid(`the options of ${what}`, "an object", options);
}

function unknownOption(name: string, known: readonly string[], what: string): RubricateError {
  const shown = JSON.stringify(name.length > longestName ? `${name.slice(0, longestName)}...` : name);
  const meant =
    suggestion(name, known) || (known.length === 0 ? "; it has no options" : `; the options are ${known.join(", ")}`);
  return new RubricateError("ERR_ARGUMENT", `Unknown option ${shown} for ${what}${meant}`);
}

/** Whether an optional argument is not given. */
export function isMissing(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

/** A callback, or undefined if there is none. @throws RubricateError ERR_ARGUMENT */
export function functionOf<T>(name: string, value: T | null | undefined): T | undefined {
  if (isMissing(value)) return undefined;
  if (typeof value !== "function") throw invalid(name, "a function", value);
  return value;
}

/**
 * An AbortSignal of any realm or polyfill; undefined if there is none. Call this before any work starts: with an invalid
 * signal the work could not be stopped.
 * @throws RubricateError ERR_ARGUMENT
 */
export function signalOf(signal: AbortSignal | null | undefined): AbortSignal | undefined {
  if (isMissing(signal)) return undefined;
  const isSignal = readArgument(
    "signal",
    "an AbortSignal",
    () =>
      typeof signal === "object" &&
      typeof signal.aborted === "boolean" &&
      typeof signal.addEventListener === "function",
  );
  if (!isSignal) throw invalid("signal", "an AbortSignal", signal);
  return signal;
}

/** true or false. @throws RubricateError ERR_ARGUMENT */
export function booleanOf(name: string, value: boolean | null | undefined, fallback: boolean): boolean {
  const chosen = value ?? fallback;
  if (typeof chosen !== "boolean") throw invalid(name, "true or false", value);
  return chosen;
}

/** Checks that a path is one that a system call accepts. @throws RubricateError ERR_ARGUMENT */
export function pathOf(name: string, value: string): string {
  if (typeof value !== "string" || value === "" || value.includes("\0")) throw invalid(name, "a path", value);
  return value;
}

/** Copies a caller's array; holes become undefined. @throws RubricateError ERR_ARGUMENT */
export function listOf<T>(name: string, what: string, value: readonly T[], most = 2 ** 32): T[] {
  return readArgument(name, what, () => {
    if (!Array.isArray(value)) throw invalid(name, what, value);
    if (value.length > most) throw invalid(name, `at most ${most} elements`, value);
    return Array.from({ length: value.length }, (_, at) => value[at] as T);
  });
}

/** Length of an array or typed array of numbers. @throws RubricateError ERR_ARGUMENT if it is neither */
export function lengthOf(name: string, what: string, value: ArrayLike<number>): number {
  return readArgument(name, what, () => {
    const length: unknown = typeof value === "object" && value !== null ? value.length : undefined;
    if (!Number.isSafeInteger(length) || (length as number) < 0) throw invalid(name, what, value);
    return length as number;
  });
}

/**
 * Copies the integers of an array or typed array whose length has been checked.
 * @throws RubricateError ERR_ARGUMENT naming the first value that is not an integer in the range
 */
export function integersOf(
  name: string,
  value: ArrayLike<number>,
  length: number,
  least: number,
  most: number,
): Int32Array<ArrayBuffer> {
  const result = new Int32Array(length);
  readArgument(name, "integers", () => {
    for (let at = 0; at < length; at++) {
      const one = value[at]!;
      if (!Number.isInteger(one) || one < least || one > most)
        throw invalid(`${name}[${at}]`, `an integer from ${least} to ${most}`, one);
      result[at] = one;
    }
  });
  return result;
}

/** Checks of what callers pass. Everything that these refuse, and everything that reading it throws, is a RubricateError. */
import { invalid, RubricateError, reasonOf } from "./errors";
import { limits } from "./limits";

/** The names of an interface's options. A name that is forgotten here, or is none, does not compile. */
export type OptionNames<T> = Readonly<Record<keyof T, true>>;

/** Number of letters to change, add, drop or swap with a neighbour to make one word of another. */
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

/** Whether all letters of `short` occur in `long` in their order, as those of maxTokens do in maxNewTokens. */
function abbreviates(short: string, long: string): boolean {
  let at = 0;
  for (const letter of long) if (letter === short[at]) at++;
  return at === short.length && 3 * short.length >= 2 * long.length;
}

/** max_new_tokens, --max-new-tokens and maxNewTokens are the same word. */
const lettersOf = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, "");

/** Longer names are not looked up: comparing them takes time, and none of ours is near. */
const longestName = 64;

/** The name that was probably meant, as a question; empty where there is none like it. */
export function suggestion(given: string, known: readonly string[]): string {
  if (given.length > longestName) return "";
  const letters = lettersOf(given);
  const [nearest] = known
    .map((name) => ({ name, away: distance(letters, lettersOf(name)) }))
    .sort((a, b) => a.away - b.away);
  if (nearest && nearest.away <= Math.max(1, given.length / 4)) return `; did you mean ${nearest.name}?`;
  const abbreviated = known.find((name) => abbreviates(letters, lettersOf(name)));
  return abbreviated === undefined ? "" : `; did you mean ${abbreviated}?`;
}

/**
 * Reads from a caller's object, whose getters and proxies may throw anything.
 * @throws RubricateError ERR_ARGUMENT with that as its cause
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

/** Tags of objects that have no global name, and are no records. */
const strangeTags = /^(Arguments|(Async)?Generator|(Async|Array|Map|Set|String|RegExp String) .*Iterator)$/;

/**
 * Whether a value is an object of named fields: of a caller's own class, too, which may have a tag of its own. Promises, maps,
 * arrays and the like have tags that are names of global classes.
 */
export function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const tag = Object.prototype.toString.call(value).slice("[object ".length, -1);
  return tag === "Object" || !(tag in globalThis || strangeTags.test(tag));
}

/** Some realm's Object.prototype. What others add to it concerns no call. */
function isObjectPrototype(value: object): boolean {
  return Object.getPrototypeOf(value) === null && Object.hasOwn(value, "isPrototypeOf");
}

/** Whether an object has a property itself, or inherits it from something else than Object.prototype. */
function hasOption(options: object, name: string): boolean {
  for (let from: object | null = options; from !== null; from = Object.getPrototypeOf(from)) {
    if (from !== options && isObjectPrototype(from)) return false;
    if (Object.hasOwn(from, name)) return true;
  }
  return false;
}

/** Objects that inherit nothing. Those that `Object.create(null)` makes are slower. */
class Taken {
  [name: string]: unknown;
}
Object.setPrototypeOf(Taken.prototype, null);

/**
 * The options of a call: a copy of those that the object has itself or inherits, Object.prototype apart.
 * Each name is there, so that no copy of this finds it in a prototype.
 * @param what the function, for messages
 * @throws RubricateError ERR_ARGUMENT where it is no object, or has itself an option of another name that is not undefined
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
  const meant = suggestion(name, known) || `; the options are ${known.join(", ")}`;
  return new RubricateError("ERR_ARGUMENT", `Unknown option ${shown} for ${what}${meant}`);
}

/** Whether an optional argument is not given. */
export function isMissing(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

/** A callback, or undefined where there is none. @throws RubricateError ERR_ARGUMENT */
export function functionOf<T>(name: string, value: T | null | undefined): T | undefined {
  if (isMissing(value)) return undefined;
  if (typeof value !== "function") throw invalid(name, "a function", value);
  return value;
}

/**
 * An AbortSignal, of this realm, of another one, or a polyfill's; undefined where there is none. To be called before any
 * work begins, which could not be stopped later.
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

/** A path that a system call takes. @throws RubricateError ERR_ARGUMENT */
export function pathOf(name: string, value: string): string {
  if (typeof value !== "string" || value === "" || value.includes("\0")) throw invalid(name, "a path", value);
  return value;
}

/** An array of the caller's, copied; holes are undefined. @throws RubricateError ERR_ARGUMENT */
export function listOf<T>(name: string, what: string, value: readonly T[], most = 2 ** 32): T[] {
  return readArgument(name, what, () => {
    if (!Array.isArray(value)) throw invalid(name, what, value);
    if (value.length > most) throw invalid(name, `at most ${most} elements`, value);
    return Array.from({ length: value.length }, (_, at) => value[at] as T);
  });
}

/** How many numbers an array or typed array holds. @throws RubricateError ERR_ARGUMENT where it is neither */
export function lengthOf(name: string, what: string, value: ArrayLike<number>): number {
  return readArgument(name, what, () => {
    const length: unknown = typeof value === "object" && value !== null ? value.length : undefined;
    if (!Number.isSafeInteger(length) || (length as number) < 0) throw invalid(name, what, value);
    return length as number;
  });
}

/**
 * Integers of an array or typed array, copied; its length has been checked.
 * @throws RubricateError ERR_ARGUMENT naming the first that is none, or is out of range
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

import { isNativeError, isTypedArray } from "node:util/types";
import { isOfAnotherCopy, shareErrorClass } from "./copies";

/**
 * Every error this package throws or rejects with carries one of these codes. They are stable: code may branch on them.
 * `docs/errors.md` lists each with its remedy.
 */
export const errorCodes = {
  ERR_ABORTED: "The operation was stopped by its AbortSignal.",
  ERR_ARGUMENT: "An argument has the wrong type or value.",
  ERR_ADAPTER_FORMAT: "An adapter folder or file is malformed or incomplete.",
  ERR_ADAPTER_UNKNOWN: "An engine has no adapter, or no version of it, of this name.",
  ERR_BASE_MISMATCH: "The adapter was trained on another base model.",
  ERR_BUSY: "The object is in use by a running job.",
  ERR_CACHE_FULL: "A request or an adapter can never fit into an engine's memory.",
  ERR_CHECKPOINT: "A checkpoint is missing, incomplete or belongs to another run.",
  ERR_CONFIG: "A model's config.json is malformed or asks for something unsupported.",
  ERR_CONTEXT_LENGTH: "The input does not fit into the model's context.",
  ERR_DATA: "Training or evaluation data cannot be used.",
  ERR_DEADLINE: "A request did not end within its time.",
  ERR_DEVICE: "The requested device is not available.",
  ERR_DEVICE_LOST: "A GPU failed and cannot be used again in this process.",
  ERR_DISPOSED: "The object was disposed of.",
  ERR_DTYPE: "A tensor has the wrong dtype.",
  ERR_FILE: "A file cannot be read or written.",
  ERR_FOREIGN: "An object belongs to another environment, model or tape.",
  ERR_INTERNAL: "An invariant of this package was broken; please report it.",
  ERR_JSON: "A JSON document is malformed.",
  ERR_MERGE: "An adapter cannot be merged into its base.",
  ERR_NATIVE_LOAD: "The native addon could not be loaded.",
  ERR_NOT_FINITE: "A loss, gradient or weight is not finite.",
  ERR_OUT_OF_MEMORY: "Memory could not be allocated, or a thread could not be started.",
  ERR_PLAN: "The plan of an adapter's method is wrong.",
  ERR_QUEUE_FULL: "Too many requests are under way in an engine.",
  ERR_SAFETENSORS: "A safetensors file is malformed.",
  ERR_SHAPE: "A tensor has the wrong shape.",
  ERR_STATE: "The call is not allowed in the object's present state.",
  ERR_TEMPLATE: "A chat template failed or cannot be used.",
  ERR_TENSOR_MISSING: "A checkpoint lacks a tensor that the model needs.",
  ERR_TENSOR_UNEXPECTED: "A checkpoint holds a tensor that the model does not know.",
  ERR_TOKENIZER: "A tokenizer is missing, malformed or unsupported.",
  ERR_TORCH_FILE: "A file of torch.save is malformed or holds something other than tensors.",
} as const;

export type ErrorCode = keyof typeof errorCodes;

/**
 * The one error class of this package. `code` is stable, `message` is for people. `instanceof` holds also for the errors of
 * other copies of the package in the process.
 */
export class RubricateError extends Error {
  static {
    shareErrorClass(RubricateError);
  }

  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "RubricateError";
    this.code = code;
  }
}

/** A message shows at most this many characters of a value that came from a caller or a file. */
const shownLength = 80;

function shortened(text: string, length = shownLength): string {
  return text.length > length ? `${text.slice(0, length - 3)}...` : text;
}

/**
 * Formats text from a file, a model or a caller for a message: in quotation marks, control characters escaped, truncated. A
 * name of megabytes would fill the terminal, and escape sequences could control it.
 */
export function quoted(text: string): string {
  return formatJson(text);
}

/**
 * The same without the quotation marks.
 * @param length characters that are shown
 */
export function escaped(text: string, length = shownLength): string {
  return oneLine(shortened(text, length));
}

/**
 * Formats a value of a JSON file for a message, escaped and truncated as by `quoted`.
 * @param length characters that are shown
 */
export function formatJson(value: unknown, length = shownLength): string {
  if (typeof value === "string") return printable(JSON.stringify(shortened(value, length)));
  return printable(shortened(JSON.stringify(value) ?? "nothing", length));
}

/** The name of an object's class; `constructor` and its `name` may be any values. */
function classOf(value: object): string {
  const name: unknown = value.constructor?.name;
  return typeof name === "string" && name !== "" ? shortened(name) : "Object";
}

/** Says what a value is, in a few words. */
function describe(value: unknown): string {
  if (value === null || value === undefined) return `${value}`;
  if (typeof value === "number" || typeof value === "boolean") return `${value}`;
  if (typeof value === "string") return `${quoted(value)} of type string`;
  if (typeof value === "bigint")
    return BigInt.asIntN(64, value) === value ? `${value} of type bigint` : "a number of type bigint beyond 64 bits";
  if (typeof value === "symbol") return `${shortened(String(value))} of type symbol`;
  if (typeof value === "function") return "a function";
  try {
    if (Array.isArray(value)) return `an array of length ${value.length}`;
    const name = `an instance of ${classOf(value)}`;
    if (isTypedArray(value)) return `${name} of length ${value.length}`;
    return isOfAnotherCopy(value) ? `${name} of another copy of rubricate ("npm ls rubricate" shows them)` : name;
  } catch {
    return "an object that cannot be read"; // a revoked proxy, or a getter that throws
  }
}

/** The message of a thrown value, which need not be an Error. */
export function reasonOf(thrown: unknown): string {
  try {
    if (thrown instanceof Error || isNativeError(thrown)) return String(thrown.message); // the latter is another realm's
  } catch {
    // a message that cannot be read
  }
  return `${describe(thrown)} was thrown`;
}

/**
 * The error for a bad argument: "Expected WHAT for NAME but received VALUE".
 * @returns the error, to be thrown by the caller
 */
export function invalid(
  name: string,
  what: string,
  received: unknown,
  code: ErrorCode = "ERR_ARGUMENT",
): RubricateError {
  return new RubricateError(code, `Expected ${what} for ${name} but received ${describe(received)}`);
}

/** The system's reason for failing at a path, without the path: Node's messages end with the call and its path. */
export function systemReason(error: unknown, path: string): string {
  const message = reasonOf(error);
  const { syscall } = error as NodeJS.ErrnoException;
  const end = `, ${syscall} '${path}'`;
  return message.endsWith(end) ? message.slice(0, -end.length) : message;
}

/** The system's code of an error, such as "ENOENT". */
export function systemCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: matches control characters
const unprintable = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** Escapes control characters, so that text from models, files or names cannot control a terminal. Newlines and tabs stay. */
export function printable(text: string): string {
  return text.replace(unprintable, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Like `printable`, and escapes newlines: a message or a file name could otherwise forge a second line. */
export function oneLine(text: string): string {
  return printable(text).replaceAll("\n", "\\n");
}

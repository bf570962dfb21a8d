/**
 * Every error this package throws or rejects with carries one of these codes. They are stable: code may branch on them.
 * `docs/errors.md` lists each with its remedy.
 */
export const errorCodes = {
  ERR_ABORTED: "The operation was stopped by its AbortSignal.",
  ERR_ARGUMENT: "An argument has the wrong type or value.",
  ERR_ADAPTER_FORMAT: "An adapter folder or file is malformed or incomplete.",
  ERR_BASE_MISMATCH: "The adapter was trained on another base model.",
  ERR_BUSY: "The object is in use by a running job.",
  ERR_CHECKPOINT: "A checkpoint is missing, incomplete or belongs to another run.",
  ERR_CONFIG: "A model's config.json is malformed or asks for something unsupported.",
  ERR_CONTEXT_LENGTH: "The input does not fit into the model's context.",
  ERR_DATA: "Training or evaluation data cannot be used.",
  ERR_DEVICE: "The requested device is not available.",
  ERR_DEVICE_LOST: "A GPU failed and cannot be used again in this process.",
  ERR_DISPOSED: "The object was disposed of.",
  ERR_DTYPE: "A tensor has the wrong dtype.",
  ERR_FILE: "A file cannot be read or written.",
  ERR_FOREIGN: "An object belongs to another environment, model or tape.",
  ERR_INTERNAL: "An invariant of this package was broken; please report it.",
  ERR_JSON: "A JSON document is malformed.",
  ERR_NATIVE_LOAD: "The native addon could not be loaded.",
  ERR_NOT_FINITE: "A loss, gradient or weight is not finite.",
  ERR_OUT_OF_MEMORY: "Memory could not be allocated, or a thread could not be started.",
  ERR_SAFETENSORS: "A safetensors file is malformed.",
  ERR_SHAPE: "A tensor has the wrong shape.",
  ERR_STATE: "The call is not allowed in the object's present state.",
  ERR_TEMPLATE: "A chat template failed or cannot be used.",
  ERR_TENSOR_MISSING: "A checkpoint lacks a tensor that the model needs.",
  ERR_TENSOR_UNEXPECTED: "A checkpoint holds a tensor that the model does not know.",
  ERR_TOKENIZER: "A tokenizer is missing, malformed or unsupported.",
} as const;

export type ErrorCode = keyof typeof errorCodes;

/** The one error class of this package. `code` is stable, `message` is for people. */
export class RubricateError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "RubricateError";
    this.code = code;
  }
}

/** Characters of a caller's value that a message shows. */
const shownLength = 80;

function shortened(text: string): string {
  return text.length > shownLength ? `${text.slice(0, shownLength - 3)}...` : text;
}

/** The class of an object; its constructor and its name can be anything. */
function classOf(value: object): string {
  const name: unknown = value.constructor?.name;
  return typeof name === "string" && name !== "" ? shortened(name) : "Object";
}

/** Says what a value is, in a few words. */
function describe(value: unknown): string {
  if (value === null || value === undefined) return `${value}`;
  if (typeof value === "string") return `${JSON.stringify(shortened(value))} of type string`;
  if (typeof value === "bigint" && BigInt.asIntN(64, value) !== value) return "a number of type bigint beyond 64 bits";
  if (typeof value === "symbol") return `${shortened(String(value))} of type symbol`;
  if (typeof value === "function") return "a function";
  if (typeof value !== "object") return `${value} of type ${typeof value}`;
  try {
    return Array.isArray(value) ? `an array of length ${value.length}` : `an instance of ${classOf(value)}`;
  } catch {
    return "an object that cannot be read"; // a revoked proxy, or a getter that throws
  }
}

/** Why something failed, of whatever was thrown. */
export function reasonOf(thrown: unknown): string {
  try {
    if (thrown instanceof Error) return String(thrown.message);
  } catch {
    // a message that cannot be read
  }
  return `${describe(thrown)} was thrown`;
}

/**
 * The one sentence for a bad argument: "Expected WHAT for NAME but received VALUE".
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

/** The code that the system gave an error, such as "ENOENT". */
export function systemCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

/**
 * JSON from files. `JSON.parse` takes any depth and any number of values, but what walks through its result overflows the
 * stack, and a value of two bytes takes thirty times that in memory. Both are counted before anything is parsed.
 */
import { type ErrorCode, oneLine, RubricateError } from "../errors";
import { limits } from "../limits";
import { readBytes } from "./read";

/** What a JSON document calls an object. */
export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A document that is larger than documents of its kind may be. */
export class JsonLimit extends SyntaxError {}

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const [openArray, closeArray, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Counts values and levels of a JSON text. What is no JSON passes; `JSON.parse` says why it is none.
 * @param bytes UTF-8
 * @param values how many there may be
 * @throws JsonLimit
 */
export function checkShape(
  bytes: Uint8Array,
  values: number,
  start = 0,
  end = bytes.length,
  nesting: number = limits.jsonNesting,
): void {
  let count = 1;
  let depth = 0;
  let inString = false;
  for (let at = start; at < end; at++) {
    const byte = bytes[at];
    if (byte === quote) inString = !inString;
    else if (inString) {
      if (byte === backslash) at++;
    } else if (byte === comma) count++;
    else if (byte === openArray || byte === openObject) {
      count++;
      if (++depth > nesting) throw new JsonLimit(`it is nested more than ${nesting} levels deep`);
    } else if (byte === closeArray || byte === closeObject) depth--;
    if (count > values) throw new JsonLimit(`it has more than ${values} values`);
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Parses a small document.
 * @param name of the file, for messages
 * @param code of the error where it is malformed
 * @throws RubricateError with that code
 */
export function parseJson(document: string | Uint8Array, name: string, code: ErrorCode = "ERR_JSON"): unknown {
  const bytes = typeof document === "string" ? Buffer.from(document) : document;
  try {
    checkShape(bytes, limits.documentValues);
    return JSON.parse(typeof document === "string" ? document : utf8.decode(bytes));
  } catch (cause) {
    if (cause instanceof JsonLimit) throw new RubricateError(code, `Cannot use ${name}: ${cause.message}`, { cause });
    const reason = cause instanceof SyntaxError ? cause.message : "it is not valid UTF-8";
    throw new RubricateError(code, `Expected JSON in ${name}: ${oneLine(reason)}`, { cause });
  }
}

/**
 * Reads a small JSON file.
 * @param code of the error where it is malformed
 * @throws RubricateError ERR_FILE when it cannot be read, else with that code
 */
export async function readJson(path: string, code: ErrorCode = "ERR_JSON"): Promise<unknown> {
  return parseJson(await readBytes(path, limits.documentBytes), path, code);
}

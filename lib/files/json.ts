/** JSON from files, whose values, levels and memory are counted before anything is parsed. */
import { type ErrorCode, oneLine, RubricateError } from "../errors";
import { limits } from "../limits";
import { atOnce } from "../steps";
import { checkShape, JsonLimit } from "./json_shape";
import { readBytes } from "./read";

/** What a JSON document calls an object. */
export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
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
    atOnce(checkShape(bytes, limits.documentValues));
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

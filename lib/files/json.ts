/** Parses JSON from files after counting its values, levels and memory. */
import { type ErrorCode, oneLine, RubricateError } from "../errors";
import { limits } from "../limits";
import { atOnce } from "../steps";
import { checkShape, JsonLimit } from "./json_shape";
import { readBytes } from "./read";

/** An object of a JSON document. */
export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Parses a small document.
 * @param name of the file, for messages
 * @param code of the error if it is malformed
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
 * @param code of the error if it is malformed
 * @throws RubricateError ERR_FILE if it cannot be read, else with that code
 */
export async function readJson(path: string, code: ErrorCode = "ERR_JSON"): Promise<unknown> {
  return parseJson(await readBytes(path, limits.documentBytes), path, code);
}

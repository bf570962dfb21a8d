/** adapter_config.json of a method without a format of its own: its configuration, and what the adapter was trained with. */
import { RubricateError } from "../errors";
import type { JsonObject } from "../files/json";
import { type AdapterOrigin, Fields, parseOriginFields } from "./config";

/** Version 1 of the format. The plan is not in the file: it follows from the configuration and the base. */
export interface MethodFileConfig extends AdapterOrigin {
  readonly kind: string;
  readonly config: JsonObject;
  /** Of the base: its number of layers, and the width of its residual stream. */
  readonly layers: number;
  readonly hidden: number;
}

const isSize = (value: unknown) => Number.isSafeInteger(value) && (value as number) > 0;
const isRecord = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Reads a configuration strictly, all but `config`, which the method checks.
 * @param path for messages
 * @throws RubricateError ERR_ADAPTER_FORMAT naming the field and the value
 */
export function parseMethodConfig(document: JsonObject, path: string): MethodFileConfig {
  const fields = new Fields(document, path, [
    "format",
    "kind",
    "config",
    "layers",
    "hidden",
    "base",
    "tokenizer",
    "rubricate",
  ]);
  fields.get("format", "1", (value) => value === 1);
  return {
    format: 1,
    kind: fields.text("kind"),
    config: fields.get("config", "an object", isRecord),
    layers: fields.get("layers", "a positive integer", isSize),
    hidden: fields.get("hidden", "a positive integer", isSize),
    ...parseOriginFields(fields, path),
  };
}

/** @throws RubricateError ERR_ADAPTER_FORMAT if the adapter is for a model of other sizes */
export function requireSizes(file: MethodFileConfig, folder: string, layers: number, hidden: number): void {
  if (file.layers === layers && file.hidden === hidden) return;
  throw new RubricateError(
    "ERR_ADAPTER_FORMAT",
    `Expected an adapter for ${layers} layers of width ${hidden} in ${folder} but it is for ${file.layers} of width ${file.hidden}`,
  );
}

/** adapter_config.json of a method without a format of its own: its configuration, and what the adapter was trained with. */
import { createHash } from "node:crypto";
import { RubricateError } from "../errors";
import { isObject, type JsonObject } from "../files/json";
import { type AdapterOrigin, Fields, isHash, parseOriginFields } from "./config";
import type { AdapterPlan } from "./plan";

/** Version 1 of the format. The plan is not in the file: it follows from the configuration and the base. */
export interface MethodFileConfig extends AdapterOrigin {
  readonly kind: string;
  readonly config: JsonObject;
  /** Of the base: its number of layers, and the width of its residual stream. */
  readonly layers: number;
  readonly hidden: number;
  /** SHA-256 of the plan's constants, in hexadecimal; null: it has none. */
  readonly constants: string | null;
}

const isSize = (value: unknown) => Number.isSafeInteger(value) && (value as number) > 0;

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
    "constants",
    "base",
    "tokenizer",
    "rubricate",
  ]);
  fields.get("format", "1", (value) => value === 1);
  return {
    format: 1,
    kind: fields.text("kind"),
    config: fields.get("config", "an object", isObject),
    layers: fields.get("layers", "a positive integer", isSize),
    hidden: fields.get("hidden", "a positive integer", isSize),
    constants: fields.get("constants", "64 hexadecimal digits, or null", (value) => value === null || isHash(value)),
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

/**
 * SHA-256 of a plan's constants, in hexadecimal: names, shapes and values. A folder has no constants; their method makes them again.
 * Those of the base do not count: a folder has the fingerprint of its base.
 */
export function hashOfConstants({ constants = [] }: AdapterPlan): string | null {
  const own = constants.filter(({ ofBase }) => !ofBase);
  if (own.length === 0) return null;
  const hash = createHash("sha256");
  for (const { name, shape, values } of own) hash.update(JSON.stringify([name, shape])).update(values!);
  return hash.digest("hex");
}

/** @throws RubricateError ERR_ADAPTER_FORMAT if the method makes other constants than those that the adapter was trained with */
export function requireConstants(file: MethodFileConfig, plan: AdapterPlan, path: string): void {
  const made = hashOfConstants(plan);
  if (file.constants === made) return;
  throw new RubricateError(
    "ERR_ADAPTER_FORMAT",
    `Expected constants with SHA-256 ${file.constants ?? "null, none,"} from method ${file.kind}, as in ${path}, but it makes ` +
      `${made ?? "none"}: the adapter was trained with others`,
  );
}

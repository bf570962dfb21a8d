import { formatJson, RubricateError } from "../errors";
import { isObject, type JsonObject, parseJson } from "../files/json";
import { mergePeft, peftLoaders } from "../files/not_a_folder";
import type { NativeLinearSite } from "../native";

/** Vectors of a site: scale and bias, one of the two, or both followed by a layer norm. */
export type RedVariant = "all" | "scale" | "bias" | "ln";
/** The projection whose output is edited: down_proj, o_proj, q_proj, k_proj, v_proj, gate_proj, up_proj. */
export type RedSite = "ffn" | "attention" | "q" | "k" | "v" | "gate" | "up";

export const redVariants: readonly RedVariant[] = ["all", "scale", "bias", "ln"];

export const nativeSites: Readonly<Record<RedSite, NativeLinearSite>> = {
  ffn: "down_proj",
  attention: "o_proj",
  q: "q_proj",
  k: "k_proj",
  v: "v_proj",
  gate: "gate_proj",
  up: "up_proj",
};

/** The linear layers of a block, in the order in which their parameters lie. */
export const linearModules: readonly NativeLinearSite[] = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
];

/** A site's place in a layer, such as "mlp.down_proj". */
export function sitePath(site: RedSite): string {
  return `${["ffn", "gate", "up"].includes(site) ? "mlp" : "self_attn"}.${nativeSites[site]}`;
}

export const redSites = Object.keys(nativeSites) as readonly RedSite[];

/** The sites and layers that an adapter edits. */
export interface RedAdapterConfig {
  readonly variant: RedVariant;
  readonly sites: readonly RedSite[];
  /** Ascending, from 0. */
  readonly layers: readonly number[];
  /** Width of the model's residual stream. */
  readonly hidden: number;
}

/** What an adapter was trained with, and what wrote it. */
export interface AdapterOrigin {
  readonly format: 1;
  /** The base that it was trained on: fingerprints (SHA-256 in hexadecimal) and, for people, the folder's name. */
  readonly base: { readonly architecture: string; readonly weights: string; readonly name: string };
  /**
   * SHA-256 in hexadecimal of the tokenizer with its chat template, and of the default chat template only (null if there is
   * none); null if the base has no tokenizer. Adapters of earlier versions lack `template`.
   */
  readonly tokenizer: { readonly hash: string; readonly template?: string | null } | null;
  /** Version of the package that wrote it. */
  readonly rubricate: string;
}

/** adapter_config.json of a RED adapter, version 1 of the format. */
export interface AdapterFileConfig extends RedAdapterConfig, AdapterOrigin {
  readonly kind: "red";
}

/** Reads fields strictly: every field must be present and of its type; other fields are errors. */
export class Fields {
  constructor(
    private readonly value: JsonObject,
    private readonly where: string,
    names: readonly string[],
  ) {
    for (const name of Object.keys(value))
      if (!names.includes(name)) throw malformed(where, `no field other than ${names.join(", ")}`, name);
    for (const name of names) if (!Object.hasOwn(value, name)) throw malformed(where, `a field "${name}"`, undefined);
  }

  get<T>(name: string, what: string, holds: (value: unknown) => boolean): T {
    const value = this.value[name];
    if (!holds(value)) throw malformed(`${this.where}: ${name}`, what, value);
    return value as T;
  }

  text(name: string): string {
    return this.get(name, "a string", (value) => typeof value === "string");
  }

  hash(name: string): string {
    return this.get(name, "64 hexadecimal digits", isHash);
  }
}

/** Whether a field is a SHA-256, in hexadecimal. */
export const isHash = (value: unknown) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);

function malformed(where: string, what: string, received: unknown): RubricateError {
  return new RubricateError("ERR_ADAPTER_FORMAT", `Expected ${what} in ${where} but received ${formatJson(received)}`);
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/**
 * Parses an adapter_config.json. It must match the format exactly: an adapter with fields unknown to this version cannot be
 * run by it.
 * @param path for messages
 * @throws RubricateError ERR_ADAPTER_FORMAT naming the field and the value
 */
export function parseAdapterConfig(text: string, path: string): AdapterFileConfig {
  const document = parseJson(text, path, "ERR_ADAPTER_FORMAT");
  if (!isObject(document)) throw malformed(path, "an object", document);
  if (document.peft_type !== undefined)
    throw new RubricateError(
      "ERR_ADAPTER_FORMAT",
      `Expected a RED adapter but ${path} is one of PEFT (peft_type ${formatJson(document.peft_type)})` +
        (peftLoaders.has(document.peft_type)
          ? `: load it with ${peftLoaders.get(document.peft_type)}`
          : `, which cannot be loaded. ${mergePeft}`),
    );
  if (document.format !== 1) throw malformed(`${path}: format`, "1", document.format);
  if (document.kind !== "red")
    throw malformed(`${path}: kind`, '"red" (loadAdapter loads adapters of any method)', document.kind);
  const names = ["kind", "variant", "sites", "layers", "hidden", ...originNames];
  const fields = new Fields(document, path, names);
  return {
    format: 1,
    kind: "red",
    variant: fields.get("variant", `one of ${redVariants.join(", ")}`, (v) => redVariants.includes(v as RedVariant)),
    sites: fields.get("sites", `some of ${redSites.join(", ")}, each once`, (v) => isSiteList(v)),
    layers: fields.get("layers", "ascending layer numbers", (v) => isLayerList(v)),
    hidden: fields.get("hidden", "a positive integer", (v) => isCount(v) && v > 0),
    ...parseOriginFields(fields, path),
  };
}

const originNames = ["format", "base", "tokenizer", "rubricate"];

/**
 * Parses an origin that is an object of its own.
 * @param where for messages
 * @throws RubricateError ERR_ADAPTER_FORMAT naming the field and the value
 */
export function parseOrigin(value: unknown, where: string): AdapterOrigin {
  if (!isObject(value)) throw malformed(where, "an object", value);
  if (value.format !== 1) throw malformed(`${where}: format`, "1", value.format);
  return { format: 1, ...parseOriginFields(new Fields(value, where, originNames), where) };
}

/** The origin among the fields of a document. @throws RubricateError ERR_ADAPTER_FORMAT */
export function parseOriginFields(fields: Fields, where: string): Omit<AdapterOrigin, "format"> {
  const base = new Fields(fields.get<JsonObject>("base", "an object", isObject), `${where}: base`, [
    "architecture",
    "weights",
    "name",
  ]);
  const tokenizer = fields.get<JsonObject | null>("tokenizer", "an object or null", (v) => v === null || isObject(v));
  return {
    base: { architecture: base.hash("architecture"), weights: base.hash("weights"), name: base.text("name") },
    tokenizer: tokenizer && tokenizerHashes(tokenizer, `${where}: tokenizer`),
    rubricate: fields.text("rubricate"),
  };
}

function tokenizerHashes(value: JsonObject, where: string): AdapterOrigin["tokenizer"] {
  const hasTemplate = Object.hasOwn(value, "template");
  const fields = new Fields(value, where, hasTemplate ? ["hash", "template"] : ["hash"]);
  const hash = fields.text("hash");
  if (!hasTemplate) return { hash };
  return { hash, template: value.template === null ? null : fields.hash("template") };
}

/** Whether a value is a list of at least one known site, each once. */
export function isSiteList(value: unknown): value is RedSite[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((site, at) => redSites.includes(site) && value.indexOf(site) === at)
  );
}

function isLayerList(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((layer, at) => isCount(layer) && (at === 0 || layer > value[at - 1]))
  );
}

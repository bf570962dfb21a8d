/** adapter_config.json of an (IA)3 adapter: PEFT's IA3Config, with an object "rubricate" of what PEFT does not record. */
import type { JsonObject } from "../files/json";
import type { ModelDescription } from "../model/architecture";
import { type AdapterOrigin, parseOrigin } from "./config";
import { isModuleChoice, type LoraModule, loraModules } from "./lora_config";
import { PeftFields } from "./peft_config";
import { type TargetedModules, targetedModules, targetNames } from "./peft_targets";

/** A linear layer of each block, by the name of its module. */
export type Ia3Module = LoraModule;

export const ia3Modules: readonly Ia3Module[] = loraModules;

/** The target modules unless others are named: those of the paper. */
export const usualTargets: readonly Ia3Module[] = ["k_proj", "v_proj", "down_proj"];

/** What an (IA)3 adapter changes: all layers of the model. */
export interface Ia3AdapterConfig {
  /** The linear layers that it scales. */
  readonly targetModules: readonly Ia3Module[];
  /** Those of them whose input is scaled; of the others it is the output. */
  readonly feedforwardModules: readonly Ia3Module[];
}

/** An adapter_config.json that was read. */
export interface Ia3FileConfig extends Ia3AdapterConfig, Pick<TargetedModules, "stored"> {
  /** The layers of full names of modules; undefined: all of the model, which an adapter must have. */
  readonly layers: readonly number[] | undefined;
  /** The base and the tokenizer that it was trained with; undefined if PEFT wrote the folder. */
  readonly origin: AdapterOrigin | undefined;
}

const ignored = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "inference_mode",
  "init_ia3_weights",
  "peft_version",
  "revision",
]);

const known = new Set([
  "peft_type",
  "task_type",
  "target_modules",
  "feedforward_modules",
  "fan_in_fan_out",
  "rubricate",
]);

/** The feed-forward modules unless others are named: as in PEFT. */
export const usualFeedforward = (targetModules: readonly Ia3Module[]) =>
  targetModules.filter((name) => name === "down_proj");

/** Whether a value is a list of modules, each once; it may be empty. */
export function isModuleList(value: unknown): value is readonly Ia3Module[] {
  return Array.isArray(value) && (value.length === 0 || isModuleChoice(value));
}

/**
 * Reads an (IA)3 adapter's configuration that PEFT or this package wrote.
 * @param path for messages
 * @param base whose stored layers may be named, as PEFT does; without it only the model's own
 * @throws RubricateError ERR_ADAPTER_FORMAT naming the field and the value
 */
export function parseIa3Config(document: JsonObject, path: string, base?: ModelDescription): Ia3FileConfig {
  const fields = new PeftFields(document, path);
  fields.takeOneOf("peft_type", '"IA3"', ["IA3"]);
  fields.takeOneOf("task_type", '"CAUSAL_LM" or null', [undefined, null, "CAUSAL_LM"]);
  fields.requireNoOther(known, ignored);
  const target = fields.read("target_modules", `"all-linear" or ${targetNames(base)}`, (value) =>
    targetedModules(value, base),
  );
  fields.takeOneOf("fan_in_fan_out", "false", [undefined, false, ...(target.transposed ? [true] : [])]);
  const targetModules = target.modules;
  const given = fields.read("feedforward_modules", `${targetNames(base)} or null`, (value) =>
    value === undefined || value === null
      ? { modules: usualFeedforward(targetModules), layers: undefined }
      : Array.isArray(value)
        ? feedforwardIn(value, target, base)
        : undefined,
  );
  const isTarget = given.modules.every((name) => targetModules.includes(name));
  if (!isTarget || (given.layers && given.layers.join() !== target.layers?.join()))
    throw fields.wrong("feedforward_modules", `names of target_modules (${targetModules.join(", ")})`);
  return {
    targetModules,
    feedforwardModules: given.modules,
    layers: target.layers,
    stored: target.stored,
    origin: document.rubricate === undefined ? undefined : parseOrigin(document.rubricate, `${path}: rubricate`),
  };
}

/** What the list of feed-forward modules names: it may be empty, and has the kind of names that the targets have. */
function feedforwardIn(
  value: readonly unknown[],
  { stored }: TargetedModules,
  base: ModelDescription | undefined,
): Pick<TargetedModules, "modules" | "layers"> | undefined {
  if (value.length === 0) return { modules: [], layers: undefined };
  const named = targetedModules(value, base, stored !== undefined);
  return named && { modules: named.modules, layers: named.layers };
}

/** The document of an adapter, as PEFT reads it. */
export function ia3Document(
  { targetModules, feedforwardModules }: Ia3AdapterConfig,
  origin: AdapterOrigin,
): JsonObject {
  return {
    peft_type: "IA3",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: origin.base.name,
    target_modules: targetModules,
    feedforward_modules: feedforwardModules,
    fan_in_fan_out: false,
    inference_mode: true,
    init_ia3_weights: true,
    modules_to_save: null,
    rubricate: origin,
  };
}

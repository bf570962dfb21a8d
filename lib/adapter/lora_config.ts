/**
 * adapter_config.json of a LoRA adapter: PEFT's LoraConfig, with an object "rubricate" of what PEFT does not record. A field
 * that would change the mathematics and is not computed here is refused by name.
 */
import type { JsonObject } from "../files/json";
import { limits } from "../limits";
import type { ModelDescription } from "../model/architecture";
import { type AdapterOrigin, linearModules, parseOrigin } from "./config";
import { PeftFields } from "./peft_config";
import { type TargetedModules, targetedModules, targetNames } from "./peft_targets";

/** A linear layer of each block, by the name of its module. */
export type LoraModule = "q_proj" | "k_proj" | "v_proj" | "o_proj" | "gate_proj" | "up_proj" | "down_proj";

export const loraModules: readonly LoraModule[] = linearModules;

/** What a LoRA adapter changes. */
export interface LoraAdapterConfig {
  /** Rows of A, columns of B. */
  readonly rank: number;
  /** The update is alpha / rank * B A; with `rankStabilized` alpha / sqrt(rank) * B A. */
  readonly alpha: number;
  readonly targetModules: readonly LoraModule[];
  /** Ascending, from 0. */
  readonly layers: readonly number[];
  readonly rankStabilized: boolean;
}

/** By what the product B (A x) is multiplied. */
export function loraFactor({ rank, alpha, rankStabilized }: LoraAdapterConfig): number {
  return Math.fround(alpha / (rankStabilized ? Math.sqrt(rank) : rank));
}

/** An adapter_config.json that was read. */
export interface LoraFileConfig extends Omit<LoraAdapterConfig, "layers">, Pick<TargetedModules, "stored"> {
  /** undefined: all of the model. */
  readonly layers: readonly number[] | undefined;
  /** The base and the tokenizer that it was trained with; undefined if PEFT wrote the folder. */
  readonly origin: AdapterOrigin | undefined;
}

/** Fields that change nothing in what a trained adapter computes. */
const ignored = new Set([
  "arrow_config",
  "auto_mapping",
  "base_model_name_or_path",
  "corda_config",
  "ensure_weight_tying",
  "eva_config",
  "inference_mode",
  "layers_pattern",
  "loftq_config",
  "lora_dropout",
  "lora_ga_config",
  "megatron_core",
  "peft_version",
  "qalora_group_size",
  "revision",
  "runtime_config",
]);

/** Fields that are read. */
const known = new Set([
  "peft_type",
  "task_type",
  "r",
  "lora_alpha",
  "target_modules",
  "layers_to_transform",
  "use_rslora",
  "bias",
  "fan_in_fan_out",
  "init_lora_weights",
  "rubricate",
]);

/** Starts that leave the base's weights as they are; others subtract from them, so that the base would be another. */
const starts: readonly unknown[] = [undefined, true, false, "gaussian", "eva", "orthogonal"];

const isPositive = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;

/**
 * Reads a LoRA adapter's configuration that PEFT or this package wrote.
 * @param path for messages
 * @param base whose stored layers may be named, as PEFT does; without it only the model's own
 * @throws RubricateError ERR_ADAPTER_FORMAT naming the field and the value
 */
export function parseLoraConfig(document: JsonObject, path: string, base?: ModelDescription): LoraFileConfig {
  const fields = new PeftFields(document, path);
  fields.takeOneOf("peft_type", '"LORA"', ["LORA"]);
  fields.takeOneOf("task_type", '"CAUSAL_LM" or null', [undefined, null, "CAUSAL_LM"]);
  fields.takeOneOf("bias", '"none"', [undefined, "none"]);
  fields.takeOneOf("init_lora_weights", "a start that leaves the base as it is", starts);
  fields.requireNoOther(known, ignored);
  const isRank = (value: unknown): value is number => isPositive(value) && value <= limits.mostLoraRank;
  const isAlpha = (value: unknown): value is number => typeof value === "number" && Number.isFinite(Math.fround(value));
  const target = fields.read("target_modules", `"all-linear" or ${targetNames(base)}`, (value) =>
    targetedModules(value, base),
  );
  fields.takeOneOf("fan_in_fan_out", "false", [undefined, null, false, ...(target.transposed ? [true] : [])]);
  const layers = layersOf(fields.take("layers_to_transform", "ascending layer numbers, one, or null", isLayerChoice));
  if (layers && target.layers) throw fields.wrong("layers_to_transform", "null beside full names in target_modules");
  return {
    rank: fields.take("r", `an integer from 1 to ${limits.mostLoraRank}`, isRank),
    alpha: fields.take("lora_alpha", "a number", isAlpha),
    targetModules: target.modules,
    layers: target.layers ?? layers,
    stored: target.stored,
    rankStabilized: fields.takeOneOf("use_rslora", "true or false", [undefined, true, false]) === true,
    origin: document.rubricate === undefined ? undefined : parseOrigin(document.rubricate, `${path}: rubricate`),
  };
}

type ModuleChoice = "all-linear" | readonly LoraModule[];

/** Whether a value is "all-linear" or a list of at least one module, each once. */
export function isModuleChoice(value: unknown): value is ModuleChoice {
  if (value === "all-linear") return true;
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((name, at) => loraModules.includes(name) && value.indexOf(name) === at)
  );
}

/** In the order of a block. */
export function modulesOf(choice: ModuleChoice, gated = true): LoraModule[] {
  if (choice !== "all-linear") return loraModules.filter((name) => choice.includes(name));
  return loraModules.filter((name) => gated || name !== "gate_proj");
}

const isLayer = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) < limits.maxLayers;

type LayerChoice = undefined | null | number | readonly number[];

function isLayerChoice(value: unknown): value is LayerChoice {
  if (value === undefined || value === null || isLayer(value)) return true;
  return Array.isArray(value) && value.length > 0 && value.every(isLayer) && new Set(value).size === value.length;
}

function layersOf(choice: LayerChoice): number[] | undefined {
  if (choice === undefined || choice === null) return undefined;
  return typeof choice === "number" ? [choice] : [...choice].sort((a, b) => a - b);
}

/** The document of an adapter, as PEFT reads it. `layerCount`: of the model. */
export function loraDocument(config: LoraAdapterConfig, layerCount: number, origin: AdapterOrigin): JsonObject {
  const { rank, alpha, targetModules, layers, rankStabilized } = config;
  return {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: origin.base.name,
    r: rank,
    lora_alpha: alpha,
    target_modules: targetModules,
    layers_to_transform: layers.length === layerCount ? null : layers,
    use_rslora: rankStabilized,
    lora_dropout: 0,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: null,
    rubricate: origin,
  };
}

/**
 * Lists of modules in PEFT's adapter_config.json. A name there is any end of a module's full name; these are read: "k_proj",
 * "self_attn.k_proj", "model.layers.0.self_attn.k_proj". PEFT writes full names for "all-linear".
 */
import { limits } from "../limits";
import type { NativeLinearSite } from "../native";
import { linearModules } from "./config";

/** What a list names. */
export interface NamedModules {
  /** In the order of a block. */
  readonly modules: readonly NativeLinearSite[];
  /** The layers of full names, ascending; undefined: all of the model. */
  readonly layers: readonly number[] | undefined;
}

/** What is expected, for messages. */
export const moduleNames =
  `some of ${linearModules.join(", ")}, each once, alone or as in self_attn.q_proj, or by full names ` +
  "(model.layers.0.self_attn.q_proj) that are the same in each layer,";

const attention = /^[qkvo]_proj$/;
const namePattern = /^(?:(?:model\.)?layers\.(0|[1-9]\d{0,4})\.(?=\w+\.))?(?:(self_attn|mlp)\.)?(\w+)$/;

interface NamedModule {
  readonly module: NativeLinearSite;
  readonly layer: number | undefined;
}

function namedModule(name: unknown): NamedModule | undefined {
  const [, layer, half, module] = (typeof name === "string" && namePattern.exec(name)) || [];
  if (!linearModules.includes(module as NativeLinearSite)) return undefined;
  if (half !== undefined && half !== (attention.test(module!) ? "self_attn" : "mlp")) return undefined;
  if (layer !== undefined && Number(layer) >= limits.maxLayers) return undefined;
  return { module: module as NativeLinearSite, layer: layer === undefined ? undefined : Number(layer) };
}

/**
 * The modules that a field names: each once, and if by full names, the same in each of the layers.
 * @returns undefined if it names others, or is no list
 */
export function namedModules(value: unknown): NamedModules | undefined {
  if (value === "all-linear") return { modules: linearModules, layers: undefined };
  if (!Array.isArray(value) || value.length > linearModules.length * limits.maxLayers) return undefined;
  const layers = new Set<number | undefined>();
  const modules = new Set<NativeLinearSite>();
  const named = new Set<string>();
  for (const name of value) {
    const found = namedModule(name);
    if (!found) return undefined;
    layers.add(found.layer);
    modules.add(found.module);
    named.add(`${found.layer} ${found.module}`);
  }
  // As many names as pairs, none twice: exactly all pairs.
  if (named.size !== value.length || named.size !== layers.size * modules.size) return undefined;
  const isFull = layers.size > 0 && !layers.has(undefined);
  if (!isFull && layers.size > 1) return undefined;
  return {
    modules: linearModules.filter((name) => modules.has(name)),
    layers: isFull ? ([...layers] as number[]).sort((a, b) => a - b) : undefined,
  };
}

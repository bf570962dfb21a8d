import type { ModelDescription } from "../model/architecture";
import type { Ia3AdapterConfig } from "./ia3_config";
import { ia3Suffix } from "./ia3_plan";
import type { LoraAdapterConfig } from "./lora_config";
import { outputsOf, type StoredLayer, StoredLayers } from "./peft_stored";
import type { FolderLayout, StoredParameter } from "./read_parameters";

/** What PEFT puts before the names of the model that it wraps. */
export const wrapped = "base_model.model.";
/** The same before the model's own names. */
const ownPrefix = `${wrapped}model.`;

/** Each stored layer of each edited block. */
function* placesOf(names: StoredLayers, stored: readonly StoredLayer[], layers: Iterable<number>) {
  for (const layer of layers)
    for (const own of stored) yield { layer, stored: own, name: `${wrapped}${names.fullName(layer, own)}` };
}

const halfOf = (module: string) => (/^(gate|up|down)_/.test(module) ? "mlp" : "self_attn");
/** The name of a part's parameter in an adapter, without its end. */
export const ownName = (layer: number, module: string) => `${ownPrefix}layers.${layer}.${halfOf(module)}.${module}`;

/** A LoRA folder of PEFT with updates of stored layers: each part has the stored layer's A, and its rows of B. */
export function storedLora(
  base: ModelDescription,
  { rank, layers }: LoraAdapterConfig,
  stored: readonly StoredLayer[],
): FolderLayout {
  const places = [...placesOf(new StoredLayers(base), stored, layers)];
  const tensors = places.flatMap(({ name, stored: own }): StoredParameter[] => [
    { name: `${name}.lora_A.weight`, shape: [rank, own.parts[0]!.inputs] },
    { name: `${name}.lora_B.weight`, shape: [outputsOf(own), rank] },
  ]);
  const split = (read: ReadonlyMap<string, Float32Array>) => {
    const own = new Map<string, Float32Array>();
    for (const { layer, name, stored: of } of places) {
      const [a, b] = ["A", "B"].map((which) => read.get(`${name}.lora_${which}.weight`)!);
      for (const { module, begin, outputs } of of.parts) {
        own.set(`${ownName(layer, module)}.lora_A.weight`, a!);
        own.set(`${ownName(layer, module)}.lora_B.weight`, b!.subarray(begin * rank, (begin + outputs) * rank));
      }
    }
    return own;
  };
  return { tensors, split };
}

/** An (IA)3 folder of PEFT with scales of stored layers: each part has its rows of an output's scale, or the input's scale. */
export function storedIa3(
  base: ModelDescription,
  { feedforwardModules }: Ia3AdapterConfig,
  stored: readonly StoredLayer[],
): FolderLayout {
  const layers = Array(base.architecture.stacks[0].layers).keys();
  const places = [...placesOf(new StoredLayers(base), stored, layers)].map((place) => ({
    ...place,
    scalesInput: feedforwardModules.includes(place.stored.parts[0]!.module),
  }));
  const tensors = places.map(({ name, stored: own, scalesInput }) => ({
    name: `${name}${ia3Suffix}`,
    shape: scalesInput ? [1, own.parts[0]!.inputs] : [outputsOf(own), 1],
  }));
  const split = (read: ReadonlyMap<string, Float32Array>) => {
    const own = new Map<string, Float32Array>();
    for (const { layer, name, stored: of, scalesInput } of places) {
      const scale = read.get(`${name}${ia3Suffix}`)!;
      for (const { module, begin, outputs } of of.parts)
        own.set(`${ownName(layer, module)}${ia3Suffix}`, scalesInput ? scale : scale.subarray(begin, begin + outputs));
    }
    return own;
  };
  return { tensors, split };
}

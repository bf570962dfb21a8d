/** LoRA's plan (Hu et al., arXiv 2106.09685): at each site y += factor * B (A x), with PEFT's names. */
import type { Architecture } from "../model/architecture";
import type { Steps } from "../steps";
import { nativeSites, redSites } from "./config";
import { type LoraAdapterConfig, type LoraModule, loraFactor } from "./lora_config";
import { type AdapterPlan, inOrder, linearAt, PlanBuilder } from "./plan";
import { fillUniform } from "./start";

/** A parameter's name before ".lora_A.weight": PEFT wraps the model (base_model.model), which has a stack (model). */
const prefix = "base_model.model.model.";

/** Sites as rubricate names them. */
export const sitesOf = (modules: readonly LoraModule[]) =>
  inOrder(redSites.filter((site) => modules.includes(nativeSites[site])));

export function loraPlan(architecture: Architecture, config: LoraAdapterConfig): AdapterPlan {
  const builder = new PlanBuilder();
  const factor = loraFactor(config);
  for (const layer of config.layers)
    for (const site of sitesOf(config.targetModules)) {
      const { name, outputs, inputs } = linearAt(architecture, layer, site);
      const a = builder.parameter(`${prefix}${name}.lora_A.weight`, [config.rank, inputs], 0);
      const b = builder.parameter(`${prefix}${name}.lora_B.weight`, [outputs, config.rank], 0);
      builder.site({ layer, site: nativeSites[site], low_rank: { a, b, factor } });
    }
  return builder.plan;
}

/** Distinguishes these numbers from others of the same seed. */
const stream = 0x4c6f5241;

/**
 * The values of a new adapter: A as PEFT and torch.nn.Linear draw it, kaiming_uniform with a = sqrt(5), which is uniform in
 * [-1, 1) / sqrt(inputs); B is 0, so that the adapter changes nothing. The i-th parameter has its own stream of the seed.
 */
export function* loraStart({ parameters }: AdapterPlan, seed: number): Steps<Float32Array> {
  const count = parameters.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0);
  const values = new Float32Array(count);
  let start = 0;
  for (const [index, { name, shape }] of parameters.entries()) {
    const end = start + shape[0]! * shape[1]!;
    if (name.endsWith(".lora_A.weight"))
      yield* fillUniform(values.subarray(start, end), 1 / Math.sqrt(shape[1]!), seed, [stream, index]);
    start = end;
  }
  return values;
}

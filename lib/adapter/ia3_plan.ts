/**
 * (IA)3's plan (Liu et al., arXiv 2205.05638): at each site y = scale * y, or of a feed-forward module x = scale * x before
 * the layer; with PEFT's names.
 */
import type { Architecture } from "../model/architecture";
import { nativeSites } from "./config";
import type { Ia3AdapterConfig } from "./ia3_config";
import { sitesOf } from "./lora_plan";
import { type AdapterPlan, linearAt, PlanBuilder } from "./plan";

/** The end of each parameter's name. */
export const ia3Suffix = ".ia3_l";

export function ia3Plan(
  architecture: Architecture,
  { targetModules, feedforwardModules }: Ia3AdapterConfig,
): AdapterPlan {
  const builder = new PlanBuilder();
  for (let layer = 0; layer < architecture.stacks[0].layers; layer++)
    for (const own of sitesOf(targetModules)) {
      const site = nativeSites[own];
      const { name, outputs, inputs } = linearAt(architecture, layer, own);
      const scalesInput = feedforwardModules.includes(site);
      const scale = builder.parameter(
        `base_model.model.model.${name}${ia3Suffix}`,
        [scalesInput ? inputs : outputs],
        1,
      );
      builder.site({ layer, site, ...(scalesInput ? { input_scale: scale } : { scale }) });
    }
  return builder.plan;
}

/** The shape in which PEFT stores a scale: of an input it is a row, of an output a column. */
export function storedShape(name: string, length: number, feedforwardModules: readonly string[]): [number, number] {
  const scalesInput = feedforwardModules.some((module) => name.endsWith(`.${module}${ia3Suffix}`));
  return scalesInput ? [1, length] : [length, 1];
}

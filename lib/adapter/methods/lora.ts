import { LoraAdapter, type LoraAdapterOptions, loraConfigOf } from "../lora_adapter";
import { loraPlan } from "../lora_plan";
import { defineMethod } from "../method";

/** LoRA (arXiv 2106.09685): y += factor * B (A x) at each linear layer. An adapter of it is a `LoraAdapter`. */
export const lora = defineMethod({
  kind: "lora",
  options: ["rank", "alpha", "targetModules", "layers", "rankStabilized"],
  check: (options: Omit<LoraAdapterOptions, "seed">, { architecture }) => loraConfigOf(options, architecture),
  plan: (config, { architecture }) => loraPlan(architecture, config),
  create: (model, options, seed) => LoraAdapter.create(model, { ...options, seed }),
});

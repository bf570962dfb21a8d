import { limits } from "../../limits";
import type { Family } from "../family";

/** Mistral 7B and models with its layers. Source: transformers' MistralConfig. */
export const mistral: Family = {
  modelType: "mistral",
  defaults: { max_position_embeddings: 131072, num_key_value_heads: 8 },
  biases: () => ({ qkv: false, output: false, feedForward: false }),
  /** In all layers, whatever layer_types says. No window is null; without the field it is 4096. */
  window(config) {
    if (config.given("sliding_window") && !config.has("sliding_window")) return undefined;
    return { size: config.integer("sliding_window", 1, limits.maxContext, 4096) };
  },
};

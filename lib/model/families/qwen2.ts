import { limits } from "../../limits";
import type { ConfigReader } from "../config_reader";
import type { Family, SlidingWindow } from "../family";

/** Qwen2 and Qwen2.5. Source: transformers' Qwen2Config. */
export const qwen2: Family = {
  modelType: "qwen2",
  defaults: { max_position_embeddings: 32768, num_key_value_heads: 32 },
  biases: () => ({ qkv: true, output: false, feedForward: false }),
  window: windowOfLayers,
};

/** transformers' names of the two kinds of attention; "attention" is an old one. */
const [full, sliding] = ["full_attention", "sliding_attention"];
const kinds = [full, sliding, "attention"];

/** Layers from max_window_layers on have a window, unless layer_types names the layers. */
export function windowOfLayers(config: ConfigReader, count: number): SlidingWindow | undefined {
  const types = config.choices("layer_types", kinds, count);
  const windowless = config.given("sliding_window") && !config.has("sliding_window");
  if (!config.boolean("use_sliding_window", false) || windowless) {
    if (types?.includes(sliding))
      throw config.fail("layer_types", `"${full}" for every layer of a model without a sliding window`);
    return undefined;
  }
  const first = config.integer("max_window_layers", 0, limits.maxLayers, 28);
  const layers = [...Array(count).keys()].filter((layer) => (types ? types[layer] === sliding : layer >= first));
  if (layers.length === 0) return undefined;
  return { size: config.integer("sliding_window", 1, limits.maxContext, 4096), layers };
}

import { limits } from "../../limits";
import type { ConfigReader } from "../config_reader";
import type { Family, WindowSize } from "../family";

/** Qwen2 and Qwen2.5. Source: transformers' Qwen2Config. */
export const qwen2: Family = {
  modelType: "qwen2",
  defaults: { max_position_embeddings: 32768, num_key_value_heads: 32 },
  biases: () => ({ qkv: true, output: false, feedForward: false }),
  window: requireNoWindow,
};

/** Refuses a window that is smaller than the context: not all layers have it. */
export function requireNoWindow(config: ConfigReader, { layers, positions }: WindowSize): undefined {
  if (!slides(config, layers)) return undefined;
  const window = config.integer("sliding_window", 1, limits.maxContext, 4096);
  if (window >= positions) return undefined;
  throw config.fail(
    "use_sliding_window",
    `false, or a sliding_window of max_position_embeddings (${positions}) or more,`,
  );
}

/** Whether a layer has a window. Those from max_window_layers on have one, unless layer_types names the layers. */
function slides(config: ConfigReader, layers: number): boolean {
  const used = config.boolean("use_sliding_window", false);
  const types = config.choices("layer_types", ["full_attention", "sliding_attention"], layers);
  const windowless = config.given("sliding_window") && !config.has("sliding_window");
  if (types?.includes("sliding_attention") && (!used || windowless))
    throw config.fail("layer_types", '"full_attention" for every layer of a model without a sliding window');
  if (!used || windowless) return false;
  if (types) return types.includes("sliding_attention");
  return config.integer("max_window_layers", 0, limits.maxLayers, 28) < layers;
}

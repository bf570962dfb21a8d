import type { Family } from "../family";
import { windowOfLayers } from "./qwen2";

/** Qwen3, without its mixtures of experts. Source: transformers' Qwen3Config. */
export const qwen3: Family = {
  modelType: "qwen3",
  defaults: { max_position_embeddings: 32768, num_key_value_heads: 32, head_dim: 128 },
  headNorm: true,
  biases(config) {
    const attention = config.boolean("attention_bias", false);
    return { qkv: attention, output: attention, feedForward: false };
  },
  window: windowOfLayers,
  biasFields: { qkv: "attention_bias", output: "attention_bias" },
};

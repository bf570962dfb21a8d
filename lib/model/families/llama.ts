import type { Family } from "../family";

/** LLaMA 1, 2 and 3, and models with their layers, such as SmolLM. Source: transformers' LlamaConfig. */
export const llama: Family = {
  modelType: "llama",
  defaults: { max_position_embeddings: 2048 },
  biasFields: { qkv: "attention_bias", output: "attention_bias", feedForward: "mlp_bias" },
  biases(config) {
    const attention = config.boolean("attention_bias", false);
    return { qkv: attention, output: attention, feedForward: config.boolean("mlp_bias", false) };
  },
};

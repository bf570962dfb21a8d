/**
 * Shapes of LLaMAs as config.json fields, without end tokens, so that generation with random weights does not end
 * early.
 */
const base = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
  rope_theta: 10000.0,
  attention_bias: false,
  mlp_bias: false,
  initializer_range: 0.02,
};

function shape(vocabulary, hidden, feedForward, layers, heads, kvHeads, context, tied) {
  return {
    ...base,
    vocab_size: vocabulary,
    hidden_size: hidden,
    intermediate_size: feedForward,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    max_position_embeddings: context,
    tie_word_embeddings: tied,
  };
}

/** By name. "15m" and "110m" are llama2.c's stories models, "7b" is LLaMA 2's smallest. */
export const shapes = {
  tiny: shape(2048, 48, 128, 2, 4, 2, 512, true),
  embedded: shape(2048, 192, 640, 4, 6, 2, 512, false),
  "15m": shape(32000, 288, 768, 6, 6, 6, 256, true),
  "110m": shape(32000, 768, 2048, 12, 12, 12, 1024, true),
  "7b": shape(32000, 4096, 11008, 32, 32, 32, 4096, false),
};

/** @returns {{name: string, shape: number[], ones: boolean}[]} Hugging Face's tensors in the order of the model */
export function tensorsOf(config) {
  const { vocab_size: vocabulary, hidden_size: hidden, intermediate_size: feedForward } = config;
  const kv = (hidden / config.num_attention_heads) * config.num_key_value_heads;
  const tensors = [{ name: "model.embed_tokens.weight", shape: [vocabulary, hidden], ones: false }];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const add = (name, ...size) =>
      tensors.push({ name: `model.layers.${layer}.${name}.weight`, shape: size, ones: size.length === 1 });
    add("input_layernorm", hidden);
    add("self_attn.q_proj", hidden, hidden);
    add("self_attn.k_proj", kv, hidden);
    add("self_attn.v_proj", kv, hidden);
    add("self_attn.o_proj", hidden, hidden);
    add("post_attention_layernorm", hidden);
    add("mlp.gate_proj", feedForward, hidden);
    add("mlp.up_proj", feedForward, hidden);
    add("mlp.down_proj", hidden, feedForward);
  }
  tensors.push({ name: "model.norm.weight", shape: [hidden], ones: true });
  if (!config.tie_word_embeddings) tensors.push({ name: "lm_head.weight", shape: [vocabulary, hidden], ones: false });
  return tensors;
}

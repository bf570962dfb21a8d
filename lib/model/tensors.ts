/** Names of the tensors that an architecture needs, and the number of their values. */
import type { Architecture, ModelDescription } from "./architecture";

const projections = {
  "self_attn.q_proj": "qkv",
  "self_attn.k_proj": "qkv",
  "self_attn.v_proj": "qkv",
  "self_attn.o_proj": "output",
  "mlp.gate_proj": "feedForward",
  "mlp.up_proj": "feedForward",
  "mlp.down_proj": "feedForward",
} as const;

/** Names of the tensors, as listed by native/architecture/architecture.cc. */
function canonicalTensors(architecture: Architecture): string[] {
  const [{ layers, attention, feed_forward }] = architecture.stacks;
  const biased = { qkv: attention.qkv_bias, output: attention.output_bias, feedForward: feed_forward.bias };
  const names = ["embed_tokens.weight", "norm.weight"];
  if (!architecture.tied_embeddings) names.push("lm_head.weight");
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `layers.${layer}.`;
    names.push(`${prefix}input_layernorm.weight`, `${prefix}post_attention_layernorm.weight`);
    if (attention.head_norm) names.push(`${prefix}self_attn.q_norm.weight`, `${prefix}self_attn.k_norm.weight`);
    for (const [projection, kind] of Object.entries(projections)) {
      names.push(`${prefix}${projection}.weight`);
      if (biased[kind]) names.push(`${prefix}${projection}.bias`);
    }
  }
  return names;
}

function countParameters(architecture: Architecture): number {
  const { hidden, vocabulary } = architecture;
  const [{ layers, attention, feed_forward: feedForward }] = architecture.stacks;
  const q = attention.heads * attention.head_dim;
  const kv = attention.kv_heads * attention.head_dim;
  const perLayer =
    2 * hidden +
    2 * hidden * q +
    2 * hidden * kv +
    3 * hidden * feedForward.size +
    (attention.head_norm ? 2 * attention.head_dim : 0) +
    (attention.qkv_bias ? q + 2 * kv : 0) +
    (attention.output_bias ? hidden : 0) +
    (feedForward.bias ? 2 * feedForward.size + hidden : 0);
  return layers * perLayer + hidden + vocabulary * hidden * (architecture.tied_embeddings ? 1 : 2);
}

/** An architecture's tensors. */
export function tensorsOf(architecture: Architecture): Pick<ModelDescription, "tensors" | "parameterCount"> {
  return { tensors: canonicalTensors(architecture), parameterCount: countParameters(architecture) };
}

/** The same model with an untied head: for a checkpoint whose head is not tied although config.json says so. */
export function withOwnHead(description: ModelDescription): ModelDescription {
  const architecture = { ...description.architecture, tied_embeddings: false };
  return { ...description, architecture, ...tensorsOf(architecture) };
}

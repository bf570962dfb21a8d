/** Names of the tensors that an architecture needs, and the number of their values. */
import { type Architecture, hasGate, type ModelDescription } from "./architecture";

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
  const [{ norm, position }] = architecture.stacks;
  const normNames = (name: string) => (norm.kind === "layer" ? [`${name}.weight`, `${name}.bias`] : [`${name}.weight`]);
  const gated = hasGate(architecture);
  const names = ["embed_tokens.weight", ...normNames("norm")];
  if (position.kind === "learned") names.push("embed_positions.weight");
  if (!architecture.tied_embeddings) names.push("lm_head.weight");
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `layers.${layer}.`;
    names.push(...normNames(`${prefix}input_layernorm`), ...normNames(`${prefix}post_attention_layernorm`));
    if (attention.head_norm) names.push(`${prefix}self_attn.q_norm.weight`, `${prefix}self_attn.k_norm.weight`);
    for (const [projection, kind] of Object.entries(projections)) {
      if (projection === "mlp.gate_proj" && !gated) continue;
      names.push(`${prefix}${projection}.weight`);
      if (biased[kind]) names.push(`${prefix}${projection}.bias`);
    }
  }
  return names;
}

function countParameters(architecture: Architecture): number {
  const { hidden, vocabulary, context } = architecture;
  const [{ layers, attention, feed_forward: feedForward, norm, position }] = architecture.stacks;
  const widened = hasGate(architecture) ? 2 : 1;
  const normSize = hidden * (norm.kind === "layer" ? 2 : 1);
  const q = attention.heads * attention.head_dim;
  const kv = attention.kv_heads * attention.head_dim;
  const perLayer =
    2 * normSize +
    2 * hidden * q +
    2 * hidden * kv +
    (widened + 1) * hidden * feedForward.size +
    (attention.head_norm ? 2 * attention.head_dim : 0) +
    (attention.qkv_bias ? q + 2 * kv : 0) +
    (attention.output_bias ? hidden : 0) +
    (feedForward.bias ? widened * feedForward.size + hidden : 0);
  const positions = position.kind === "learned" ? context * hidden : 0;
  return layers * perLayer + normSize + positions + vocabulary * hidden * (architecture.tied_embeddings ? 1 : 2);
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

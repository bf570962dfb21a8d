import { limits } from "../../limits";
import type { StackArchitecture, Storage, StoredPart } from "../architecture";
import type { ConfigReader } from "../config_reader";
import type { Family } from "../family";

/** Phi-3 with its short context, such as Phi-3-mini-4k. Source: transformers' Phi3Config. */
export const phi3: Family = {
  modelType: "phi3",
  defaults: { max_position_embeddings: 4096, rms_norm_eps: 1e-5, bos_token_id: 1, eos_token_id: 32000 },
  biases: () => ({ qkv: false, output: false, feedForward: false }),
  check: requirePlainRope,
  rotated: rotatedOf,
  storage: storageOf,
  /** In all layers; none without the field. */
  window(config) {
    if (!config.has("sliding_window")) return undefined;
    return { size: config.integer("sliding_window", 1, limits.maxContext) };
  },
};

/** Phi-3 has no scaling but "longrope", whose factors depend on a sequence's length. */
function requirePlainRope(config: ConfigReader): void {
  const parameters = config.filledObject("rope_scaling") ?? config.filledObject("rope_parameters");
  if (parameters && parameters.string("rope_type", parameters.string("type", "default")) !== "default")
    throw parameters.fail(
      parameters.has("rope_type") ? "rope_type" : "type",
      '"default": a Phi-3 of the short context,',
    );
}

/** Phi-4-mini, for example, rotates three quarters of each head. */
function rotatedOf(config: ConfigReader, headDim: number): number {
  const parameters = config.filledObject("rope_scaling") ?? config.filledObject("rope_parameters");
  const source = parameters?.has("partial_rotary_factor") ? parameters : config;
  const rotated = Math.trunc(headDim * source.positive("partial_rotary_factor", 1));
  if (rotated < 1 || rotated > headDim)
    throw source.fail("partial_rotary_factor", `a share that leaves 1 to ${headDim} components of a head (head_dim)`);
  return rotated;
}

/** q, k and v are the rows of one matrix, gate and up those of another. */
function storageOf({ attention, feed_forward }: StackArchitecture): Storage {
  const [queries, keys] = [attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim];
  const parts: Record<string, StoredPart> = {};
  const fuse = (group: string, stored: string, rows: readonly (readonly [name: string, count: number])[]) => {
    const total = rows.reduce((sum, [, count]) => sum + count, 0);
    let begin = 0;
    for (const [name, count] of rows) {
      parts[`layers.{}.${group}.${name}.weight`] = { name: `layers.{}.${group}.${stored}.weight`, begin, total };
      begin += count;
    }
  };
  fuse("self_attn", "qkv_proj", [
    ["q_proj", queries],
    ["k_proj", keys],
    ["v_proj", keys],
  ]);
  fuse("mlp", "gate_up_proj", [
    ["gate_proj", feed_forward.size],
    ["up_proj", feed_forward.size],
  ]);
  return { prefix: "model.", parts, ignored: [] };
}

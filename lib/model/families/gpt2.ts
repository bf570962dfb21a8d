/** GPT-2. Source: transformers' GPT2Config and modeling_gpt2.py. */
import { limits } from "../../limits";
import type { Architecture, ModelDescription, StoredPart } from "../architecture";
import type { ConfigReader } from "../config_reader";
import { idsOf, requireCausal, requireNamedWeights } from "../decoder_config";
import { tensorsOf } from "../tensors";

/** Values of `activation_function`, by the architecture's word. */
const activations = {
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  gelu: "gelu",
} as const;
type Activation = keyof typeof activations;

/** The token that begins and ends a text if config.json does not name one. */
const endOfText = 50256;

/**
 * Reads a config.json.
 * @throws RubricateError ERR_CONFIG for a value that is missing, wrong or not supported
 */
export function describeGpt2(config: ConfigReader): ModelDescription {
  requireNamedWeights(config);
  requireCausal(config);
  if (config.boolean("add_cross_attention", false))
    throw config.fail("add_cross_attention", "false: there is no encoder, so false");
  const size = (name: string, other: string, most: number, fallback: number) =>
    config.either(name, other, (field) => config.integer(field, 1, most), fallback);
  const hidden = size("n_embd", "hidden_size", limits.maxHidden, 768);
  const heads = size("n_head", "num_attention_heads", limits.maxHeads, 12);
  const headDim = hidden / heads;
  if (!Number.isSafeInteger(headDim) || headDim % 2 !== 0 || headDim > limits.maxHeadDim)
    throw config.fail(
      config.has("n_head") || !config.has("num_attention_heads") ? "n_head" : "num_attention_heads",
      `heads of an even size up to ${limits.maxHeadDim} that divide n_embd (${hidden})`,
    );
  const layers = size("n_layer", "num_hidden_layers", limits.maxLayers, 12);
  const vocabulary = config.integer("vocab_size", 1, limits.maxVocabulary, 50257);
  const architecture: Architecture = {
    version: 1,
    family: "gpt2",
    vocabulary,
    hidden,
    context: size("n_positions", "max_position_embeddings", limits.maxContext, 1024),
    tied_embeddings: config.boolean("tie_word_embeddings", true),
    stacks: [
      {
        layers,
        norm: { kind: "layer", eps: config.positive("layer_norm_epsilon", 1e-5) },
        position: { kind: "learned" },
        attention: {
          heads,
          kv_heads: heads,
          head_dim: headDim,
          scale: config.boolean("scale_attn_weights", true) ? 1 / Math.sqrt(headDim) : 1,
          mask: "causal",
          qkv_bias: true,
          output_bias: true,
          ...(config.boolean("scale_attn_by_inverse_layer_idx", false) ? { scale_by_layer: true } : {}),
        },
        feed_forward: {
          kind: activationOf(config),
          size: config.integer("n_inner", 1, limits.maxIntermediate, 4 * hidden),
          bias: true,
        },
      },
    ],
  };
  const ids = (name: string) => idsOf(config, name, endOfText < vocabulary ? endOfText : undefined);
  return {
    architecture,
    ...tensorsOf(architecture),
    storage: storageOf(hidden),
    biasFields: {}, // all have one
    bosTokenId: ids("bos_token_id")[0],
    eosTokenIds: ids("eos_token_id"),
  };
}

function activationOf(config: ConfigReader) {
  const name = config.string("activation_function", "gelu_new");
  if (Object.hasOwn(activations, name)) return activations[name as Activation];
  const known = Object.keys(activations).map((one) => `"${one}"`);
  throw config.fail("activation_function", `${known.slice(0, -1).join(", ")} or ${known.at(-1)}`);
}

/** Conv1D stores a matrix as [inputs, outputs], and c_attn holds q, k and v side by side. */
function storageOf(hidden: number): ModelDescription["storage"] {
  const parts: Record<string, StoredPart> = {
    "embed_tokens.weight": { name: "wte.weight" },
    "embed_positions.weight": { name: "wpe.weight" },
  };
  const norm = (canonical: string, stored: string) => {
    for (const kind of ["weight", "bias"]) parts[`${canonical}.${kind}`] = { name: `${stored}.${kind}` };
  };
  const linear = (canonical: string, stored: string, part: Pick<StoredPart, "begin" | "total"> = {}) => {
    const [own, theirs] = [`layers.{}.${canonical}`, `h.{}.${stored}`];
    parts[`${own}.weight`] = { name: `${theirs}.weight`, transposed: true, ...part };
    parts[`${own}.bias`] = { name: `${theirs}.bias`, ...part };
  };
  norm("norm", "ln_f");
  norm("layers.{}.input_layernorm", "h.{}.ln_1");
  norm("layers.{}.post_attention_layernorm", "h.{}.ln_2");
  for (const [at, letter] of ["q", "k", "v"].entries())
    linear(`self_attn.${letter}_proj`, "attn.c_attn", { begin: at * hidden, total: 3 * hidden });
  linear("self_attn.o_proj", "attn.c_proj");
  linear("mlp.up_proj", "mlp.c_fc");
  linear("mlp.down_proj", "mlp.c_proj");
  // The causal mask, in old checkpoints.
  return { prefix: "transformer.", parts, ignored: ["h.{}.attn.bias", "h.{}.attn.masked_bias"] };
}

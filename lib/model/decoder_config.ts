/** Turns the config.json of a decoder into an architecture. */
import { weightsFile } from "../files/model_folder";
import { limits } from "../limits";
import type { Architecture, ModelDescription, StackArchitecture, Storage } from "./architecture";
import type { ConfigReader } from "./config_reader";
import type { Family } from "./family";
import { inverseFrequencies } from "./rope";
import { tensorsOf } from "./tensors";

/** transformers' names of one function. */
const siluNames: ReadonlySet<string> = new Set(["silu", "swish"]);

/** Of LLaMA and the families that follow it: canonical names are its own. */
const llamaStorage: Storage = { prefix: "model.", parts: {}, ignored: [] };

/** transformers loads the weights from the file that `transformers_weights` names. */
export function requireNamedWeights(config: ConfigReader): void {
  if (config.string("transformers_weights", weightsFile) !== weightsFile)
    throw config.fail("transformers_weights", `"${weightsFile}", or no such field,`);
}

/** With any other value, also null, transformers lets each token see those after it, as embedding models do. */
export function requireCausal(config: ConfigReader): void {
  if (config.given("is_causal") && !config.boolean("is_causal", false))
    throw config.fail("is_causal", "true, or no such field,");
}

/**
 * Reads what all families with rotary positions and a gate have in common, and asks the family for the rest.
 * @throws RubricateError ERR_CONFIG for a value that is missing, wrong or not supported
 */
export function describeDecoder(config: ConfigReader, family: Family): ModelDescription {
  if (!siluNames.has(config.string("hidden_act", "silu"))) throw config.fail("hidden_act", '"silu" or "swish"');
  requireNamedWeights(config);
  requireCausal(config);
  family.check?.(config);
  const hidden = config.integer("hidden_size", 1, limits.maxHidden);
  const stack = describeStack(config, family, hidden);
  const positions = positionsOf(config, family);
  const architecture: Architecture = {
    version: 1,
    family: family.modelType,
    vocabulary: config.integer("vocab_size", 1, limits.maxVocabulary),
    hidden,
    context: positions,
    tied_embeddings: config.boolean("tie_word_embeddings", false),
    stacks: [stack],
  };
  return {
    architecture,
    ...tensorsOf(architecture),
    storage: family.storage?.(stack) ?? llamaStorage,
    biasFields: family.biasFields ?? {},
    bosTokenId: idsOf(config, "bos_token_id", family.defaults.bos_token_id)[0],
    eosTokenIds: idsOf(config, "eos_token_id", family.defaults.eos_token_id),
  };
}

/** Ids of a field that, if it is missing, means the default, and if it is null none. */
export const idsOf = (config: ConfigReader, name: string, fallback: number | undefined): readonly number[] =>
  config.given(name) || fallback === undefined ? config.ids(name) : [fallback];

const positionsOf = (config: ConfigReader, { defaults }: Family): number =>
  config.integer("max_position_embeddings", 1, limits.maxContext, defaults.max_position_embeddings);

function describeStack(config: ConfigReader, family: Family, hidden: number): StackArchitecture {
  const heads = config.integer("num_attention_heads", 1, limits.maxHeads);
  const kvHeads = keyValueHeads(config, family, heads);
  const headDim = headDimension(config, family, hidden, heads);
  const biases = family.biases(config);
  const layers = config.integer("num_hidden_layers", 1, limits.maxLayers);
  return {
    layers,
    norm: { kind: "rms", eps: config.positive("rms_norm_eps", family.defaults.rms_norm_eps ?? 1e-6) },
    position: {
      kind: "rope",
      inv_freq: inverseFrequencies(config, family.rotated?.(config, headDim) ?? headDim, positionsOf(config, family)),
      factor: 1,
    },
    attention: {
      heads,
      kv_heads: kvHeads,
      head_dim: headDim,
      scale: 1 / Math.sqrt(headDim),
      mask: "causal",
      qkv_bias: biases.qkv,
      output_bias: biases.output,
      ...(family.headNorm ? { head_norm: true } : {}),
      ...windowOf(config, family, layers),
    },
    feed_forward: {
      kind: "swiglu",
      size: config.integer("intermediate_size", 1, limits.maxIntermediate),
      bias: biases.feedForward,
    },
  };
}

/** The window's fields of the document; none of a window that no sequence is longer than. */
function windowOf(config: ConfigReader, family: Family, layers: number): Partial<StackArchitecture["attention"]> {
  const window = family.window?.(config, layers);
  if (window === undefined || window.size >= positionsOf(config, family)) return {};
  const all = window.layers === undefined || window.layers.length === layers;
  return { window: window.size, ...(all ? {} : { window_layers: window.layers }) };
}

function keyValueHeads(config: ConfigReader, { defaults }: Family, heads: number): number {
  const name = "num_key_value_heads";
  const fallback = config.given(name) ? heads : (defaults.num_key_value_heads ?? heads);
  const kvHeads = config.integer(name, 1, limits.maxHeads, fallback);
  if (heads % kvHeads !== 0) throw config.fail(name, `a divisor of num_attention_heads (${heads})`);
  return kvHeads;
}

/** Dimension of a head. */
function headDimension(config: ConfigReader, { defaults }: Family, hidden: number, heads: number): number {
  if (config.has("head_dim") || defaults.head_dim !== undefined) {
    const value = config.integer("head_dim", 2, limits.maxHeadDim, defaults.head_dim);
    if (value % 2 !== 0) throw config.fail("head_dim", "an even integer");
    return value;
  }
  if (hidden % heads !== 0) throw config.fail("num_attention_heads", `a divisor of hidden_size (${hidden})`);
  const value = hidden / heads;
  if (value % 2 !== 0 || value > limits.maxHeadDim)
    throw config.fail("num_attention_heads", `heads of an even size up to ${limits.maxHeadDim} (hidden_size / heads)`);
  return value;
}

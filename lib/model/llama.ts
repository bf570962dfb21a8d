import { weightsFile } from "../files/model_folder";
import { limits } from "../limits";
import type { Architecture, ModelDescription } from "./architecture";
import { ConfigReader } from "./config_reader";

/**
 * Reads a LLaMA config.json (LLaMA 1, 2 and 3; both spellings of RoPE's settings: `rope_theta` and `rope_scaling`, or
 * `rope_parameters`). Defaults, and the precedence of settings given in two places, are those of transformers' LlamaConfig.
 * @param document the parsed config.json
 * @param path for messages
 * @throws RubricateError ERR_CONFIG for a value that is missing, wrong or not supported
 */
export function describeLlama(document: unknown, path: string): ModelDescription {
  const config = ConfigReader.of(document, path);
  if (config.string("model_type") !== "llama") throw config.fail("model_type", '"llama"');
  if (config.string("hidden_act", "silu") !== "silu") throw config.fail("hidden_act", '"silu"');
  // transformers loads the weights from the file named here.
  if (config.string("transformers_weights", weightsFile) !== weightsFile)
    throw config.fail("transformers_weights", `"${weightsFile}", or no such field,`);
  const hidden = config.integer("hidden_size", 1, limits.maxHidden);
  const heads = config.integer("num_attention_heads", 1, limits.maxHeads);
  const kvHeads = config.integer("num_key_value_heads", 1, limits.maxHeads, heads);
  if (heads % kvHeads !== 0) throw config.fail("num_key_value_heads", `a divisor of num_attention_heads (${heads})`);
  const headDim = headDimension(config, hidden, heads);
  const attentionBias = config.boolean("attention_bias", false);
  const architecture: Architecture = {
    version: 1,
    family: "llama",
    vocabulary: config.integer("vocab_size", 1, limits.maxVocabulary),
    hidden,
    context: config.integer("max_position_embeddings", 1, limits.maxContext, 2048),
    tied_embeddings: config.boolean("tie_word_embeddings", false),
    stacks: [
      {
        layers: config.integer("num_hidden_layers", 1, limits.maxLayers),
        norm: { kind: "rms", eps: config.positive("rms_norm_eps", 1e-6) },
        position: { kind: "rope", inv_freq: inverseFrequencies(config, headDim), factor: 1 },
        attention: {
          heads,
          kv_heads: kvHeads,
          head_dim: headDim,
          scale: 1 / Math.sqrt(headDim),
          mask: "causal",
          qkv_bias: attentionBias,
          output_bias: attentionBias,
        },
        feed_forward: {
          kind: "swiglu",
          size: config.integer("intermediate_size", 1, limits.maxIntermediate),
          bias: config.boolean("mlp_bias", false),
        },
      },
    ],
  };
  return makeDescription(architecture, config.ids("bos_token_id")[0], config.ids("eos_token_id"));
}

function makeDescription(
  architecture: Architecture,
  bosTokenId: number | undefined,
  eosTokenIds: readonly number[],
): ModelDescription {
  const tensors = canonicalTensors(architecture);
  return { architecture, tensors, parameterCount: countParameters(architecture), bosTokenId, eosTokenIds };
}

/** The same model with an untied head: for a checkpoint whose head is not tied although config.json says so. */
export function withOwnHead({ architecture, bosTokenId, eosTokenIds }: ModelDescription): ModelDescription {
  return makeDescription({ ...architecture, tied_embeddings: false }, bosTokenId, eosTokenIds);
}

/** Dimension of a head. */
function headDimension(config: ConfigReader, hidden: number, heads: number): number {
  if (config.has("head_dim")) {
    const value = config.integer("head_dim", 2, limits.maxHeadDim);
    if (value % 2 !== 0) throw config.fail("head_dim", "an even integer");
    return value;
  }
  if (hidden % heads !== 0) throw config.fail("num_attention_heads", `a divisor of hidden_size (${hidden})`);
  const value = hidden / heads;
  if (value % 2 !== 0 || value > limits.maxHeadDim)
    throw config.fail("num_attention_heads", `heads of an even size up to ${limits.maxHeadDim} (hidden_size / heads)`);
  return value;
}

const f32 = Math.fround;

/** 1 / theta^(2 i / head_dim) in fp32 as transformers computes it, then the configured scaling. */
function inverseFrequencies(config: ConfigReader, headDim: number): readonly number[] {
  // If both are given, transformers uses `rope_scaling`, the old name; an empty object counts as missing.
  const parameters = config.filledObject("rope_scaling") ?? config.filledObject("rope_parameters");
  const source = parameters?.has("rope_theta") ? parameters : config;
  const theta = source.positive("rope_theta", 10000, limits.maxRopeTheta);
  const plain = Array.from({ length: headDim / 2 }, (_, i) => f32(1 / f32(theta ** f32((2 * i) / headDim))));
  const { minPositive, maxFrequency } = limits;
  const fits = (frequency: number) => frequency >= minPositive && frequency <= maxFrequency;
  const expected = `a number that gives frequencies from ${minPositive} to ${maxFrequency}`;
  if (!plain.every(fits)) throw source.fail("rope_theta", expected);
  const frequencies = parameters ? scaledFrequencies(plain, parameters, config) : plain;
  if (!frequencies.every(fits)) throw parameters!.fail("factor", expected);
  return frequencies;
}

function scaledFrequencies(
  plain: readonly number[],
  parameters: ConfigReader,
  config: ConfigReader,
): readonly number[] {
  const kind = parameters.string("rope_type", parameters.string("type", "default"));
  if (kind === "default") return plain;
  // transformers reads it with these two kinds, not with "default".
  const partial = parameters.has("partial_rotary_factor") ? parameters : config;
  if (partial.positive("partial_rotary_factor", 1) !== 1) throw partial.fail("partial_rotary_factor", "1");
  switch (kind) {
    case "linear": {
      const factor = parameters.positive("factor");
      return plain.map((frequency) => f32(frequency / factor));
    }
    case "llama3":
      return llama3Frequencies(plain, parameters, config);
    default:
      throw parameters.fail(parameters.has("rope_type") ? "rope_type" : "type", '"default", "linear" or "llama3"');
  }
}

/**
 * LLaMA 3.1's scaling: frequencies with long wavelengths are divided by `factor`, short ones stay unchanged, those in
 * between are interpolated.
 */
function llama3Frequencies(
  plain: readonly number[],
  parameters: ConfigReader,
  config: ConfigReader,
): readonly number[] {
  const factor = parameters.positive("factor");
  const low = parameters.positive("low_freq_factor");
  const high = parameters.positive("high_freq_factor");
  if (high <= low) throw parameters.fail("high_freq_factor", `a number above low_freq_factor (${low})`);
  const original = originalContext(parameters, config);
  return plain.map((frequency) => {
    const wavelength = f32(f32(2 * Math.PI) / frequency);
    if (wavelength < original / high) return frequency;
    if (wavelength > original / low) return f32(frequency / factor);
    const smooth = f32(f32(f32(original / wavelength) - low) / (high - low));
    return f32(f32(f32(f32(1 - smooth) * frequency) / factor) + f32(smooth * frequency));
  });
}

/**
 * Positions before the scaling: a value next to `rope_scaling` takes precedence over one inside it; the default is the
 * context.
 */
function originalContext(parameters: ConfigReader, config: ConfigReader): number {
  const name = "original_max_position_embeddings";
  if (config.has(name)) return config.positive(name);
  return parameters.positive(name, config.positive("max_position_embeddings", 2048));
}

const PROJECTIONS = [
  "self_attn.q_proj",
  "self_attn.k_proj",
  "self_attn.v_proj",
  "self_attn.o_proj",
  "mlp.gate_proj",
  "mlp.up_proj",
  "mlp.down_proj",
];

/** Names of the tensors, as listed by native/architecture/architecture.cc. */
function canonicalTensors(architecture: Architecture): string[] {
  const [{ layers, attention, feed_forward: feedForward }] = architecture.stacks;
  const names = ["embed_tokens.weight", "norm.weight"];
  if (!architecture.tied_embeddings) names.push("lm_head.weight");
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `layers.${layer}.`;
    names.push(`${prefix}input_layernorm.weight`, `${prefix}post_attention_layernorm.weight`);
    for (const projection of PROJECTIONS) {
      names.push(`${prefix}${projection}.weight`);
      const biased = projection.startsWith("mlp.") ? feedForward.bias : attention.qkv_bias;
      if (biased) names.push(`${prefix}${projection}.bias`);
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
    (attention.qkv_bias ? q + 2 * kv + hidden : 0) +
    (feedForward.bias ? 2 * feedForward.size + hidden : 0);
  return layers * perLayer + hidden + vocabulary * hidden * (architecture.tied_embeddings ? 1 : 2);
}

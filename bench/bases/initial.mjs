/** Configurations and random initial weights of the two small bases. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tensorsOf as llamaTensors } from "../embedded/init_model.mjs";
import { Random } from "../embedded/random.mjs";
import { writeSafetensors } from "../embedded/safetensors.mjs";

/** Ids of <s>, </s> and <|pad|> in the tokenizer of bench/embedded/train_tokenizer.mjs. */
const special = { bos_token_id: 0, eos_token_id: 1, pad_token_id: 2 };

const llama = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 128,
  intermediate_size: 384,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  max_position_embeddings: 256,
  rope_theta: 10000.0,
  rms_norm_eps: 1e-5,
  hidden_act: "silu",
  tie_word_embeddings: false,
  initializer_range: 0.02,
  torch_dtype: "float32",
  ...special,
};

const gpt2 = {
  architectures: ["GPT2LMHeadModel"],
  model_type: "gpt2",
  n_embd: 128,
  n_layer: 4,
  n_head: 4,
  n_inner: 512,
  n_positions: 256,
  activation_function: "gelu_new",
  layer_norm_epsilon: 1e-5,
  tie_word_embeddings: true,
  initializer_range: 0.02,
  torch_dtype: "float32",
  ...special,
};

/**
 * GPT-2's tensors as transformers names them; matrices are [inputs, outputs]. c_proj writes to the residual stream and is divided by
 * sqrt(2 * layers). There is no lm_head: it is wte.
 */
function gpt2Tensors(c) {
  const { n_embd: width, n_inner: inner, n_layer: layers, initializer_range: deviation } = c;
  const residual = deviation / Math.sqrt(2 * layers);
  const tensors = [
    { name: "transformer.wte.weight", shape: [c.vocab_size, width], deviation },
    { name: "transformer.wpe.weight", shape: [c.n_positions, width], deviation },
  ];
  const norm = (name) =>
    tensors.push(
      { name: `${name}.weight`, shape: [width], deviation: 0, fill: 1 },
      { name: `${name}.bias`, shape: [width], deviation: 0, fill: 0 },
    );
  const linear = (name, inputs, outputs, d) =>
    tensors.push(
      { name: `${name}.weight`, shape: [inputs, outputs], deviation: d },
      { name: `${name}.bias`, shape: [outputs], deviation: 0, fill: 0 },
    );
  for (let layer = 0; layer < layers; layer++) {
    const at = `transformer.h.${layer}`;
    norm(`${at}.ln_1`);
    linear(`${at}.attn.c_attn`, width, 3 * width, deviation);
    linear(`${at}.attn.c_proj`, width, width, residual);
    norm(`${at}.ln_2`);
    linear(`${at}.mlp.c_fc`, width, inner, deviation);
    linear(`${at}.mlp.c_proj`, inner, width, residual);
  }
  norm("transformer.ln_f");
  return tensors;
}

const families = {
  llama: { config: llama, tensorsOf: llamaTensors },
  gpt2: { config: gpt2, tensorsOf: gpt2Tensors },
};

export const familyNames = Object.keys(families);

/**
 * Writes config.json, generation_config.json and model.safetensors (float32). The same seed gives the same bytes.
 * @returns {number} parameters
 */
export function writeInitialModel(family, vocabulary, seed, folder) {
  const { config, tensorsOf } = families[family];
  const sized = { ...config, vocab_size: vocabulary };
  const random = new Random(seed);
  const tensors = tensorsOf(sized).map(({ name, shape, deviation, fill = 1 }) => {
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(fill);
    if (deviation > 0) for (let i = 0; i < values.length; i++) values[i] = deviation * random.normal();
    return { name, dtype: "F32", shape, bytes: Buffer.from(values.buffer) };
  });
  mkdirSync(folder, { recursive: true });
  const write = (name, value) => writeFileSync(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
  write("config.json", sized);
  write("generation_config.json", special);
  writeFileSync(join(folder, "model.safetensors"), writeSafetensors(tensors));
  return tensors.reduce((sum, { bytes }) => sum + bytes.length / 4, 0);
}

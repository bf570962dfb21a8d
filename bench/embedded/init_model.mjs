/**
 * Writes a freshly initialised LLaMA: config.json, generation_config.json and model.safetensors (fp32 masters).
 *
 *     node bench/embedded/init_model.mjs FOLDER [SEED]
 *
 * Weights are normal with standard deviation 0.02; o_proj and down_proj, which write to the residual stream, are divided
 * by sqrt(2 * layers), so that its variance does not grow with depth (GPT-2). Norm gains are 1. The same seed gives the
 * same bytes.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Random } from "./random.mjs";
import { writeSafetensors } from "./safetensors.mjs";

export const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 2048,
  hidden_size: 192,
  intermediate_size: 640,
  num_hidden_layers: 4,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 32,
  max_position_embeddings: 512,
  rope_theta: 10000.0,
  rope_scaling: null,
  rms_norm_eps: 1e-5,
  hidden_act: "silu",
  attention_bias: false,
  mlp_bias: false,
  attention_dropout: 0.0,
  tie_word_embeddings: false,
  initializer_range: 0.02,
  bos_token_id: 0,
  eos_token_id: 1,
  pad_token_id: 2,
  use_cache: true,
  torch_dtype: "float32",
};

/** @returns {{name: string, shape: number[], deviation: number}[]} every tensor; deviation 0 means filled with ones */
export function tensorsOf(c) {
  const [hidden, ffn, kv] = [c.hidden_size, c.intermediate_size, c.num_key_value_heads * c.head_dim];
  const deviation = c.initializer_range;
  const residual = deviation / Math.sqrt(2 * c.num_hidden_layers);
  const tensors = [{ name: "model.embed_tokens.weight", shape: [c.vocab_size, hidden], deviation }];
  for (let layer = 0; layer < c.num_hidden_layers; layer++) {
    const add = (name, shape, d) => tensors.push({ name: `model.layers.${layer}.${name}.weight`, shape, deviation: d });
    add("input_layernorm", [hidden], 0);
    add("self_attn.q_proj", [hidden, hidden], deviation);
    add("self_attn.k_proj", [kv, hidden], deviation);
    add("self_attn.v_proj", [kv, hidden], deviation);
    add("self_attn.o_proj", [hidden, hidden], residual);
    add("post_attention_layernorm", [hidden], 0);
    add("mlp.gate_proj", [ffn, hidden], deviation);
    add("mlp.up_proj", [ffn, hidden], deviation);
    add("mlp.down_proj", [hidden, ffn], residual);
  }
  tensors.push({ name: "model.norm.weight", shape: [hidden], deviation: 0 });
  tensors.push({ name: "lm_head.weight", shape: [c.vocab_size, hidden], deviation });
  return tensors;
}

if (process.argv[1] === import.meta.filename) {
  const [folder, seed = "1789"] = process.argv.slice(2);
  if (!folder) {
    console.error("usage: node bench/embedded/init_model.mjs FOLDER [SEED]");
    process.exit(2);
  }
  const random = new Random(Number(seed));
  const tensors = tensorsOf(config).map(({ name, shape, deviation }) => {
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1);
    if (deviation > 0) for (let i = 0; i < values.length; i++) values[i] = deviation * random.normal();
    return { name, dtype: "F32", shape, bytes: Buffer.from(values.buffer) };
  });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "model.safetensors"), writeSafetensors(tensors));
  writeFileSync(join(folder, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
  const generation = { bos_token_id: 0, eos_token_id: 1, pad_token_id: 2 };
  writeFileSync(join(folder, "generation_config.json"), `${JSON.stringify(generation, null, 2)}\n`);
  console.log(`${tensors.reduce((sum, { bytes }) => sum + bytes.length / 4, 0)} parameters`);
}

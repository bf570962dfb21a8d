/**
 * Writes a LLaMA of Hugging Face's layout (one bf16 safetensors file) as GGUF, which llama.cpp reads: the same numbers,
 * matrices in bf16, norms in fp32. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3.
 *
 * The vocabulary is a placeholder, only so that the file loads: special tokens, bytes, and a name for each other id.
 */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";

const alignment = 32;
const types = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 };
const ggml = { f32: 0, bf16: 30 };
const mostlyBf16 = 32; // general.file_type

const perLayer = {
  "input_layernorm.weight": "attn_norm.weight",
  "self_attn.q_proj.weight": "attn_q.weight",
  "self_attn.k_proj.weight": "attn_k.weight",
  "self_attn.v_proj.weight": "attn_v.weight",
  "self_attn.o_proj.weight": "attn_output.weight",
  "post_attention_layernorm.weight": "ffn_norm.weight",
  "mlp.gate_proj.weight": "ffn_gate.weight",
  "mlp.up_proj.weight": "ffn_up.weight",
  "mlp.down_proj.weight": "ffn_down.weight",
};
const whole = {
  "model.embed_tokens.weight": "token_embd.weight",
  "model.norm.weight": "output_norm.weight",
  "lm_head.weight": "output.weight",
};

function ggufName(name) {
  if (whole[name]) return whole[name];
  const [, layer, rest] = /^model\.layers\.(\d+)\.(.*)$/.exec(name);
  return `blk.${layer}.${perLayer[rest]}`;
}

const u32 = (value) => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
function text(value) {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}
const encoders = {
  uint32: u32,
  int32: (value) => Buffer.from(Int32Array.of(value).buffer),
  float32: (value) => Buffer.from(Float32Array.of(value).buffer),
  string: text,
};
const entry = (key, type, value) => Buffer.concat([text(key), u32(types[type]), encoders[type](value)]);
const list = (key, type, values) =>
  Buffer.concat([text(key), u32(types.array), u32(types[type]), u64(values.length), ...values.map(encoders[type])]);

/** Token types: 1 normal, 2 unknown, 3 control, 6 byte. */
function vocabulary(size) {
  const hex = (i) => i.toString(16).toUpperCase().padStart(2, "0");
  const bytes = Array.from({ length: 256 }, (_, i) => [`<0x${hex(i)}>`, 6]);
  const special = [["<unk>", 2], ["<s>", 3], ["</s>", 3]]; // biome-ignore format: a table
  const rest = Array.from({ length: size - 259 }, (_, i) => [`t${i + 259}`, 1]);
  return [...special, ...bytes, ...rest];
}

function metadata(config) {
  const tokens = vocabulary(config.vocab_size);
  return [
    entry("general.architecture", "string", "llama"),
    entry("general.file_type", "uint32", mostlyBf16),
    entry("llama.vocab_size", "uint32", config.vocab_size),
    entry("llama.context_length", "uint32", config.max_position_embeddings),
    entry("llama.embedding_length", "uint32", config.hidden_size),
    entry("llama.feed_forward_length", "uint32", config.intermediate_size),
    entry("llama.block_count", "uint32", config.num_hidden_layers),
    entry("llama.attention.head_count", "uint32", config.num_attention_heads),
    entry("llama.attention.head_count_kv", "uint32", config.num_key_value_heads),
    entry("llama.rope.dimension_count", "uint32", config.hidden_size / config.num_attention_heads),
    entry("llama.rope.freq_base", "float32", config.rope_theta),
    entry("llama.attention.layer_norm_rms_epsilon", "float32", config.rms_norm_eps),
    entry("tokenizer.ggml.model", "string", "llama"),
    list(
      "tokenizer.ggml.tokens",
      "string",
      tokens.map(([token]) => token),
    ),
    list(
      "tokenizer.ggml.scores",
      "float32",
      tokens.map((_, i) => -i),
    ),
    list(
      "tokenizer.ggml.token_type",
      "int32",
      tokens.map(([, type]) => type),
    ),
    entry("tokenizer.ggml.unknown_token_id", "uint32", 0),
    entry("tokenizer.ggml.bos_token_id", "uint32", 1),
    entry("tokenizer.ggml.eos_token_id", "uint32", 2),
  ];
}

/** RoPE in llama.cpp rotates elements 2i and 2i + 1 of a head together, in Hugging Face i and i + d/2. */
function interleavedHeads(bytes, heads, rows) {
  const rowBytes = bytes.length / rows;
  const half = rows / heads / 2;
  const out = Buffer.alloc(bytes.length);
  for (let head = 0; head < heads; head++)
    for (let i = 0; i < half; i++)
      for (const part of [0, 1]) {
        const from = (head * 2 * half + part * half + i) * rowBytes;
        bytes.copy(out, (head * 2 * half + 2 * i + part) * rowBytes, from, from + rowBytes);
      }
  return out;
}

function widened(bytes) {
  const narrow = new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  return Buffer.from(Uint32Array.from(narrow, (bits) => (bits << 16) >>> 0).buffer);
}

function tensorBytes(name, { shape }, stored, config) {
  if (shape.length === 1) return widened(stored);
  if (name.endsWith("q_proj.weight")) return interleavedHeads(stored, config.num_attention_heads, shape[0]);
  if (name.endsWith("k_proj.weight")) return interleavedHeads(stored, config.num_key_value_heads, shape[0]);
  return stored;
}

const padded = (size) => Math.ceil(size / alignment) * alignment;

/** @param {string} folder with config.json and model.safetensors @param {string} path of the GGUF file to write */
export function writeGguf(folder, path) {
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
  const file = readFileSync(join(folder, "model.safetensors"));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + headerBytes));
  const tensors = Object.entries(header).filter(([name]) => name !== "__metadata__");
  const infos = [];
  let offset = 0;
  for (const [name, { shape, dtype }] of tensors) {
    if (dtype !== "BF16") throw new Error(`Expected BF16 but ${name} has ${dtype}`);
    const vector = shape.length === 1;
    const sizes = [...shape].reverse().map(u64);
    infos.push(text(ggufName(name)), u32(shape.length), ...sizes, u32(vector ? ggml.f32 : ggml.bf16), u64(offset));
    offset = padded(offset + shape.reduce((product, size) => product * size, vector ? 4 : 2));
  }
  const entries = metadata(config);
  const head = Buffer.concat([
    Buffer.from("GGUF"),
    u32(3),
    u64(tensors.length),
    u64(entries.length),
    ...entries,
    ...infos,
  ]);
  const output = openSync(path, "w");
  try {
    const put = (bytes) => {
      for (let at = 0; at < bytes.length; ) at += writeSync(output, bytes, at);
      const rest = padded(bytes.length) - bytes.length;
      if (rest > 0) writeSync(output, Buffer.alloc(rest));
    };
    put(head);
    for (const [name, info] of tensors) {
      const [begin, end] = info.data_offsets.map((at) => at + 8 + headerBytes);
      put(tensorBytes(name, info, file.subarray(begin, end), config));
    }
  } finally {
    closeSync(output);
  }
}

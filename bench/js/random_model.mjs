/**
 * Writes a LLaMA of a given shape with random weights as a Hugging Face folder, one file or shards with an index, in
 * bounded memory.
 *
 *     node bench/js/random_model.mjs FOLDER [--shape tiny|embedded|15m|110m|7b] [--dtype float32|bfloat16]
 *                                           [--shards N] [--seed N] [--tokenizer FOLDER]
 *
 * Norm gains are 1; the rest is normal with standard deviation 0.02: 16 random bits choose one of 65,536 quantiles. A
 * tensor's bytes depend on the seed, its name and the dtype, not on the shards.
 */
import { closeSync, copyFileSync, existsSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { shapes, tensorsOf } from "./shapes.mjs";

const deviation = 0.02;
/** Bytes generated and written at once. */
const pieceBytes = 8 << 20;

const kinds = {
  float32: { tag: "F32", bytes: 4, bits: (value) => new Uint32Array(Float32Array.of(value).buffer)[0] },
  bfloat16: { tag: "BF16", bytes: 2, bits: (value) => toBf16(value) },
};

/** Bits of a finite number as bf16, to nearest, ties to even. */
function toBf16(value) {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0];
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** Quantile of the normal distribution for p in (0, 1/2], to 4.5e-4 (Abramowitz and Stegun 26.2.23). */
function lowerQuantile(p) {
  const t = Math.sqrt(-2 * Math.log(p));
  return (
    (2.515517 + 0.802853 * t + 0.010328 * t * t) / (1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t * t * t) - t
  );
}

/** Bits of the 65,536 values. */
function quantileBits(kind) {
  const table = new Uint32Array(65536);
  for (let i = 0; i < 32768; i++) {
    const value = deviation * lowerQuantile((i + 0.5) / 65536);
    table[i] = kind.bits(value);
    table[65535 - i] = kind.bits(-value);
  }
  return table;
}

/** A non-zero seed for a tensor: FNV-1a of its name over the run's seed. */
function seedOf(name, seed) {
  let hash = (0x811c9dc5 ^ seed) >>> 0;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash === 0 ? 1 : hash;
}

/** Fills words with table entries, two of 16 or one of 32 bits each; xorshift32 (Marsaglia 2003). @returns its state */
function fill(words, count, table, narrow, seed) {
  let state = seed | 0;
  for (let i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = narrow ? table[state & 0xffff] | (table[state >>> 16] << 16) : table[(state ^ (state >>> 16)) & 0xffff];
  }
  return state;
}

function writeAll(file, bytes) {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

function headerOf(tensors) {
  const header = { __metadata__: { format: "pt" } };
  let offset = 0;
  for (const { name, shape, tag, bytes } of tensors) {
    header[name] = { dtype: tag, shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padding = Buffer.alloc((8 - (json.length % 8)) % 8, " ");
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length + padding.length));
  return Buffer.concat([length, json, padding]);
}

function writeTensor(file, { name, ones, bytes }, kind, table, seed) {
  const words = new Uint32Array(Math.ceil(Math.min(bytes, pieceBytes) / 4));
  const narrow = kind.bytes === 2;
  const one = kind.bits(1);
  if (ones) words.fill(narrow ? one | (one << 16) : one);
  let state = seedOf(name, seed);
  for (let left = bytes; left > 0; ) {
    const size = Math.min(left, pieceBytes);
    if (!ones) state = fill(words, Math.ceil(size / 4), table, narrow, state);
    writeAll(file, Buffer.from(words.buffer, 0, size));
    left -= size;
  }
}

/** Tensors in order, split so that each shard has about the same number of bytes. */
function partition(tensors, shards) {
  const total = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  const parts = Array.from({ length: shards }, () => []);
  let before = 0;
  for (const tensor of tensors) {
    parts[Math.min(shards - 1, Math.floor(((before + tensor.bytes / 2) * shards) / total))].push(tensor);
    before += tensor.bytes;
  }
  if (parts.some((part) => part.length === 0)) throw new Error(`this shape cannot be split into ${shards} shards`);
  return parts;
}

const tokenizerFiles = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

/**
 * @param {string} folder created if needed
 * @param {object} config config.json's fields, see shapes.mjs
 * @param {{dtype?: "float32" | "bfloat16", shards?: number, seed?: number, tokenizer?: string}} options tokenizer: a folder
 *   whose tokenizer files are copied
 * @returns {number} bytes of tensors
 */
export function writeRandomModel(folder, config, { dtype = "float32", shards = 1, seed = 1, tokenizer } = {}) {
  const kind = kinds[dtype];
  if (!kind) throw new Error(`Expected float32 or bfloat16 but received ${dtype}`);
  mkdirSync(folder, { recursive: true });
  const table = quantileBits(kind);
  const sized = tensorsOf(config).map((tensor) => ({
    ...tensor,
    tag: kind.tag,
    bytes: tensor.shape.reduce((product, size) => product * size, kind.bytes),
  }));
  const total_size = sized.reduce((sum, { bytes }) => sum + bytes, 0);
  const weight_map = {};
  for (const [index, part] of partition(sized, shards).entries()) {
    const number = (n) => String(n).padStart(5, "0");
    const name = shards === 1 ? "model.safetensors" : `model-${number(index + 1)}-of-${number(shards)}.safetensors`;
    const file = openSync(join(folder, name), "w");
    try {
      writeAll(file, headerOf(part));
      for (const tensor of part) {
        writeTensor(file, tensor, kind, table, seed);
        weight_map[tensor.name] = name;
      }
    } finally {
      closeSync(file);
    }
  }
  const json = (name, value) => writeFileSync(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
  if (shards > 1) json("model.safetensors.index.json", { metadata: { total_size }, weight_map });
  for (const name of tokenizer ? tokenizerFiles : [])
    if (existsSync(join(tokenizer, name))) copyFileSync(join(tokenizer, name), join(folder, name));
  json("config.json", { ...config, torch_dtype: dtype }); // last: a folder with it is complete
  return total_size;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      shape: { type: "string", default: "15m" },
      dtype: { type: "string", default: "float32" },
      shards: { type: "string", default: "1" },
      seed: { type: "string", default: "1" },
      tokenizer: { type: "string" },
    },
  });
  const config = shapes[values.shape];
  if (positionals.length !== 1 || !config) {
    console.error(`usage: node bench/js/random_model.mjs FOLDER [--shape ${Object.keys(shapes).join("|")}] ...`);
    process.exit(2);
  }
  const start = performance.now();
  const { dtype, tokenizer } = values;
  const options = { dtype, tokenizer, shards: Number(values.shards), seed: Number(values.seed) };
  const bytes = writeRandomModel(positionals[0], config, options);
  console.log(`${(bytes / 1e9).toFixed(3)} GB in ${((performance.now() - start) / 1e3).toFixed(1)} s`);
}

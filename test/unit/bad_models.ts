/** Model folders that cannot be loaded. */
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ErrorCode } from "../../lib/errors";
import { broken, type Case, inConfig, inHeader, inspects, loads, q, weightsOf } from "./bad_input_support";
import { appendTensor } from "./cli_support";

/** A model that cannot be loaded. */
const model = (what: string, make: Case["make"], code: ErrorCode, says: RegExp): Case => ({
  what,
  make,
  argv: inspects,
  api: loads,
  code,
  says,
});

export const badModels: readonly Case[] = [
  model("a folder that is not there", undefined, "ERR_FILE", /Expected a model folder at .*ENOENT/),
  model("a file in place of a folder", (folder) => writeFileSync(folder, ""), "ERR_FILE", /but it is a file/),
  model(
    "no config.json",
    broken((f) => rmSync(join(f, "config.json"))),
    "ERR_FILE",
    /config\.json/,
  ),
  model(
    "a config.json that is not JSON",
    broken((f) => writeFileSync(join(f, "config.json"), "{")),
    "ERR_JSON",
    /config\.json/,
  ),
  model(
    "another model_type",
    inConfig({ model_type: "gpt_neox" }),
    "ERR_CONFIG",
    /Expected "llama", "mistral", "qwen2", "qwen3", "phi3" or "gpt2" for model_type.*gpt_neox/,
  ),
  model("a size that is not a number", inConfig({ hidden_size: "16" }), "ERR_CONFIG", /hidden_size/),
  model("layers without end", inConfig({ num_hidden_layers: 1e9 }), "ERR_CONFIG", /1 to 4096 for num_hidden_layers/),
  model("a head without end", inConfig({ head_dim: 2 ** 33 }), "ERR_CONFIG", /2 to 256 for head_dim/),
  model("heads that do not divide", inConfig({ num_key_value_heads: 3 }), "ERR_CONFIG", /num_key_value_heads/),
  model("an unsupported rope", inConfig({ rope_scaling: { rope_type: "yarn", factor: 2 } }), "ERR_CONFIG", /rope/),
  model(
    "no weights",
    broken((f) => rmSync(weightsOf(f))),
    "ERR_FILE",
    /Expected model\.safetensors or/,
  ),
  model(
    "a pipe in place of the weights",
    broken((f) => {
      rmSync(weightsOf(f));
      execFileSync("mkfifo", [weightsOf(f)]);
    }),
    "ERR_FILE",
    /Expected a regular file at .*model\.safetensors but it is a pipe/,
  ),
  model(
    "an empty weights file",
    broken((f) => truncateSync(weightsOf(f), 0)),
    "ERR_SAFETENSORS",
    /model\.safetensors/,
  ),
  model(
    "a cut-off file",
    broken((f) => truncateSync(weightsOf(f), statSync(weightsOf(f)).size - 10)),
    "ERR_SAFETENSORS",
    /model\.safetensors/,
  ),
  model(
    "an absurd header length",
    broken((f) => {
      const bytes = readFileSync(weightsOf(f));
      bytes.writeBigUInt64LE(1n << 60n);
      writeFileSync(weightsOf(f), bytes);
    }),
    "ERR_SAFETENSORS",
    /header/,
  ),
  model(
    "a header that is not JSON",
    inHeader(() => "{nonsense"),
    "ERR_SAFETENSORS",
    /model\.safetensors/,
  ),
  model(
    "a tensor twice in the header",
    inHeader((h) => {
      const text = JSON.stringify(h);
      return `${text.slice(0, -1)},${JSON.stringify(q)}:${JSON.stringify(h[q])}}`;
    }),
    "ERR_SAFETENSORS",
    /q_proj|twice|duplicate/i,
  ),
  model(
    "overlapping offsets",
    inHeader((h) => {
      h[q]!.data_offsets = h["model.layers.0.self_attn.k_proj.weight"]!.data_offsets;
    }),
    "ERR_SAFETENSORS",
    /model\.safetensors/,
  ),
  model(
    "a wrong shape",
    inHeader((h) => {
      h["model.layers.0.mlp.down_proj.weight"]!.shape.reverse();
    }),
    "ERR_SHAPE",
    /down_proj.*\[16, 24\]|\[16, 24\].*down_proj/s,
  ),
  model(
    "a wrong dtype",
    inHeader((h) => {
      h[q]!.dtype = "I32";
    }),
    "ERR_DTYPE",
    /q_proj.*I32|I32.*q_proj/s,
  ),
  model(
    "a missing tensor",
    inHeader((h) => {
      h["model.other.weight"] = h[q]!;
      delete h[q];
    }),
    "ERR_TENSOR_MISSING",
    /q_proj/,
  ),
  model(
    "a tensor too many",
    broken((f) => appendTensor(weightsOf(f), "model.extra.weight")),
    "ERR_TENSOR_UNEXPECTED",
    /model\.extra\.weight/,
  ),
  model(
    "a missing shard",
    broken((f) => {
      const map = { [q]: "model-00001-of-00002.safetensors", "model.norm.weight": "model-00002-of-00002.safetensors" };
      writeFileSync(join(f, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
      rmSync(weightsOf(f));
    }),
    "ERR_FILE",
    /model-0000[12]-of-00002/,
  ),
  model(
    "an index that leaves the folder",
    broken((f) => {
      rmSync(weightsOf(f));
      writeFileSync(
        join(f, "model.safetensors.index.json"),
        JSON.stringify({ weight_map: { [q]: "../x.safetensors" } }),
      );
    }),
    "ERR_SAFETENSORS",
    /Expected file names without folders/,
  ),
  model(
    "an index with a name that no file can have",
    broken((f) => {
      const map = { [q]: `\u001b${"y".repeat(255)}` };
      rmSync(weightsOf(f));
      writeFileSync(join(f, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
    }),
    "ERR_SAFETENSORS",
    /Expected file names without folders .* received "\\u001by{70,76}\.\.\."/,
  ),
  model(
    "an index with a name of several lines",
    broken((f) => {
      const map = { [q]: "x\nrubricate: all is well\u001b[2J" };
      rmSync(weightsOf(f));
      writeFileSync(join(f, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
    }),
    "ERR_FILE",
    /Expected the shard .*x\\nrubricate: all is well\\u001b\[2J, which/,
  ),
  model(
    "a tokenizer that is not JSON",
    broken((f) => writeFileSync(join(f, "tokenizer.json"), "[")),
    "ERR_TOKENIZER",
    /tokenizer\.json/,
  ),
  model(
    "a tokenizer without a vocabulary",
    broken((f) => writeFileSync(join(f, "tokenizer.json"), '{"model":{}}')),
    "ERR_TOKENIZER",
    /model\.vocab/,
  ),
];

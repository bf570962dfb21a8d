/**
 * Merges random adapters into a base, for merged.py, which loads the folders with transformers.
 *
 *     node merged.mjs --model FOLDER --out FOLDER [--dtype float32]
 *
 * Writes OUT/red and OUT/lora, each a merged model with expected.json: {"ids", "logits"}, what base and adapter compute in float32. RED has
 * all sites, and biases where the family has a place for all of them.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { built, rubricate } from "../js/package.mjs";

const { Random } = built("data/random.js");
const option = { type: "string" };
const { values } = parseArgs({ options: { model: option, out: option, dtype: option } });
if (!values.model || !values.out) {
  console.error("usage: node merged.mjs --model FOLDER --out FOLDER [--dtype float32]");
  process.exit(2);
}
const { LanguageModel, LoraAdapter, RedAdapter, mergeAdapter } = rubricate;
const model = await LanguageModel.fromPretrained(values.model, { device: "cpu", dtype: "float32" });
const random = new Random(5, [1, 1]);
const number = () => random.uint32() / 2 ** 31 - 1;
const ids = Int32Array.from(
  { length: Math.min(48, model.contextLength) },
  () => random.uint32() % model.vocabularySize,
);
const { family } = model.architecture;
const sites = ["q", "k", "v", "attention", "up", "ffn", ...(family === "gpt2" ? [] : ["gate"])];
const variant = ["llama", "gpt2"].includes(family) ? "all" : "scale";

for (const [name, adapter] of [
  ["red", await RedAdapter.create(model, { variant, sites })],
  ["lora", await LoraAdapter.create(model, { rank: 4, targetModules: "all-linear" })],
]) {
  const start = (parameter) => (parameter.endsWith("scale") ? 1 : 0);
  const vectors = [...adapter.vectors()].map(([parameter, one]) => [
    parameter,
    one.map(() => start(parameter) + 0.2 * number()),
  ]);
  adapter.setVectors(new Map(vectors));
  const folder = join(values.out, name);
  await mergeAdapter(model, adapter, folder, { overwrite: true, dtype: values.dtype });
  const logits = await model.logits(ids, { adapter });
  writeFileSync(join(folder, "expected.json"), JSON.stringify({ ids: [...ids], logits: [...logits] }));
}

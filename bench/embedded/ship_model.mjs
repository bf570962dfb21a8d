/**
 * Makes the shipped model from the trained masters: weights and config.json's dtype in bf16.
 *
 *     node bench/embedded/ship_model.mjs MASTER_FOLDER MODEL_FOLDER
 *
 * MASTER_FOLDER holds config.json, generation_config.json and model.safetensors in fp32.
 */
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readSafetensors, toBf16, writeSafetensors } from "./safetensors.mjs";
import { readJson } from "./tokens.mjs";

const [masters, model] = process.argv.slice(2);
if (!model) {
  console.error("usage: node bench/embedded/ship_model.mjs MASTER_FOLDER MODEL_FOLDER");
  process.exit(2);
}
const tensors = readSafetensors(readFileSync(join(masters, "model.safetensors"))).map((tensor) => {
  if (tensor.dtype !== "F32") throw new Error(`${tensor.name} is ${tensor.dtype}, not F32`);
  return { ...tensor, dtype: "BF16", bytes: toBf16(tensor.bytes) };
});
const file = writeSafetensors(tensors);
writeFileSync(join(model, "model.safetensors"), file);
const config = { ...readJson(join(masters, "config.json")), torch_dtype: "bfloat16" };
writeFileSync(join(model, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
copyFileSync(join(masters, "generation_config.json"), join(model, "generation_config.json"));
console.log(`${tensors.length} tensors, ${file.length} bytes`);

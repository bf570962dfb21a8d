/**
 * The names of the files in a model's folder. The loader reads no others. A saved model consists of these, and existing
 * files with these names that are not part of it are removed.
 */
import { join } from "node:path";
import { RubricateError } from "../errors";
import { limits } from "../limits";
import { present } from "./read";

/** The weights in one file. A saved model has this form, and the loader prefers it, as transformers does. */
export const weightsFile = "model.safetensors";
/** The index: the shard of each tensor. */
export const indexFile = "model.safetensors.index.json";
/** Shards as transformers names them. */
export const shardName = /^model-\d{5}-of-\d{5}\.safetensors$/;

/** All files except the weights: a saved model has them unchanged. The number is the limit of their bytes. */
export const companionFiles = {
  "config.json": limits.documentBytes,
  "generation_config.json": limits.documentBytes,
  "tokenizer.json": limits.tokenizerBytes,
  "tokenizer_config.json": limits.tokenizerConfigBytes,
  "special_tokens_map.json": limits.documentBytes,
  "added_tokens.json": limits.tokenizerConfigBytes,
  "chat_template.jinja": limits.documentBytes,
} as const;

/**
 * The files of an adapter. transformers applies one that it finds in a model's folder to the weights, so that a model and an
 * adapter have a folder each.
 */
export const adapterConfigFile = "adapter_config.json";
export const adapterTensorFile = "adapter_model.safetensors";
/** PEFT's older form of the second. */
export const adapterPickle = "adapter_model.bin";

/** The folder of named chat templates, one file each. */
export const templatesFolder = "additional_chat_templates";
export const templateName = /^[^/\\\0]+\.jinja$/;
/** Limit of the bytes of each. */
export const templateBytes = limits.documentBytes;

/**
 * Checks a folder into which an adapter will be saved. What else is wrong with the folder, the write reports.
 * @throws RubricateError ERR_FILE if it has a model
 */
export async function requireNoModel(folder: string): Promise<void> {
  for (const name of ["config.json", weightsFile, indexFile])
    if (await present(join(folder, name)).catch(() => false))
      throw new RubricateError(
        "ERR_FILE",
        `Expected a folder without a model for the adapter at ${folder} but found ${name}: transformers would apply the ` +
          "adapter to that model; give another folder",
      );
}

/**
 * The names of the files in a model's folder. The loader reads no others. A saved model consists of these, and existing
 * files with these names that are not part of it are removed.
 */
import { limits } from "../limits";

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

/** The folder of named chat templates, one file each. */
export const templatesFolder = "additional_chat_templates";
export const templateName = /^[^/\\\0]+\.jinja$/;
/** Limit of the bytes of each. */
export const templateBytes = limits.documentBytes;

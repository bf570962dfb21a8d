/**
 * The names of the files in a model's folder. The loader reads no others; so a saved model consists of these, and of what a
 * folder had before, these are what must not stay beside it.
 */
import { limits } from "../limits";

/** The weights in one file: what a saved model has, and what the loader prefers, as transformers does. */
export const weightsFile = "model.safetensors";
/** Which shard has which tensor. */
export const indexFile = "model.safetensors.index.json";
/** Shards as transformers names them. */
export const shardName = /^model-\d{5}-of-\d{5}\.safetensors$/;

/** All but the weights: what a saved model keeps as it is, and how many bytes each may have. */
export const companionFiles = {
  "config.json": limits.documentBytes,
  "generation_config.json": limits.documentBytes,
  "tokenizer.json": limits.tokenizerBytes,
  "tokenizer_config.json": limits.tokenizerConfigBytes,
  "special_tokens_map.json": limits.documentBytes,
  "added_tokens.json": limits.tokenizerConfigBytes,
  "chat_template.jinja": limits.documentBytes,
} as const;

/** The folder of named chat templates, each a file of its own. */
export const templatesFolder = "additional_chat_templates";
export const templateName = /^[^/\\\0]+\.jinja$/;
/** Bytes that each may have. */
export const templateBytes = limits.documentBytes;

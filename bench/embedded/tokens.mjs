/** The embedded model's tokenizer and corpus as token ids, for the scripts in this folder. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";

export const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));

/** @returns {Tokenizer} of a folder with tokenizer.json and tokenizer_config.json */
export function loadTokenizer(folder) {
  return new Tokenizer(readJson(join(folder, "tokenizer.json")), readJson(join(folder, "tokenizer_config.json")));
}

/** @returns {number[]} ids of the text alone, no special tokens added */
export function encode(tokenizer, text) {
  return tokenizer.encode(text, { add_special_tokens: false }).ids;
}

/** @returns {number} id of a special token */
export function specialId(tokenizer, token) {
  const id = tokenizer.token_to_id(token);
  if (id === undefined) throw new Error(`the tokenizer has no token ${token}`);
  return id;
}

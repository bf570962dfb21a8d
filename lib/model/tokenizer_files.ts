import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { RubricateError } from "../errors";

type Json = Record<string, unknown>;

/** One entry of tokenizer.json's `added_tokens`. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly single_word: boolean;
}

/** What a tokenizer is made of, in the form that transformers would use. */
export interface TokenizerDefinition {
  /** tokenizer.json, with `added_tokens`, `normalizer`, `pre_tokenizer`, `post_processor` and `decoder` as transformers sets them. */
  readonly tokenizer: Json;
  /** Contents of the special tokens by name: `bos_token`, `eos_token`, `unk_token`, ... */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** `eos_token_id` of generation_config.json, as a list. */
  readonly generationEosIds: readonly number[];
  /** `bos_token_id` of generation_config.json. */
  readonly generationBosId: number | undefined;
  readonly cleanUpSpaces: boolean;
  readonly chatTemplate: string | undefined;
  /** SHA-256, in hexadecimal, of tokenizer.json and the chat template. */
  readonly hash: string;
}

const specialNames = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

async function readOptional(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new RubricateError("ERR_TOKENIZER", `Cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}

function parseObject(text: string, file: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new RubricateError("ERR_TOKENIZER", `${file} is not valid JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (!isObject(value)) throw new RubricateError("ERR_TOKENIZER", `${file} does not hold a JSON object`);
  return value;
}

/** Contents of a tokenizer's files, as text, cheap to send to a worker thread; those that a folder lacks are undefined. */
export interface TokenizerFiles {
  /** Where they come from, for error messages. */
  readonly directory: string;
  readonly tokenizerJson: string;
  readonly tokenizerConfig?: string | undefined;
  readonly specialTokensMap?: string | undefined;
  readonly generationConfig?: string | undefined;
  readonly chatTemplate?: string | undefined;
}

/**
 * Reads tokenizer.json and, as present, tokenizer_config.json, special_tokens_map.json, generation_config.json and
 * chat_template.jinja of a folder.
 * @throws {RubricateError} ERR_TOKENIZER naming the file that is missing or malformed
 */
export async function readTokenizerFiles(directory: string): Promise<TokenizerFiles> {
  const at = (name: string) => path.join(directory, name);
  const [tokenizerJson, tokenizerConfig, specialTokensMap, generationConfig, chatTemplate] = await Promise.all(
    [
      "tokenizer.json",
      "tokenizer_config.json",
      "special_tokens_map.json",
      "generation_config.json",
      "chat_template.jinja",
    ].map((name) => readOptional(at(name))),
  );
  if (tokenizerJson === undefined)
    throw new RubricateError("ERR_TOKENIZER", `${at("tokenizer.json")} does not exist; a tokenizer is read from it`);
  return { directory, tokenizerJson, tokenizerConfig, specialTokensMap, generationConfig, chatTemplate };
}

/** @throws {RubricateError} ERR_TOKENIZER naming the file that is malformed */
export function defineTokenizer(files: TokenizerFiles): TokenizerDefinition {
  const at = (name: string) => path.join(files.directory, name);
  const parsed = (text: string | undefined, name: string) => (text === undefined ? {} : parseObject(text, at(name)));
  const tokenizer = parseObject(files.tokenizerJson, at("tokenizer.json"));
  checkTokenizerJson(tokenizer, at("tokenizer.json"));
  const config = parsed(files.tokenizerConfig, "tokenizer_config.json");
  const generation = parsed(files.generationConfig, "generation_config.json");
  const specialTokens = namedSpecialTokens(parsed(files.specialTokensMap, "special_tokens_map.json"), config);
  const chatTemplate = files.chatTemplate ?? templateOf(config, at("tokenizer_config.json"));
  const hash = createHash("sha256").update(files.tokenizerJson);
  if (chatTemplate !== undefined) hash.update("\0").update(chatTemplate);
  return {
    tokenizer: asTransformersBuildsIt(tokenizer, config, specialTokens),
    specialTokens,
    generationEosIds: idList(generation.eos_token_id),
    generationBosId: idList(generation.bos_token_id)[0],
    cleanUpSpaces: config.clean_up_tokenization_spaces === true && (tokenizer.model as Json).type !== "BPE",
    chatTemplate,
    hash: hash.digest("hex"),
  };
}

function checkTokenizerJson(tokenizer: Json, file: string): void {
  const fail = (what: string) => new RubricateError("ERR_TOKENIZER", `${file} ${what}`);
  const model = tokenizer.model;
  if (!isObject(model)) throw fail("has no `model` object");
  if (!isObject(model.vocab) && !Array.isArray(model.vocab)) throw fail("has no `model.vocab`");
  if (model.type === "BPE") {
    if (!Array.isArray(model.merges)) throw fail("has no `model.merges`");
    const ids = Object.values(model.vocab);
    // An absurd id would make tables of that length.
    if (!ids.every((id) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < 1 << 24))
      throw fail("has a token whose id is not an integer in [0, 2^24)");
  }
  if (tokenizer.added_tokens != null && !Array.isArray(tokenizer.added_tokens))
    throw fail("has `added_tokens` that are no list");
  for (const token of (tokenizer.added_tokens ?? []) as unknown[])
    if (!isObject(token) || typeof token.content !== "string" || !Number.isInteger(token.id) || token.content === "")
      throw fail("has an entry of `added_tokens` without `id` or `content`");
}

function contentOf(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  return isObject(token) && typeof token.content === "string" ? token.content : undefined;
}

function namedSpecialTokens(map: Json, config: Json): Record<string, string> {
  const named: Record<string, string> = {};
  for (const source of [map, config])
    for (const name of specialNames) {
      const content = contentOf(source[name]);
      if (content) named[name] = content;
    }
  return named;
}

function idList(value: unknown): number[] {
  return (Array.isArray(value) ? value : [value]).filter((id): id is number => Number.isInteger(id) && id >= 0);
}

function templateOf(config: Json, file: string): string | undefined {
  const template = config.chat_template;
  if (template == null) return undefined;
  if (typeof template === "string") return template;
  if (Array.isArray(template)) {
    const entry = template.find((one) => isObject(one) && one.name === "default");
    if (isObject(entry) && typeof entry.template === "string") return entry.template;
    if (template.every((one) => isObject(one) && typeof one.template === "string")) return undefined;
  }
  throw new RubricateError(
    "ERR_TOKENIZER",
    `${file} has a \`chat_template\` that is neither a string nor a list of named templates`,
  );
}

/**
 * The changes that transformers (5.x, `TokenizersBackend` and `LlamaTokenizer`) makes to tokenizer.json: tokens declared in
 * tokenizer_config.json, and SentencePiece-like LLaMA tokenizers rebuilt with a Metaspace pre-tokenizer. BOS and EOS are what
 * the post-processor of tokenizer.json says; `add_bos_token` and `add_eos_token` are not read beside it.
 */
function asTransformersBuildsIt(tokenizer: Json, config: Json, specialTokens: Record<string, string>): Json {
  const result: Json = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, ...tokenizer };
  result.added_tokens = addedTokens(tokenizer, config, specialTokens);
  const className = typeof config.tokenizer_class === "string" ? config.tokenizer_class.replace(/Fast$/, "") : "";
  const model = tokenizer.model as Json;
  const byteLevel = JSON.stringify([tokenizer.pre_tokenizer, tokenizer.decoder]).includes('"ByteLevel"');
  if (className === "LlamaTokenizer" && model.type === "BPE" && !byteLevel) rebuildAsLlama(result, config);
  splitAtMetaspace(result);
  return result;
}

function addedTokens(tokenizer: Json, config: Json, specialTokens: Record<string, string>): AddedToken[] {
  const byId = new Map<number, AddedToken>();
  const add = (id: number, token: Json) =>
    byId.set(id, {
      id,
      content: token.content as string,
      special: token.special === true,
      lstrip: token.lstrip === true,
      rstrip: token.rstrip === true,
      single_word: token.single_word === true,
      normalized: typeof token.normalized === "boolean" ? token.normalized : token.special !== true,
    });
  for (const token of (tokenizer.added_tokens ?? []) as Json[]) add(token.id as number, token);
  const declared = isObject(config.added_tokens_decoder) ? config.added_tokens_decoder : {};
  for (const [id, token] of Object.entries(declared))
    if (/^\d{1,8}$/.test(id) && isObject(token) && contentOf(token)) add(Number(id), token);
  const vocabulary = (tokenizer.model as Json).vocab;
  for (const content of Object.values(specialTokens)) {
    const known = [...byId.values()].find((token) => token.content === content);
    if (known) byId.set(known.id, { ...known, special: true });
    else if (isObject(vocabulary) && Object.hasOwn(vocabulary, content))
      add(vocabulary[content] as number, { content, special: true });
  }
  return [...byId.values()].sort((a, b) => a.id - b.id);
}

function rebuildAsLlama(tokenizer: Json, config: Json): void {
  const prefixed = config.add_prefix_space !== false && config.add_prefix_space !== 0;
  const scheme = !prefixed ? "never" : config.legacy === true ? "always" : "first";
  const strip = prefixed ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : [];
  tokenizer.normalizer = null;
  tokenizer.pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme: scheme, split: false };
  tokenizer.decoder = {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      ...strip,
    ],
  };
  tokenizer.model = {
    ...(tokenizer.model as Json),
    unk_token: null,
    fuse_unk: true,
    byte_fallback: true,
    ignore_merges: false,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
  };
}

/** @huggingface/tokenizers leaves out Metaspace's splitting into words, which the original does unless `split` is false. */
function splitAtMetaspace(tokenizer: Json): void {
  const metaspace = tokenizer.pre_tokenizer;
  if (!isObject(metaspace) || metaspace.type !== "Metaspace" || metaspace.split === false) return;
  const words = { type: "Split", pattern: { Regex: "▁[^▁]*|[^▁]+" }, behavior: "Isolated", invert: true };
  tokenizer.pre_tokenizer = { type: "Sequence", pretokenizers: [metaspace, words] };
}

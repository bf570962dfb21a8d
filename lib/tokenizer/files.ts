import { createHash } from "node:crypto";
import path from "node:path";
import { escaped, invalid, oneLine, quoted, RubricateError } from "../errors";
import { finishInto } from "../files/atomic";
import { isObject, type JsonObject } from "../files/json";
import { present, readBytes, readText } from "../files/read";
import { limits } from "../limits";
import { eachIn, type Steps, sortedIn } from "../steps";
import { parseInPieces } from "./json_pieces";
import { checkAddedToken, checkComponents, checkDocument, checkProcessor } from "./schema";
import { idLimit, parseTokenizerJson, type TokenizerDocument } from "./tokenizer_json";

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
  readonly tokenizer: JsonObject;
  /** Vocabulary and merges. */
  readonly bpe: TokenizerDocument["bpe"];
  /** Contents of the special tokens by name: `bos_token`, `eos_token`, `unk_token`, ... */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** `eos_token_id` of generation_config.json, as a list. */
  readonly generationEosIds: readonly number[];
  /** `bos_token_id` of generation_config.json. */
  readonly generationBosId: number | undefined;
  readonly chatTemplate: string | undefined;
  /** SHA-256, in hexadecimal, of tokenizer.json, what other files change of it, and the chat template. */
  readonly hash: string;
}

const specialNames = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/** A document of the tokenizer's folder, in steps: tokenizer_config.json may have thousands of added tokens. */
function* parseObject(text: string, file: string): Steps<JsonObject> {
  let value: unknown;
  try {
    value = yield* parseInPieces(Buffer.from(text));
  } catch (error) {
    throw new RubricateError("ERR_TOKENIZER", `${file} is not valid JSON: ${oneLine((error as Error).message)}`, {
      cause: error,
    });
  }
  if (!isObject(value)) throw new RubricateError("ERR_TOKENIZER", `${file} does not hold a JSON object`);
  return value;
}

/** Contents of a tokenizer's files, as text; those that a folder lacks are undefined. */
export interface TokenizerFiles {
  /** Where they come from, for error messages. */
  readonly directory: string;
  readonly tokenizerJson: string;
  readonly tokenizerConfig?: string | undefined;
  readonly specialTokensMap?: string | undefined;
  readonly generationConfig?: string | undefined;
  readonly chatTemplate?: string | undefined;
}

/** The same for another thread: tokenizer.json, which may have many megabytes, as bytes in shared memory if it was read so. */
export type SharedTokenizerFiles = Omit<TokenizerFiles, "tokenizerJson"> & {
  readonly tokenizerJson: string | Uint8Array;
};

/** Bytes of the tokenizer.json of files that were read, in shared memory. */
const sharedBytes = new WeakMap<TokenizerFiles, Buffer>();

/** Files whose tokenizer.json becomes text when somebody asks for that. */
function filesWith(bytes: Buffer, others: Omit<TokenizerFiles, "tokenizerJson">): TokenizerFiles {
  let text: string | undefined;
  const files = {
    ...others,
    get tokenizerJson() {
      text ??= bytes.toString("utf8");
      return text;
    },
  };
  sharedBytes.set(files, bytes);
  return files;
}

/** What another thread makes the same tokenizer of, and gets without a copy. */
export function shareTokenizerFiles(files: TokenizerFiles): SharedTokenizerFiles {
  const { directory, tokenizerConfig, specialTokensMap, generationConfig, chatTemplate } = files;
  const tokenizerJson = sharedBytes.get(files) ?? files.tokenizerJson;
  return { directory, tokenizerConfig, specialTokensMap, generationConfig, chatTemplate, tokenizerJson };
}

/** The other end of `shareTokenizerFiles`. */
export function sharedTokenizerFiles(files: SharedTokenizerFiles): TokenizerFiles {
  const { tokenizerJson, ...others } = files;
  if (typeof tokenizerJson === "string") return { ...others, tokenizerJson };
  const { buffer, byteOffset, byteLength } = tokenizerJson;
  return filesWith(Buffer.from(buffer, byteOffset, byteLength), others);
}

/**
 * Reads tokenizer.json and, as present, tokenizer_config.json, special_tokens_map.json, generation_config.json and
 * chat_template.jinja of a folder.
 * @throws {RubricateError} ERR_FILE where one cannot be read, ERR_TOKENIZER where tokenizer.json is missing
 */
export async function readTokenizerFiles(directory: string): Promise<TokenizerFiles> {
  await finishInto(directory); // or files of two tokenizers might be read
  const at = (name: string) => path.join(directory, name);
  const asText = async (name: string, limit: number = limits.documentBytes) =>
    (await present(at(name))) ? readText(at(name), limit) : undefined;
  if (!(await present(at("tokenizer.json"))))
    throw new RubricateError("ERR_TOKENIZER", `${at("tokenizer.json")} does not exist; a tokenizer is read from it`);
  const [bytes, tokenizerConfig, specialTokensMap, generationConfig, chatTemplate] = await Promise.all([
    readBytes(at("tokenizer.json"), limits.tokenizerBytes, (size) => Buffer.from(new SharedArrayBuffer(size))),
    asText("tokenizer_config.json", limits.tokenizerConfigBytes),
    asText("special_tokens_map.json"),
    asText("generation_config.json"),
    asText("chat_template.jinja"),
  ]);
  return filesWith(bytes, { directory, tokenizerConfig, specialTokensMap, generationConfig, chatTemplate });
}

/** @throws {RubricateError} ERR_TOKENIZER naming the file that is malformed */
export function* defineTokenizer(files: TokenizerFiles): Steps<TokenizerDefinition> {
  const at = (name: string) => path.join(files.directory, name);
  function* parsed(text: string | undefined, name: string): Steps<JsonObject> {
    return text === undefined ? {} : yield* parseObject(text, at(name));
  }
  const bytes = sharedBytes.get(files) ?? Buffer.from(files.tokenizerJson);
  const { document: tokenizer, bpe } = yield* parseTokenizerJson(bytes, at("tokenizer.json"));
  checkDocument(tokenizer, at("tokenizer.json"));
  const config = yield* parsed(files.tokenizerConfig, "tokenizer_config.json");
  const generation = yield* parsed(files.generationConfig, "generation_config.json");
  const specialTokensMap = yield* parsed(files.specialTokensMap, "special_tokens_map.json");
  const specialTokens = namedSpecialTokens(specialTokensMap, config);
  const chatTemplate = files.chatTemplate ?? templateOf(config, at("tokenizer_config.json"));
  const idOf = (token: string) => {
    const id = bpe.vocabulary.id(token);
    return id < 0 ? undefined : id;
  };
  const added = yield* addedTokens(tokenizer, config, specialTokens, idOf, files.directory);
  yield* checkIds(added, bpe.vocabulary, at("tokenizer.json"));
  const unknown = specialTokens.unk_token ?? "<unk>";
  const built = asTransformersBuildsIt(tokenizer, config, idOf(unknown) === undefined ? null : unknown);
  checkComponents(built, at("tokenizer.json"));
  const idOfAny = new Map<string, number>();
  yield* eachIn(added, ({ content, id }) => idOfAny.set(content, id));
  checkProcessor(built.post_processor, (token) => idOfAny.get(token) ?? idOf(token), at("tokenizer.json"));
  return {
    tokenizer: { ...built, added_tokens: added },
    bpe,
    specialTokens,
    generationEosIds: idList(generation.eos_token_id),
    generationBosId: idList(generation.bos_token_id)[0],
    chatTemplate,
    hash: yield* hashOf(bytes, chatTemplate, JSON.stringify([rulesOf(built), specialTokens]), added),
  };
}

/** Bytes that are hashed in one step. */
const hashedBytes = 1 << 17;

/** What tokenizer_config.json can change of tokenizer.json, its added tokens apart. */
function rulesOf({ normalizer, pre_tokenizer, post_processor, decoder }: JsonObject): unknown[] {
  return [normalizer, pre_tokenizer, post_processor, decoder];
}

function* hashOf(
  bytes: Buffer,
  chatTemplate: string | undefined,
  rules: string,
  added: readonly AddedToken[],
): Steps<string> {
  const hash = createHash("sha256").update(rules).update("\0");
  yield* eachIn(added, (token) => hash.update(JSON.stringify(token)));
  hash.update("\0");
  for (let start = 0; start < bytes.length; start += hashedBytes) {
    hash.update(bytes.subarray(start, start + hashedBytes));
    yield;
  }
  if (chatTemplate !== undefined) hash.update("\0").update(chatTemplate);
  return hash.digest("hex");
}

/**
 * Checks that every added token has one id, and every id one text. Where the vocabulary has the text too, the Rust library
 * takes the vocabulary's id.
 */
function* checkIds(
  added: readonly AddedToken[],
  vocabulary: TokenizerDocument["bpe"]["vocabulary"],
  file: string,
): Steps<void> {
  if (added.length > limits.addedTokens)
    throw invalid(
      `the number of added tokens in ${file}`,
      `at most ${limits.addedTokens}`,
      added.length,
      "ERR_TOKENIZER",
    );
  const limit = idLimit(vocabulary.size + added.length);
  const idOf = new Map<string, number>();
  yield* eachIn(added, ({ content, id }) => {
    if (id >= limit)
      throw invalid(`the id of ${quoted(content)} in ${file}`, `an integer in [0, ${limit})`, id, "ERR_TOKENIZER");
    const listed = vocabulary.id(content);
    const other = idOf.get(content) ?? (listed < 0 ? id : listed);
    if (other !== id)
      throw invalid(`the id of ${quoted(content)} in ${file}`, `${other}, as elsewhere,`, id, "ERR_TOKENIZER");
    idOf.set(content, id);
  });
}

function contentOf(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  return isObject(token) && typeof token.content === "string" ? token.content : undefined;
}

/** As transformers does it: special_tokens_map.json counts only without `added_tokens_decoder`, and then more than the config. */
function namedSpecialTokens(map: JsonObject, config: JsonObject): Record<string, string> {
  const named: Record<string, string> = {};
  const hasDecoder = Object.hasOwn(config, "added_tokens_decoder");
  for (const source of hasDecoder ? [config] : [config, map])
    for (const name of specialNames) {
      const content = contentOf(source[name]);
      if (content) named[name] = content;
      else if (source[name] === null) delete named[name];
    }
  return named;
}

function idList(value: unknown): number[] {
  return (Array.isArray(value) ? value : [value]).filter((id): id is number => Number.isInteger(id) && id >= 0);
}

function templateOf(config: JsonObject, file: string): string | undefined {
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
 * The changes that transformers (5.x, `TokenizersBackend`, `LlamaTokenizer` and `CodeLlamaTokenizer`) makes to tokenizer.json: tokens declared in
 * tokenizer_config.json, and SentencePiece-like LLaMA tokenizers rebuilt with a Metaspace pre-tokenizer. BOS and EOS are what
 * the post-processor of tokenizer.json says; `add_bos_token` and `add_eos_token` are not read beside it.
 */
function asTransformersBuildsIt(tokenizer: JsonObject, config: JsonObject, unknown: string | null): JsonObject {
  const result: JsonObject = {
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...tokenizer,
  };
  const className = typeof config.tokenizer_class === "string" ? config.tokenizer_class.replace(/Fast$/, "") : "";
  const byteLevel = JSON.stringify([tokenizer.pre_tokenizer, tokenizer.decoder]).includes('"ByteLevel"');
  if (className === "LlamaTokenizer" && !byteLevel) rebuildAsLlama(result, config);
  if (className === "CodeLlamaTokenizer") rebuildAsCodeLlama(result, config, unknown);
  return result;
}

function* addedTokens(
  tokenizer: JsonObject,
  config: JsonObject,
  specialTokens: Record<string, string>,
  idOf: (token: string) => number | undefined,
  directory: string,
): Steps<AddedToken[]> {
  const byId = new Map<number, AddedToken>();
  const add = (id: number, token: JsonObject) =>
    byId.set(id, {
      id,
      content: token.content as string,
      special: token.special === true,
      lstrip: token.lstrip === true,
      rstrip: token.rstrip === true,
      single_word: token.single_word === true,
      normalized: typeof token.normalized === "boolean" ? token.normalized : token.special !== true,
    });
  let at = 0;
  yield* eachIn((tokenizer.added_tokens ?? []) as JsonObject[], (token) => {
    const before = byId.get(token.id as number);
    if (before && before.content !== token.content)
      throw invalid(`added_tokens[${at}].id in ${directory}`, "an id of its own", token.id, "ERR_TOKENIZER");
    add(token.id as number, token);
    at++;
  });
  const declared = isObject(config.added_tokens_decoder) ? config.added_tokens_decoder : {};
  yield* eachIn(Object.entries(declared), ([key, token]) => {
    const id = /^\d{1,15}$/.test(key) ? Number(key) : Number.NaN;
    if (!isObject(token)) throw invalid(`added_tokens_decoder[${escaped(key)}]`, "an object", token, "ERR_TOKENIZER");
    checkAddedToken(
      { ...token, id },
      `added_tokens_decoder[${escaped(key)}]`,
      path.join(directory, "tokenizer_config.json"),
    );
    add(id, token);
  });
  for (const content of Object.values(specialTokens)) {
    let known: AddedToken | undefined;
    yield* eachIn(byId.values(), (token) => {
      if (token.content === content) known ??= token;
    });
    const id = idOf(content);
    if (known) byId.set(known.id, { ...known, special: true });
    else if (id !== undefined) add(id, { content, special: true });
  }
  return yield* sortedIn([...byId.values()], (a, b) => a.id - b.id);
}

function rebuildAsLlama(tokenizer: JsonObject, config: JsonObject): void {
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
    ...(tokenizer.model as JsonObject),
    unk_token: null,
    fuse_unk: true,
    byte_fallback: true,
    ignore_merges: false,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
  };
}

/** As `rebuildAsLlama`, but `legacy` is not looked at, a space is always stripped, and there is a token for what is unknown. */
function rebuildAsCodeLlama(tokenizer: JsonObject, config: JsonObject, unknown: string | null): void {
  rebuildAsLlama(tokenizer, { legacy: false });
  const prefixed = config.add_prefix_space !== false && config.add_prefix_space !== 0;
  tokenizer.pre_tokenizer = {
    ...(tokenizer.pre_tokenizer as JsonObject),
    prepend_scheme: prefixed ? "first" : "never",
  };
  tokenizer.model = { ...(tokenizer.model as JsonObject), unk_token: unknown };
}

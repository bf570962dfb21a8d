/**
 * Which tokenizers transformers 5 rebuilds from their vocabulary and merges, whatever the other parts of tokenizer.json say, and
 * how (`AutoTokenizer.from_pretrained`, `TokenizersBackend.convert_to_native_format`, the classes of single models).
 */
import { invalid } from "../errors";
import type { JsonObject } from "../files/json";
import type { Notice } from "../notices";
import { type ClassTokens, noClassTokens } from "./special_tokens";

/** The class that rebuilds a tokenizer here, and what to say about it. */
export interface Rebuilding {
  /** Undefined where tokenizer.json is used as it is. */
  readonly className: RebuiltClass | undefined;
  readonly notice: Notice | undefined;
}

type RebuiltClass = "LlamaTokenizer" | "CodeLlamaTokenizer" | "Qwen2Tokenizer" | "GPT2Tokenizer";
type Rebuild = (tokenizer: JsonObject, config: JsonObject, special: NamedIds) => void;

/** Special tokens that are part of a tokenizer's rules; undefined where a file says that there is none. */
export interface NamedIds {
  /** Its content, if the vocabulary has it. */
  readonly unknown: string | undefined;
  readonly bos: { readonly content: string; readonly id: number } | undefined;
}
const noTokens: NamedIds = { unknown: undefined, bos: undefined };

const rebuilds: Readonly<Record<RebuiltClass, Rebuild>> = {
  LlamaTokenizer: rebuildAsLlama,
  CodeLlamaTokenizer: rebuildAsCodeLlama,
  Qwen2Tokenizer: rebuildAsQwen2,
  GPT2Tokenizer: rebuildAsGpt2,
};
const byteLevelClasses: ReadonlySet<string> = new Set<RebuiltClass>(["Qwen2Tokenizer", "GPT2Tokenizer"]);

const endOfText = "<|endoftext|>";
const sentenceTokens = { unk_token: "<unk>", bos_token: "<s>", eos_token: "</s>" };
/** The special tokens that a class has where no file names them. */
const defaultTokens: Readonly<Partial<Record<RebuiltClass, ClassTokens>>> = {
  Qwen2Tokenizer: { standard: { unk_token: endOfText, eos_token: endOfText, pad_token: endOfText }, own: {} },
  GPT2Tokenizer: { standard: { unk_token: endOfText, bos_token: endOfText, eos_token: endOfText }, own: {} },
  LlamaTokenizer: { standard: sentenceTokens, own: {} },
  CodeLlamaTokenizer: {
    standard: sentenceTokens,
    own: {
      prefix_token: "▁<PRE>",
      middle_token: "▁<MID>",
      suffix_token: "▁<SUF>",
      eot_token: "▁<EOT>",
      fill_token: "<FILL_ME>",
    },
  },
};

/** Families in which the class counts for nothing, and those in which it is this one if none is named. */
const classOfFamily: Readonly<Record<string, string>> = { mistral: "TokenizersBackend", qwen2: "Qwen2Tokenizer" };
const defaultOfFamily: Readonly<Record<string, string>> = { ...classOfFamily, qwen3: "Qwen2Tokenizer" };

/** Other classes of transformers that rebuild their tokenizers. */
const otherClasses: ReadonlySet<string> = new Set(
  `Albert Barthez Bert BigBird Blenderbot Camembert CLIP CodeGen Cohere Deberta DebertaV2 Esmc Funnel Gemma GPTNeoX Herbert Lasr
  LayoutLMv2 LayoutLMv3 LayoutXLM Luke MarkupLM MBart MBart50 MLuke MPNet Nllb Nougat OpenAIGPT Pegasus Qwen3_5 Reformer RemBert
  Roberta SeamlessM4T Siglip2 Splinter T5 Tipsv2 Udop VideoPrism Whisper XGLM XLMRoberta XLNet`
    .split(/\s+/)
    .map((name) => `${name}Tokenizer`),
);

/**
 * The class that transformers takes.
 * @param config of tokenizer_config.json
 * @param model of config.json
 */
function classOf(config: JsonObject, model: JsonObject): string | undefined {
  const text = (value: unknown) => (typeof value === "string" && value !== "" ? value : undefined);
  const family = text(model.model_type) ?? "";
  const named = text(config.tokenizer_class) ?? text(model.tokenizer_class);
  // A tokenizer with code of its own has the class that is named.
  const always = config.auto_map == null && Object.hasOwn(classOfFamily, family) ? classOfFamily[family] : undefined;
  const otherwise = Object.hasOwn(defaultOfFamily, family) ? defaultOfFamily[family] : undefined;
  return (always ?? named ?? otherwise)?.replace(/Fast$/, "");
}

/**
 * Whether a tokenizer is rebuilt. A class is not followed if it makes a tokenizer of another kind than tokenizer.json describes
 * (byte-level or with "▁"): that could not spell its own vocabulary.
 */
export function rebuildingOf(tokenizer: JsonObject, config: JsonObject, model: JsonObject, folder: string): Rebuilding {
  const name = classOf(config, model) ?? "";
  if (!Object.hasOwn(rebuilds, name))
    return { className: undefined, notice: otherClasses.has(name) ? notFollowed(name, folder) : undefined };
  const className = name as RebuiltClass;
  const byteLevel = JSON.stringify([tokenizer.pre_tokenizer, tokenizer.decoder]).includes('"ByteLevel"');
  if (byteLevel !== byteLevelClasses.has(className))
    return { className: undefined, notice: notFollowed(className, folder) };
  if (!byteLevel) return { className, notice: undefined };
  const built = rebuilt(tokenizer, config, className, noTokens);
  const same = rulesOf(built) === rulesOf(tokenizer);
  return { className, notice: same ? undefined : followed(className, folder) };
}

/** The special tokens that a class has where no file names them. */
export const tokensOfClass = (className: RebuiltClass | undefined): ClassTokens =>
  (className && defaultTokens[className]) ?? noClassTokens;

/** What decides on the ids of a byte-level tokenizer, spelled in one way. */
function rulesOf({ normalizer, pre_tokenizer: preTokenizer }: JsonObject): string {
  const plain = (part: unknown): unknown => {
    if (Array.isArray(part)) return part.map(plain);
    if (typeof part !== "object" || part === null) return part ?? null;
    const { trim_offsets: _, ...fields } = part as JsonObject;
    const parts = fields.normalizers ?? fields.pretokenizers;
    if (fields.type === "Sequence" && Array.isArray(parts) && parts.length === 1) return plain(parts[0]);
    const defaults = fields.type === "ByteLevel" ? { add_prefix_space: true, use_regex: true } : {};
    const named = Object.entries({ ...defaults, ...fields }).map(([name, value]) => [name, plain(value)] as const);
    return Object.fromEntries(named.sort(([a], [b]) => (a < b ? -1 : 1)));
  };
  return JSON.stringify([plain(normalizer), plain(preTokenizer)]);
}

const notice = (message: string): Notice => ({ code: "RUBRICATE_TOKENIZER_CLASS", message });
const notFollowed = (name: string, folder: string) =>
  notice(
    `transformers 5 takes the class ${name} for the tokenizer in ${folder}, which replaces the rules of tokenizer.json: here ` +
      "they are used as they are, so token ids may differ from those of transformers",
  );
const followed = (name: string, folder: string) =>
  notice(
    `As in transformers 5, the class ${name} replaces the normalizer or pre-tokenizer of tokenizer.json in ${folder} by others: ` +
      'token ids may differ from those that the model was made with; "tokenizer_class": "PreTrainedTokenizerFast" in tokenizer_config.json, ' +
      "where the model_type allows it, uses those of tokenizer.json",
  );

/**
 * The tokenizer with the rules of its class.
 * @throws {RubricateError} ERR_TOKENIZER if the class has no unigram models
 */
export function rebuilt(
  tokenizer: JsonObject,
  config: JsonObject,
  className: RebuiltClass,
  special: NamedIds,
): JsonObject {
  if ((tokenizer.model as JsonObject).type === "Unigram")
    throw invalid(`model.type beside "tokenizer_class": "${className}"`, '"BPE"', "Unigram", "ERR_TOKENIZER");
  const result = { ...tokenizer };
  rebuilds[className](result, config, special);
  return result;
}

const hasPrefix = ({ add_prefix_space: given }: JsonObject, otherwise: boolean): boolean =>
  given == null ? otherwise : Boolean(given);

/** Those of a model that has neither affixes nor merges to ignore. */
const plainModel = { ignore_merges: false, continuing_subword_prefix: null, end_of_word_suffix: null };

function rebuildAsLlama(tokenizer: JsonObject, config: JsonObject): void {
  const prefixed = hasPrefix(config, true);
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
  const own = { unk_token: null, fuse_unk: true, byte_fallback: true };
  tokenizer.model = { ...(tokenizer.model as JsonObject), ...plainModel, ...own };
}

/**
 * As `rebuildAsLlama`, but `legacy` is ignored, a space is always stripped, there is an unknown token, and the beginning of a text is
 * always marked: the post-processor of tokenizer.json and `add_bos_token` count for nothing.
 */
function rebuildAsCodeLlama(tokenizer: JsonObject, config: JsonObject, { unknown, bos }: NamedIds): void {
  rebuildAsLlama(tokenizer, { legacy: false });
  tokenizer.pre_tokenizer = {
    ...(tokenizer.pre_tokenizer as JsonObject),
    prepend_scheme: hasPrefix(config, true) ? "first" : "never",
  };
  tokenizer.model = { ...(tokenizer.model as JsonObject), unk_token: unknown ?? null };
  tokenizer.post_processor = bos === undefined ? null : startingWith(bos);
}

function startingWith({ content, id }: { readonly content: string; readonly id: number }): JsonObject {
  const first = { SpecialToken: { id: content, type_id: 0 } };
  const text = (name: string, type: number) => ({ Sequence: { id: name, type_id: type } });
  return {
    type: "TemplateProcessing",
    single: [first, text("A", 0)],
    pair: [first, text("A", 0), { SpecialToken: { id: content, type_id: 1 } }, text("B", 1)],
    special_tokens: { [content]: { id: content, ids: [id], tokens: [content] } },
  };
}

function rebuildAsGpt2(tokenizer: JsonObject, config: JsonObject): void {
  tokenizer.normalizer = null;
  tokenizer.pre_tokenizer = byteLevel(config, true);
  tokenizer.decoder = { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true };
  const own = { unk_token: null, fuse_unk: false, byte_fallback: false };
  tokenizer.model = { ...(tokenizer.model as JsonObject), ...plainModel, ...own };
}

const byteLevel = (config: JsonObject, useRegex: boolean) => ({
  type: "ByteLevel",
  add_prefix_space: hasPrefix(config, false),
  trim_offsets: true,
  use_regex: useRegex,
});

const qwen2Words =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

function rebuildAsQwen2(tokenizer: JsonObject, config: JsonObject): void {
  rebuildAsGpt2(tokenizer, config);
  tokenizer.normalizer = { type: "NFC" };
  tokenizer.pre_tokenizer = {
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: qwen2Words }, behavior: "Isolated", invert: false },
      byteLevel(config, false),
    ],
  };
}

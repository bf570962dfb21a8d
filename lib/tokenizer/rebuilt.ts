/**
 * Which tokenizers transformers 5 rebuilds from their vocabulary and merges, whatever the other parts of tokenizer.json say, and
 * how (`AutoTokenizer.from_pretrained`, `TokenizersBackend.convert_to_native_format`, the classes of single models).
 */
import { invalid } from "../errors";
import type { JsonObject } from "../files/json";
import type { Notice } from "../notices";

/** The class that rebuilds a tokenizer here, and what to say about it. */
export interface Rebuilding {
  /** Undefined where tokenizer.json is used as it is. */
  readonly className: RebuiltClass | undefined;
  readonly notice: Notice | undefined;
}

type RebuiltClass = "LlamaTokenizer" | "CodeLlamaTokenizer" | "Qwen2Tokenizer" | "GPT2Tokenizer";
type Rebuild = (tokenizer: JsonObject, config: JsonObject, unknown: string | null) => void;

const rebuilds: Readonly<Record<RebuiltClass, Rebuild>> = {
  LlamaTokenizer: rebuildAsLlama,
  CodeLlamaTokenizer: rebuildAsCodeLlama,
  Qwen2Tokenizer: rebuildAsQwen2,
  GPT2Tokenizer: rebuildAsGpt2,
};
/** Byte-level classes, with the names of the special tokens that are "<|endoftext|>" where no file names them. */
const byteLevelClasses: Readonly<Partial<Record<RebuiltClass, readonly string[]>>> = {
  Qwen2Tokenizer: ["unk_token", "eos_token", "pad_token"],
  GPT2Tokenizer: ["unk_token", "bos_token", "eos_token"],
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
  if (byteLevel !== Object.hasOwn(byteLevelClasses, className))
    return { className: undefined, notice: notFollowed(className, folder) };
  if (!byteLevel) return { className, notice: undefined };
  const built = rebuilt(tokenizer, config, className, null);
  const same = rulesOf(built) === rulesOf(tokenizer);
  return { className, notice: same ? undefined : followed(className, folder) };
}

/** tokenizer_config.json with the special tokens that a class has where no file names them; null is a name, too. */
export function withDefaults(config: JsonObject, className: RebuiltClass | undefined): JsonObject {
  const names = (className && byteLevelClasses[className]) ?? [];
  return { ...Object.fromEntries(names.map((name) => [name, "<|endoftext|>"])), ...config };
}

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
 * @param unknown the unknown token, if the vocabulary has it
 * @throws {RubricateError} ERR_TOKENIZER if the class has no unigram models
 */
export function rebuilt(
  tokenizer: JsonObject,
  config: JsonObject,
  className: RebuiltClass,
  unknown: string | null,
): JsonObject {
  if ((tokenizer.model as JsonObject).type === "Unigram")
    throw invalid(`model.type beside "tokenizer_class": "${className}"`, '"BPE"', "Unigram", "ERR_TOKENIZER");
  const result = { ...tokenizer };
  rebuilds[className](result, config, unknown);
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

/** As `rebuildAsLlama`, but `legacy` is ignored, a space is always stripped, and there is an unknown token. */
function rebuildAsCodeLlama(tokenizer: JsonObject, config: JsonObject, unknown: string | null): void {
  rebuildAsLlama(tokenizer, { legacy: false });
  tokenizer.pre_tokenizer = {
    ...(tokenizer.pre_tokenizer as JsonObject),
    prepend_scheme: hasPrefix(config, true) ? "first" : "never",
  };
  tokenizer.model = { ...(tokenizer.model as JsonObject), unk_token: unknown };
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

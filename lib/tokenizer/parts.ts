/**
 * What a tokenizer is made of, as transformers would make it of the same files: tables in shared memory and the small rest of
 * the documents. It is made once, and posted to every thread that encodes.
 */
import { createHash } from "node:crypto";
import path from "node:path";
import { RubricateError } from "../errors";
import type { JsonObject } from "../files/json";
import type { Notice } from "../notices";
import { type AddedColumns, AddedTokenList, type AddedTokens, type SoughtColumns, soughtIn } from "./added_list";
import type { MergeColumns } from "./bpe_tables";
import { type ChatTemplates, templatesOf, templatesText } from "./chat_templates";
import type { TokenizerBytes } from "./files";
import { normalizerOf } from "./normalizers";
import { rebuildingOf, rebuilt, tokensOfClass } from "./rebuilt";
import { checkComponents, checkDocument, checkProcessor } from "./schema";
import { namesTokens, type SpecialTokens, specialTokensOf } from "./special_tokens";
import type { TokenColumns } from "./token_table";
import { addTokensBeside, parseDocument, parseTokenizerJson, type Used } from "./tokenizer_json";
import type { PieceColumns } from "./unigram_pieces";

/** What a tokenizer is made of. */
export interface TokenizerParts {
  readonly directory: string;
  /**
   * tokenizer.json with `normalizer`, `pre_tokenizer`, `post_processor` and `decoder` as transformers sets them, without its
   * vocabulary, merges and added tokens.
   */
  readonly document: JsonObject;
  readonly vocabulary: TokenColumns;
  readonly merges: MergeColumns;
  /** In place of merges, for a unigram model. */
  readonly pieces: PieceColumns | undefined;
  readonly added: AddedColumns;
  /** Added tokens that are looked for before the normalizer, and after it. */
  readonly raw: SoughtColumns;
  readonly normalized: SoughtColumns;
  /** Contents of the special tokens by name: `bos_token`, `eos_token`, `unk_token`, ... */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** Whether spaces before punctuation are taken out of decoded text. */
  readonly cleansUp: boolean;
  /** `eos_token_id` of generation_config.json, or of config.json where there is no such file, as a list. */
  readonly generationEosIds: readonly number[];
  /** `bos_token_id` of generation_config.json. */
  readonly generationBosId: number | undefined;
  readonly chatTemplates: ChatTemplates | undefined;
  /** SHA-256, in hexadecimal, of tokenizer.json, what other files change of it, and the chat templates. */
  readonly hash: string;
  readonly notices: readonly Notice[];
}

const cleanUpName = "clean_up_tokenization_spaces";
const bpeCleanUpName = `${cleanUpName}_for_bpe_even_though_it_will_corrupt_output`;
const configNames = [
  "chat_template",
  "tokenizer_class",
  "auto_map",
  "add_prefix_space",
  "legacy",
  cleanUpName,
  bpeCleanUpName,
];
const generationNames = ["eos_token_id", "bos_token_id"];
const modelNames = [...generationNames, "model_type", "tokenizer_class"];

const bufferOf = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

/**
 * Makes the parts on the calling thread: a megabyte takes some 50 ms, and memory for a few times the files' bytes.
 * @throws {RubricateError} ERR_TOKENIZER naming the file that is malformed or unsupported; ERR_OUT_OF_MEMORY
 */
export function partsOf(files: TokenizerBytes): TokenizerParts {
  try {
    return define(files);
  } catch (error) {
    throw tokenizerError(error);
  }
}

/** The error of what cannot be built. */
export function tokenizerError(error: unknown): RubricateError {
  if (error instanceof RubricateError) return error;
  const { message } = error as Error;
  if (error instanceof RangeError && /allocation failed|array length/i.test(message))
    return new RubricateError("ERR_OUT_OF_MEMORY", "Memory ran out while building a tokenizer", { cause: error });
  return new RubricateError("ERR_TOKENIZER", `tokenizer.json cannot be used: ${message}`, { cause: error });
}

function define(files: TokenizerBytes): TokenizerParts {
  const { directory } = files;
  const at = (name: string) => path.join(directory, name);
  const list = new AddedTokenList();
  const parsed = (bytes: Uint8Array | undefined, name: string, used: Used, declared?: AddedTokenList) =>
    bytes === undefined ? {} : parseDocument(bufferOf(bytes), at(name), used, declared);
  const tokenizerJson = bufferOf(files.tokenizerJson);
  const { document, vocabulary, merges, pieces } = parseTokenizerJson(tokenizerJson, at("tokenizer.json"), list);
  checkDocument(document, at("tokenizer.json"));
  const isUsed = (name: string) => configNames.includes(name) || namesTokens(name);
  const config = parsed(files.tokenizerConfig, "tokenizer_config.json", isUsed, list);
  const generation = parsed(files.generationConfig, "generation_config.json", (name) => generationNames.includes(name));
  const model = parsed(files.modelConfig, "config.json", (name) => modelNames.includes(name));
  const map = parsed(files.specialTokensMap, "special_tokens_map.json", namesTokens);
  const chatTemplates = files.chatTemplate ?? templatesOf(config, at("tokenizer_config.json"));
  const whole: JsonObject = { ...noParts, ...document };
  const { className, notice } = rebuildingOf(whole, config, model, directory);
  const special = specialTokensOf(config, map, at("tokenizer_config.json"), tokensOfClass(className));
  const loading = {
    rebuilt: className !== undefined,
    declared: Object.hasOwn(config, "added_tokens_decoder"),
  };
  if (!loading.declared && files.addedTokens)
    addTokensBeside(bufferOf(files.addedTokens), at("added_tokens.json"), list, special);
  list.addSpecial(special, loading, at("tokenizer_config.json"));
  const specialTokens = contentsOf(special);
  const added = list.table(vocabulary, loading, at("tokenizer.json"));
  const idOf = (token: string) => {
    const id = added.table.id(token);
    const own = id >= 0 ? id : vocabulary.id(token);
    return own < 0 ? undefined : own;
  };
  const { bos_token: bos, unk_token: unknown } = specialTokens;
  const ruling = {
    unknown: unknown !== undefined && vocabulary.id(unknown) >= 0 ? unknown : undefined,
    bos: bos === undefined ? undefined : { content: bos, id: idOf(bos)! },
  };
  const built = className ? rebuilt(whole, config, className, ruling) : whole;
  checkComponents(built, at("tokenizer.json"));
  checkProcessor(built.post_processor, idOf, at("tokenizer.json"));
  return {
    directory,
    document: built,
    vocabulary: vocabulary.columns,
    merges: merges.columns,
    pieces: pieces?.columns,
    added: added.columns,
    raw: soughtIn(added, false),
    normalized: soughtIn(added, true, normalizerOf(built.normalizer as JsonObject | null)),
    specialTokens,
    cleansUp: config[cleanUpName] === true && (pieces !== undefined || config[bpeCleanUpName] === true),
    generationEosIds: idList((files.generationConfig === undefined ? model : generation).eos_token_id),
    generationBosId: idList(generation.bos_token_id)[0],
    chatTemplates,
    hash: hashOf(tokenizerJson, chatTemplates, JSON.stringify([rulesOf(built), specialTokens]), added),
    notices: notice ? [notice] : [],
  };
}

/** What tokenizer_config.json can change of tokenizer.json, its added tokens apart. */
function rulesOf({ normalizer, pre_tokenizer, post_processor, decoder }: JsonObject): unknown[] {
  return [normalizer, pre_tokenizer, post_processor, decoder];
}

function hashOf(bytes: Buffer, templates: ChatTemplates | undefined, rules: string, added: AddedTokens): string {
  const hash = createHash("sha256").update(rules).update("\0");
  for (let entry = 0; entry < added.table.size; entry++) hash.update(JSON.stringify(added.described(entry)));
  hash.update("\0").update(bytes);
  if (templates !== undefined) hash.update("\0").update(templatesText(templates));
  return hash.digest("hex");
}

const contentsOf = ({ named }: SpecialTokens): Record<string, string> =>
  Object.fromEntries([...named].map(([name, { content }]) => [name, content as string]));

function idList(value: unknown): number[] {
  return (Array.isArray(value) ? value : [value]).filter((id): id is number => Number.isInteger(id) && id >= 0);
}

/** The parts that tokenizer.json may lack. */
const noParts = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };

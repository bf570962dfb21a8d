/** The files of a tokenizer: as a folder has them, as a caller gives them, and as another thread gets them. */
import path from "node:path";
import { RubricateError } from "../errors";
import { present, readBytes, readSharedText } from "../files/read";
import { finishInto } from "../files/read_together";
import { limits } from "../limits";
import { isMissing } from "../options";
import { type ChatTemplates, readChatTemplates } from "./chat_templates";

/** Contents of a tokenizer's files, as text; those that a folder lacks are undefined. */
export interface TokenizerFiles {
  /** Where they come from, for error messages. */
  readonly directory: string;
  readonly tokenizerJson: string;
  readonly tokenizerConfig?: string | undefined;
  readonly specialTokensMap?: string | undefined;
  /** added_tokens.json of older tokenizers. */
  readonly addedTokens?: string | undefined;
  readonly generationConfig?: string | undefined;
  /** config.json, for the tokens that end a text and the class of the tokenizer. */
  readonly modelConfig?: string | undefined;
  /** One, or several by name. */
  readonly chatTemplate?: ChatTemplates | undefined;
}

/** The same as bytes. Those that were read from a folder are in shared memory, and another thread gets them without a copy. */
export interface TokenizerBytes {
  readonly directory: string;
  readonly tokenizerJson: Uint8Array;
  readonly tokenizerConfig: Uint8Array | undefined;
  readonly specialTokensMap: Uint8Array | undefined;
  readonly addedTokens: Uint8Array | undefined;
  readonly generationConfig: Uint8Array | undefined;
  readonly modelConfig: Uint8Array | undefined;
  readonly chatTemplate: ChatTemplates | undefined;
}

/** The bytes of files that a caller gives. */
export function bytesOf(files: TokenizerFiles): TokenizerBytes {
  const bytes = (text: string | null | undefined) => (isMissing(text) ? undefined : Buffer.from(text));
  return {
    directory: files.directory,
    tokenizerJson: Buffer.from(files.tokenizerJson),
    tokenizerConfig: bytes(files.tokenizerConfig),
    specialTokensMap: bytes(files.specialTokensMap),
    addedTokens: bytes(files.addedTokens),
    generationConfig: bytes(files.generationConfig),
    modelConfig: bytes(files.modelConfig),
    chatTemplate: files.chatTemplate ?? undefined,
  };
}

/** Files whose text is decoded when it is first read. */
export function filesOf(bytes: TokenizerBytes): TokenizerFiles {
  const texts = new Map<Uint8Array, string>();
  const text = (one: Uint8Array) => {
    const known = texts.get(one) ?? Buffer.from(one.buffer, one.byteOffset, one.length).toString("utf8");
    texts.set(one, known);
    return known;
  };
  const { directory, tokenizerJson, tokenizerConfig, specialTokensMap, addedTokens, generationConfig, modelConfig } =
    bytes;
  return {
    directory,
    get tokenizerJson() {
      return text(tokenizerJson);
    },
    get tokenizerConfig() {
      return tokenizerConfig && text(tokenizerConfig);
    },
    get specialTokensMap() {
      return specialTokensMap && text(specialTokensMap);
    },
    get addedTokens() {
      return addedTokens && text(addedTokens);
    },
    get generationConfig() {
      return generationConfig && text(generationConfig);
    },
    get modelConfig() {
      return modelConfig && text(modelConfig);
    },
    chatTemplate: bytes.chatTemplate,
  };
}

/**
 * Reads tokenizer.json and, as present, tokenizer_config.json, special_tokens_map.json, added_tokens.json,
 * generation_config.json, config.json, chat_template.jinja and additional_chat_templates/ of a folder.
 * @throws {RubricateError} ERR_FILE where one cannot be read, ERR_TOKENIZER where tokenizer.json is missing
 */
export async function readTokenizerFiles(directory: string): Promise<TokenizerBytes> {
  await finishInto(directory); // or files of two tokenizers might be read
  const at = (name: string) => path.join(directory, name);
  const ifPresent = async (name: string, limit: number = limits.documentBytes) =>
    (await present(at(name))) ? readSharedText(at(name), limit) : undefined;
  if (!(await present(at("tokenizer.json"))))
    throw new RubricateError("ERR_TOKENIZER", `${at("tokenizer.json")} does not exist; a tokenizer is read from it`);
  const [tokenizerJson, tokenizerConfig, specialTokensMap, addedTokens, generationConfig, modelConfig, chatTemplate] =
    await Promise.all([
      readBytes(at("tokenizer.json"), limits.tokenizerBytes, (size) => Buffer.from(new SharedArrayBuffer(size))),
      ifPresent("tokenizer_config.json", limits.tokenizerConfigBytes),
      ifPresent("special_tokens_map.json"),
      ifPresent("added_tokens.json", limits.tokenizerConfigBytes),
      ifPresent("generation_config.json"),
      ifPresent("config.json"),
      readChatTemplates(directory),
    ]);
  return {
    directory,
    tokenizerJson,
    tokenizerConfig,
    specialTokensMap,
    addedTokens,
    generationConfig,
    modelConfig,
    chatTemplate,
  };
}

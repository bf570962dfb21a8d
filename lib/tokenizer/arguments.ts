/** Arguments of a tokenizer's methods, and their checks. */
import { invalid, quoted } from "../errors";
import { limits } from "../limits";
import { isMissing, lengthOf, type OptionNames, readArgument } from "../options";
import type { TokenizerFiles } from "./files";

/** @throws RubricateError ERR_ARGUMENT where a file's content is no text */
export function requireTexts(files: TokenizerFiles): void {
  if (typeof files !== "object" || files === null) throw invalid("files", "a tokenizer's files", files);
  const { directory, tokenizerJson, tokenizerConfig, specialTokensMap, addedTokens } = files;
  const { generationConfig, modelConfig, chatTemplate } = files;
  for (const [name, text] of Object.entries({ directory, tokenizerJson }))
    if (typeof text !== "string") throw invalid(`files.${name}`, "a string", text);
  const named = typeof chatTemplate === "object" && chatTemplate !== null ? Object.entries(chatTemplate) : [];
  for (const [name, text] of named)
    if (typeof text !== "string") throw invalid(`files.chatTemplate[${quoted(name)}]`, "a string", text);
  const template = named.length > 0 ? undefined : chatTemplate;
  const others = {
    tokenizerConfig,
    specialTokensMap,
    addedTokens,
    generationConfig,
    modelConfig,
    chatTemplate: template,
  };
  for (const [name, text] of Object.entries(others))
    if (typeof text !== "string" && !isMissing(text)) throw invalid(`files.${name}`, "a string", text);
}

/** The Rust library takes no others; those that the vocabulary lacks have no text. */
const mostId = 2 ** 32 - 1;

/** @throws RubricateError ERR_ARGUMENT */
export function checkedDecodeIds(ids: ArrayLike<number>, name = "ids"): number[] {
  const length = lengthOf(name, "an array of token ids", ids);
  if (length > limits.decodeIds) throw invalid(name, `at most ${limits.decodeIds} token ids`, ids);
  return readArgument(name, "an array of token ids", () => {
    const list: number[] = [];
    for (let at = 0; at < length; at++) {
      const id = ids[at]!;
      if (!Number.isInteger(id) || id < 0 || id > mostId)
        throw invalid(`${name}[${at}]`, `an integer from 0 to ${mostId}`, id);
      list.push(id);
    }
    return list;
  });
}

/** How messages are rendered. */
export interface ChatOptions {
  /** Ends the text with what introduces the assistant's answer. Default: false. */
  readonly addGenerationPrompt?: boolean;
  /** JSON schemas of the tools on offer, for templates that list them. */
  readonly tools?: readonly object[];
  /** Ends the template sooner with ERR_TEMPLATE. @internal */
  readonly maxSteps?: number;
  /** Takes the beginning of a conversation, which may have no message. @internal */
  readonly mayBeEmpty?: boolean;
}

export const chatNames: OptionNames<ChatOptions> = {
  addGenerationPrompt: true,
  tools: true,
  maxSteps: true,
  mayBeEmpty: true,
};

export interface EncodeOptions {
  /** Puts `prefixIds` before the text and `suffixIds` after it. Default: true. */
  readonly addSpecialTokens?: boolean;
}

export const encodeNames: OptionNames<EncodeOptions> = { addSpecialTokens: true };

export interface DecodeOptions {
  /** Omits special tokens from the text. Default: false. */
  readonly skipSpecialTokens?: boolean;
}

export const decodeNames: OptionNames<DecodeOptions> = { skipSpecialTokens: true };

/** Options of `tokenizer.createDecoder`. */
export interface DecoderOptions extends DecodeOptions {
  /** Ids that stand before those that come, such as a prompt's: the pieces are what follows their text. Default: none. */
  readonly after?: ArrayLike<number>;
}

export const decoderNames: OptionNames<DecoderOptions> = { ...decodeNames, after: true };

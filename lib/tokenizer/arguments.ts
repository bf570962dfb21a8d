/** What a tokenizer's methods are asked for, and checks of it. */
import { invalid, quoted } from "../errors";
import { limits } from "../limits";
import { isMissing, lengthOf, type OptionNames, readArgument } from "../options";
import type { TokenizerFiles } from "./files";

/** @throws RubricateError ERR_ARGUMENT where a file's content is no text */
export function requireTexts(files: TokenizerFiles): void {
  if (typeof files !== "object" || files === null) throw invalid("files", "a tokenizer's files", files);
  const { directory, tokenizerJson, tokenizerConfig, specialTokensMap, generationConfig, chatTemplate } = files;
  for (const [name, text] of Object.entries({ directory, tokenizerJson }))
    if (typeof text !== "string") throw invalid(`files.${name}`, "a string", text);
  const named = typeof chatTemplate === "object" && chatTemplate !== null ? Object.entries(chatTemplate) : [];
  for (const [name, text] of named)
    if (typeof text !== "string") throw invalid(`files.chatTemplate[${quoted(name)}]`, "a string", text);
  const template = named.length > 0 ? undefined : chatTemplate;
  const others = { tokenizerConfig, specialTokensMap, generationConfig, chatTemplate: template };
  for (const [name, text] of Object.entries(others))
    if (typeof text !== "string" && !isMissing(text)) throw invalid(`files.${name}`, "a string", text);
}

/** @throws RubricateError ERR_ARGUMENT */
export function checkedDecodeIds(ids: ArrayLike<number>): number[] {
  const length = lengthOf("ids", "an array of token ids", ids);
  if (length > limits.decodeIds) throw invalid("ids", `at most ${limits.decodeIds} token ids`, ids);
  return readArgument("ids", "an array of token ids", () => {
    const list: number[] = [];
    for (let at = 0; at < length; at++) {
      const id = ids[at]!;
      if (!Number.isInteger(id)) throw invalid(`ids[${at}]`, "an integer", id);
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
}

export const chatNames: OptionNames<ChatOptions> = { addGenerationPrompt: true, tools: true, maxSteps: true };

export interface EncodeOptions {
  /** Puts `prefixIds` before the text and `suffixIds` after it. Default: true. */
  readonly addSpecialTokens?: boolean;
}

export const encodeNames: OptionNames<EncodeOptions> = { addSpecialTokens: true };

export interface DecodeOptions {
  /** Leaves special tokens out of the text. Default: false. */
  readonly skipSpecialTokens?: boolean;
}

export const decodeNames: OptionNames<DecodeOptions> = { skipSpecialTokens: true };

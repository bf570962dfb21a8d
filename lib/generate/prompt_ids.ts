/** Token ids of what a call asks: of its prompt, and of what is to follow it. */
import { RubricateError } from "../errors";
import { checkedIds } from "../model_arguments";
import { integersOf } from "../options";
import { prefixed } from "../tokenizer/sequence";
import { encodePrompt, type PromptToEncode } from "./prompt";
import { type PromptInput, requireRoom } from "./prompt_input";
import type { RequestModel } from "./request";
import type { Work } from "./served";

/** @throws RubricateError ERR_ARGUMENT, ERR_CONTEXT_LENGTH, ERR_TEMPLATE, ERR_ABORTED */
export async function promptIds(
  model: RequestModel,
  prompt: PromptInput,
  signal: AbortSignal | undefined,
  work: Work,
): Promise<Int32Array> {
  if ("tokenIds" in prompt) return prompt.tokenIds;
  const tokenizer = model.requireTokenizer();
  const encoded = await encodePrompt(tokenizer, prompt, model.contextLength, signal, work);
  const ids = "text" in prompt ? prefixed(tokenizer, encoded) : encoded;
  if ("text" in prompt && ids.length === 0) {
    throw new RubricateError(
      "ERR_ARGUMENT",
      "Expected a prompt of at least one token: this tokenizer adds none to an empty text",
    );
  }
  return checkedIds(ids, model, { prompt: true });
}

/**
 * Ids of what follows a prompt. After a text they are those of a training row's completion (`promptAndCompletion`): the rest of
 * the joined text's ids where these begin as the prompt's do, else those of the middle of a text.
 * @param before ids of the prompt, as of `promptIds`
 * @throws RubricateError ERR_ARGUMENT, ERR_CONTEXT_LENGTH, ERR_ABORTED
 */
export async function followingIds(
  model: RequestModel,
  prompt: PromptInput,
  before: Int32Array,
  continuation: string | Int32Array,
  signal: AbortSignal | undefined,
  work: Work,
): Promise<Int32Array> {
  const room = model.contextLength - before.length;
  if (typeof continuation !== "string") {
    requireRoom(continuation.length, room);
    return requireSome(continuation);
  }
  const tokenizer = model.requireTokenizer();
  const encode = (given: PromptToEncode) => encodePrompt(tokenizer, given, model.contextLength, signal, work);
  let ids: Int32Array | undefined;
  if ("text" in prompt) {
    const whole = prefixed(tokenizer, await encode({ text: prompt.text + continuation }));
    if (before.every((id, at) => id === whole[at])) ids = whole.subarray(before.length);
  }
  ids ??= await encode({ text: continuation, continues: true });
  requireRoom(ids.length, room);
  return requireSome(integersOf("continuation", ids, ids.length, 0, model.vocabularySize - 1));
}

function requireSome(ids: Int32Array): Int32Array {
  if (ids.length === 0) throw new RubricateError("ERR_ARGUMENT", "Expected at least one token for continuation");
  return ids;
}

/** Token ids of what a call asks: of its prompt, and of a text that is to follow it. */
import { invalid, RubricateError } from "../errors";
import { checkedIds } from "../model_arguments";
import { integersOf, lengthOf } from "../options";
import { prefixed } from "../tokenizer/sequence";
import type { ChatMessage } from "../tokenizer/tokenizer";
import { encodePrompt } from "./prompt";
import type { Prompt } from "./prompt_protocol";
import type { RequestModel } from "./request";
import type { Work } from "./served";

/** Exactly one of them. */
export interface PromptOptions {
  readonly prompt?: string;
  readonly messages?: readonly ChatMessage[];
  readonly tokenIds?: ArrayLike<number>;
}

/** @throws RubricateError ERR_ARGUMENT, ERR_CONTEXT_LENGTH, ERR_TEMPLATE, ERR_ABORTED */
export async function promptIds(
  model: RequestModel,
  options: PromptOptions,
  signal: AbortSignal | undefined,
  work: Work,
): Promise<Int32Array> {
  const given = [options.prompt, options.messages, options.tokenIds].filter((value) => value !== undefined);
  if (given.length !== 1) {
    throw new RubricateError(
      "ERR_ARGUMENT",
      `Expected exactly one of prompt, messages and tokenIds but received ${given.length}`,
    );
  }
  const prompt = { prompt: true };
  if (options.tokenIds !== undefined) return checkedIds(options.tokenIds, model, prompt);
  const tokenizer = model.requireTokenizer();
  const encode = (prompt: Prompt) => encodePrompt(tokenizer, prompt, model.contextLength, signal, work);
  if (options.messages !== undefined) {
    return checkedIds(await encode({ messages: options.messages }), model, prompt);
  }
  if (typeof options.prompt !== "string") throw invalid("prompt", "a string", options.prompt);
  const ids = prefixed(tokenizer, await encode({ text: options.prompt }));
  if (ids.length === 0) {
    throw new RubricateError(
      "ERR_ARGUMENT",
      "Expected a prompt of at least one token: this tokenizer adds none to an empty text",
    );
  }
  return checkedIds(ids, model, prompt);
}

/**
 * Ids of what follows a prompt. After a text they are those of a training row's completion (`promptAndCompletion`): the rest of
 * the joined text's ids where these begin as the prompt's do, else those of the middle of a text.
 * @param before ids of the prompt, as of `promptIds`
 * @throws RubricateError ERR_ARGUMENT, ERR_CONTEXT_LENGTH, ERR_ABORTED
 */
export async function followingIds(
  model: RequestModel,
  { prompt }: PromptOptions,
  before: Int32Array,
  continuation: string | ArrayLike<number>,
  signal: AbortSignal | undefined,
  work: Work,
): Promise<Int32Array> {
  const room = model.contextLength - before.length;
  if (typeof continuation !== "string") {
    const length = lengthOf("continuation", "a text or token ids", continuation);
    requireRoom(length, room);
    return requireSome(integersOf("continuation", continuation, length, 0, model.vocabularySize - 1));
  }
  const tokenizer = model.requireTokenizer();
  const encode = (prompt: Prompt) => encodePrompt(tokenizer, prompt, model.contextLength, signal, work);
  let ids: Int32Array | undefined;
  if (prompt !== undefined) {
    const whole = prefixed(tokenizer, await encode({ text: prompt + continuation }));
    if (before.every((id, at) => id === whole[at])) ids = whole.subarray(before.length);
  }
  ids ??= await encode({ text: continuation, continues: true });
  requireRoom(ids.length, room);
  return requireSome(integersOf("continuation", ids, ids.length, 0, model.vocabularySize - 1));
}

function requireRoom(length: number, room: number): void {
  if (length > room)
    throw new RubricateError(
      "ERR_CONTEXT_LENGTH",
      `Expected at most ${room} tokens (what the prompt leaves of the model's context) for continuation but received ${length}`,
    );
}

function requireSome(ids: Int32Array): Int32Array {
  if (ids.length === 0) throw new RubricateError("ERR_ARGUMENT", "Expected at least one token for continuation");
  return ids;
}

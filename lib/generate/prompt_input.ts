/** What a call asks, read when the call is made: what the caller gave may change afterwards. */
import { invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import { checkedIds } from "../model_arguments";
import { integersOf, lengthOf } from "../options";
import { type Conversation, checkMessages } from "../template/chat_messages";
import type { ChatMessage } from "../tokenizer/tokenizer";

/** Exactly one of them. */
export interface PromptOptions {
  readonly prompt?: string;
  readonly messages?: readonly ChatMessage[];
  readonly tokenIds?: ArrayLike<number>;
}

/** A copy of a prompt, checked as far as that needs no tokenizer. */
export type PromptInput =
  | { readonly tokenIds: Int32Array }
  | { readonly text: string }
  | { readonly conversation: Conversation };

/** What bounds the ids of a request. */
export interface ModelSizes {
  readonly contextLength: number;
  readonly vocabularySize: number;
}

/** A conversation is sent to the thread at one go. */
const most = { values: limits.promptValues, characters: limits.promptCharacters };

/** @throws RubricateError ERR_ARGUMENT naming the message */
export const readConversation = (messages: readonly ChatMessage[]): Conversation =>
  checkMessages(messages, undefined, most);

/** @throws RubricateError ERR_ARGUMENT, ERR_CONTEXT_LENGTH */
export function readPrompt({ prompt, messages, tokenIds }: PromptOptions, model: ModelSizes): PromptInput {
  const given = [prompt, messages, tokenIds].filter((value) => value !== undefined);
  if (given.length !== 1) {
    throw new RubricateError(
      "ERR_ARGUMENT",
      `Expected exactly one of prompt, messages and tokenIds but received ${given.length}`,
    );
  }
  if (tokenIds !== undefined) return { tokenIds: checkedIds(tokenIds, model, { prompt: true }) };
  if (messages !== undefined) return { conversation: readConversation(messages) };
  if (typeof prompt !== "string") throw invalid("prompt", "a string", prompt);
  return { text: prompt };
}

/**
 * A text, or a copy of ids that may follow the prompt.
 * @throws RubricateError ERR_ARGUMENT; ERR_CONTEXT_LENGTH where they do not fit behind the ids of the prompt, or behind one token
 */
export function readContinuation(
  continuation: string | ArrayLike<number>,
  prompt: PromptInput,
  model: ModelSizes,
): string | Int32Array {
  if (typeof continuation === "string") return continuation;
  const length = lengthOf("continuation", "a text or token ids", continuation);
  requireRoom(length, model.contextLength - ("tokenIds" in prompt ? prompt.tokenIds.length : 1));
  return integersOf("continuation", continuation, length, 0, model.vocabularySize - 1);
}

/** @throws RubricateError ERR_CONTEXT_LENGTH */
export function requireRoom(length: number, room: number): void {
  if (length > room)
    throw new RubricateError(
      "ERR_CONTEXT_LENGTH",
      `Expected at most ${room} tokens (what the prompt leaves of the model's context) for continuation but received ${length}`,
    );
}

/**
 * Token ids of a prompt or a conversation, without keeping the event loop: what is not certain to be quick, a thread does,
 * which a signal ends at once.
 */
import { invalid, RubricateError } from "../errors";
import { throwIfAborted } from "../job";
import { limits } from "../limits";
import { TemplateLimit } from "../template/budget";
import type { Conversation } from "../template/chat_messages";
import type { Tokenizer } from "../tokenizer/tokenizer";
import { readConversation } from "./prompt_input";
import type { Prompt } from "./prompt_protocol";
import { encodeInThread, type Stoppable } from "./prompt_thread";
import { turnFor } from "./turns";

/**
 * @param context tokens that fit into the model
 * @returns ids of the prompt without BOS and EOS; those of a conversation are the template's
 * @throws {RubricateError} ERR_CONTEXT_LENGTH where so many characters cannot fit; ERR_TEMPLATE; ERR_ARGUMENT
 */
export function encodeAtOnce(
  tokenizer: Tokenizer,
  prompt: Prompt,
  context = Number.POSITIVE_INFINITY,
): Int32Array<ArrayBuffer> {
  const text =
    "text" in prompt ? prompt.text : tokenizer.applyChatTemplate(prompt.messages, { addGenerationPrompt: true });
  requireFit(text, context);
  if ("text" in prompt && prompt.continues) return tokenizer.encodeStart(text, Number.MAX_SAFE_INTEGER, true);
  return tokenizer.encode(text, { addSpecialTokens: false });
}

function requireFit(text: string, context: number): void {
  if (text.length > limits.tokenCharacters * context)
    throw new RubricateError(
      "ERR_CONTEXT_LENGTH",
      `Expected a prompt of at most ${limits.tokenCharacters * context} characters (${limits.tokenCharacters} for each token of the model's context) but received ${text.length}`,
    );
}

/** A prompt, or a conversation that was checked and copied. */
export type PromptToEncode = Prompt | { readonly conversation: Conversation };

/**
 * @param work its `stop` ends the work of the thread meanwhile
 * @returns ids as `encodeAtOnce` gives them
 * @throws {RubricateError} as that; ERR_ABORTED
 */
export async function encodePrompt(
  tokenizer: Tokenizer,
  given: PromptToEncode,
  context: number,
  signal: AbortSignal | undefined,
  work?: Stoppable,
): Promise<Int32Array<ArrayBuffer>> {
  throwIfAborted(signal);
  const continues = "text" in given && given.continues === true;
  let text: string | undefined;
  if ("text" in given) text = given.text;
  else {
    const conversation = "conversation" in given ? given.conversation : readConversation(given.messages);
    tokenizer.tellIgnored(conversation);
    const { characters, values } = conversation.size;
    const cost = characters + valueCharacters * values;
    if (cost <= limits.quickCharacters) {
      await turn(cost, signal);
      text = quickText(tokenizer, conversation);
    }
    if (text === undefined)
      return encodeInThread(tokenizer, { messages: conversation.messages }, context, signal, work);
  }
  requireFit(text, context);
  if (text.length > limits.promptCharacters)
    throw invalid("the length of a prompt", `at most ${limits.promptCharacters} characters`, text.length);
  const cost = text.length * tokenizer.growth;
  if (cost > limits.quickCharacters) return encodeInThread(tokenizer, { text, continues }, context, signal, work);
  if ("text" in given) await turn(cost, signal);
  return encodeAtOnce(tokenizer, { text, continues });
}

/** Waits for a turn of the event loop, unless this one will do. @throws {RubricateError} ERR_ABORTED */
async function turn(characters: number, signal: AbortSignal | undefined): Promise<void> {
  const later = turnFor(characters);
  if (!later) return;
  await later;
  throwIfAborted(signal);
}

/** A value takes as long as so many characters. */
const valueCharacters = 16;

/** The conversation as the template writes it, or undefined where that may take long. */
function quickText(tokenizer: Tokenizer, { messages }: Conversation): string | undefined {
  try {
    return tokenizer.renderChat(messages, { addGenerationPrompt: true, maxSteps: limits.quickTemplateSteps }).text;
  } catch (error) {
    if (error instanceof RubricateError && error.cause instanceof TemplateLimit) return undefined;
    throw error;
  }
}

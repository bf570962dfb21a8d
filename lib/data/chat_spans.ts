import { RubricateError } from "../errors";
import { limits } from "../limits";
import type { ChatMessage, ChatOptions, Tokenizer } from "../tokenizer/tokenizer";
import { regularSpans } from "./chat_turns";
import type { Span } from "./types";

/** A rendered conversation and what the assistant says in it. */
export interface ChatText {
  readonly text: string;
  /**
   * Spans of `text`, in UTF-16 units, in order, computed lazily: what is truncated costs nothing. May throw
   * IrregularChat: `exactSpans` then has the spans, in more time.
   */
  readonly spans: Iterable<Span>;
  readonly exactSpans: Iterable<Span>;
}

/**
 * Renders a conversation and finds the assistant's turns: between the template's generation tags if it has them, else
 * between growing prefixes. A turn then begins where the messages before it end, rendered with `add_generation_prompt`,
 * and ends where the messages up to it end, so that the token which ends the turn belongs to it. Most turns of a long
 * conversation are written like one before, and no prefix is rendered for them (`regularSpans`).
 * @param given messages at the beginning whose answers are not supervised
 * @throws {RubricateError} ERR_TEMPLATE where the template fails, or the prefixes do not nest; also from the spans
 */
export function assistantSpans(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  given: number,
  tools?: readonly object[],
): ChatText {
  const options: ChatOptions = tools ? { tools } : {};
  let rendered = 0;
  const { text, generated } = tokenizer.renderChat(messages, options);
  const prefix = (count: number, addGenerationPrompt: boolean, within: string): number => {
    rendered += count;
    if (rendered > limits.turnMessages)
      throw new RubricateError(
        "ERR_TEMPLATE",
        `The turns of a conversation of ${messages.length} messages cannot be found by rendering at most ${limits.turnMessages} messages in all, since many differ in their roles, fields or markup; mark them in the template by {% generation %} and {% endgeneration %}, or train on all tokens`,
      );
    const part = tokenizer.applyChatTemplate(messages.slice(0, count), {
      ...options,
      addGenerationPrompt,
      mayBeEmpty: true,
    });
    if (!within.startsWith(part))
      throw new RubricateError(
        "ERR_TEMPLATE",
        `The chat template writes the first ${count} messages differently when more follow, so the assistant's turns cannot be found; mark them in the template by {% generation %} and {% endgeneration %}, or train on all tokens`,
      );
    return part.length;
  };
  const template = tokenizer.templateFor(tools);
  if (template.marksGeneration) {
    const from = given === 0 ? 0 : prefix(given, false, text);
    const spans = given === 0 ? generated : generated.filter(([start]) => start >= from);
    return { text, spans, exactSpans: spans };
  }
  const turns: number[] = [];
  for (let at = given; at < messages.length; at++) if (messages[at]!.role === "assistant") turns.push(at);
  const exact = (at: number): Span => {
    const end = at + 1 === messages.length ? text.length : prefix(at + 1, false, text);
    return [prefix(at, true, text.slice(0, end)), end];
  };
  const exactSpans = { *[Symbol.iterator]() { for (const at of turns) yield exact(at); } }; // biome-ignore format: one line
  const render = (changed: readonly ChatMessage[]) => tokenizer.applyChatTemplate(changed, options);
  const conversation = { messages, turns, text, strings: template.strings, render, exact };
  return { text, spans: { [Symbol.iterator]: () => regularSpans(conversation) }, exactSpans };
}

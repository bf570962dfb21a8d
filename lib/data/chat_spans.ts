import { RubricateError } from "../errors";
import type { ChatMessage, ChatOptions, Tokenizer } from "../tokenizer/tokenizer";

/** A half-open range. */
type Span = readonly [number, number];

/** A rendered conversation and what the assistant says in it. */
export interface ChatText {
  readonly text: string;
  /** Spans of `text`, in UTF-16 units, in order. */
  readonly spans: readonly Span[];
}

/**
 * Renders a conversation and finds the assistant's turns: between the template's generation tags if it has them, else
 * between growing prefixes. A turn then begins where the conversation before it ends that asks for an answer
 * (`add_generation_prompt`), and ends where the conversation ends that has it last, so that the token which ends the turn
 * belongs to it.
 * @param given messages at the beginning whose answers are left out
 * @throws {RubricateError} ERR_TEMPLATE where the template fails, or the prefixes do not nest
 */
export function assistantSpans(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  given: number,
  tools?: readonly object[],
): ChatText {
  const options: ChatOptions = tools ? { tools } : {};
  const { text, generated } = tokenizer.renderChat(messages, options);
  const prefix = (count: number, addGenerationPrompt: boolean, within: string): number => {
    const part = tokenizer.applyChatTemplate(messages.slice(0, count), { ...options, addGenerationPrompt });
    if (!within.startsWith(part))
      throw new RubricateError(
        "ERR_TEMPLATE",
        `The chat template writes the first ${count} messages differently when more follow, so the assistant's turns cannot be told; mark them in the template by {% generation %} and {% endgeneration %}, or train on all tokens`,
      );
    return part.length;
  };
  if (tokenizer.templateFor(tools).marksGeneration) {
    if (given === 0) return { text, spans: generated };
    const from = prefix(given, false, text);
    return { text, spans: generated.filter(([start]) => start >= from) };
  }
  const spans: Span[] = [];
  for (let at = given; at < messages.length; at++) {
    if (messages[at]!.role !== "assistant") continue;
    const end = at + 1 === messages.length ? text.length : prefix(at + 1, false, text);
    spans.push([prefix(at, true, text.slice(0, end)), end]);
  }
  return { text, spans };
}

/**
 * Tokens that have a part in one of the spans; a token over the border of a span belongs to it.
 *
 * A border's token is found by encoding the text up to the border: as many tokens as that has in common with the whole.
 * @param ids the tokens of `text`, or the first of them, [tokens]
 * @returns 1 for tokens in a span, [tokens]
 */
export function tokensInSpans(
  tokenizer: Tokenizer,
  ids: Int32Array,
  { text, spans }: ChatText,
): Uint8Array<ArrayBuffer> {
  const marked = new Uint8Array(ids.length);
  const border = (at: number): { tokens: number; exact: boolean } => {
    if (at === text.length) return { tokens: ids.length, exact: true };
    const part = tokenizer.encodeStart(text.slice(0, at), ids.length);
    let tokens = 0;
    while (tokens < part.length && part[tokens] === ids[tokens]) tokens++;
    return { tokens, exact: tokens === part.length };
  };
  for (const [start, end] of spans) {
    const first = border(start).tokens;
    if (first === ids.length) break; // this and all later spans are in what was truncated
    const last = border(end);
    marked.fill(1, first, last.exact ? last.tokens : last.tokens + 1);
  }
  return marked;
}

import { invalid } from "../errors";
import { JsonNumber } from "../files/exact_values";
import { limits } from "../limits";
import { isRecord, listOf, readArgument } from "../options";
import { type ConversationSize, PlainCopy } from "./plain_messages";

/** One turn of a conversation. The template gets all fields as they are. */
export interface ChatMessage {
  readonly role: string;
  /** Most often a string; a list of parts, or the result of a tool as JSON data, where the template takes that. */
  readonly content?: string | number | boolean | object | null;
  readonly [field: string]: unknown;
}

/** A copy of messages and tools as plain data. */
export interface Conversation {
  readonly messages: readonly ChatMessage[];
  readonly tools: readonly object[] | undefined;
  /** What a template may cost depends on it. */
  readonly size: ConversationSize;
}

const messageForm = "{role, content}";

/**
 * Checks the messages of a row or of a call: what a template does with the content is the template's matter, but there is some.
 * @param name what errors call them
 * @throws RubricateError ERR_ARGUMENT naming the message
 */
export function requireMessages(messages: unknown, name: string): asserts messages is readonly ChatMessage[] {
  if (!Array.isArray(messages)) throw invalid(name, `an array of ${messageForm}`, messages);
  if (messages.length === 0) throw invalid(name, "at least one message", messages);
  for (const [at, message] of messages.entries()) requireMessage(message, `${name}[${at}]`);
}

function requireMessage(message: unknown, name: string): asserts message is ChatMessage {
  if (!isRecord(message)) throw invalid(name, messageForm, message);
  const { role, content } = message;
  if (typeof role !== "string") throw invalid(`${name}.role`, "a string", role);
  if (!hasContent(content) && !isOfTool(message))
    throw invalid(`${name}.content`, "a string, or tool_calls in its place,", content);
}

/** Text, or parts of a message. */
function hasContent(content: unknown): boolean {
  if (Array.isArray(content)) return content.length > 0;
  return typeof content === "string" || (isRecord(content) && !(content instanceof JsonNumber));
}

/** A call of tools stands in place of words; what a tool returns is any data. */
function isOfTool({ role, tool_calls, function_call }: Record<string, unknown>): boolean {
  return (
    Array.isArray(tool_calls) || isRecord(function_call) || ["tool", "ipython", "function"].includes(role as string)
  );
}

/**
 * Checks and copies a conversation before a template runs on it. Fields besides the role are not checked: templates differ in
 * what they take.
 * @param mayBeEmpty for the beginning of a conversation
 * @param most values that messages and tools may have, and characters of their strings; of names, as many
 * @throws RubricateError ERR_ARGUMENT naming the message
 */
export function checkMessages(
  messages: readonly ChatMessage[],
  tools: readonly object[] | null | undefined,
  most: { readonly values: number; readonly characters: number } = {
    values: limits.lineValues,
    characters: limits.chatCharacters,
  },
  mayBeEmpty = false,
): Conversation {
  const copy = new PlainCopy(most.values, most.characters);
  const levels = limits.rowNesting - 1; // their array is a level, too
  const what = messageForm;
  const plain = listOf("messages", `an array of ${what}`, messages, limits.chatMessages).map((given, at) => {
    const name = `messages[${at}]`;
    return readArgument(name, what, () => {
      if (!isRecord(given)) throw invalid(name, what, given);
      const message = copy.of(given, name, levels) as ChatMessage | undefined;
      if (!isRecord(message)) throw invalid(name, what, message);
      requireMessage(message, name);
      return message;
    });
  });
  if (plain.length === 0 && !mayBeEmpty) throw invalid("messages", "at least one message", plain);
  if (tools === undefined || tools === null) return { messages: plain, tools: undefined, size: copy.size };
  const plainTools = listOf("tools", "an array of objects", tools, limits.chatMessages).map((tool, at) => {
    const name = `tools[${at}]`;
    if (typeof tool !== "object" || tool === null) throw invalid(name, "an object", tool);
    return readArgument(name, "an object", () => copy.of(tool, name, levels) as object);
  });
  return { messages: plain, tools: plainTools, size: copy.size };
}

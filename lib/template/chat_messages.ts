import { invalid } from "../errors";
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

/**
 * Checks and copies a conversation before a template runs on it. Fields besides the role are not checked: templates differ in
 * what they take.
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
): Conversation {
  const copy = new PlainCopy(most.values, most.characters);
  const levels = limits.rowNesting - 1; // their array is a level, too
  const what = "{role, content}";
  const plain = listOf("messages", "an array of {role, content}", messages, limits.chatMessages).map((given, at) => {
    const name = `messages[${at}]`;
    return readArgument(name, what, () => {
      if (!isRecord(given)) throw invalid(name, what, given);
      const message = copy.of(given, name, levels) as ChatMessage | undefined;
      if (!isRecord(message)) throw invalid(name, what, message);
      if (typeof message.role !== "string") throw invalid(`${name}.role`, "a string", message.role);
      return message;
    });
  });
  if (tools === undefined || tools === null) return { messages: plain, tools: undefined, size: copy.size };
  const plainTools = listOf("tools", "an array of objects", tools, limits.chatMessages).map((tool, at) => {
    const name = `tools[${at}]`;
    if (typeof tool !== "object" || tool === null) throw invalid(name, "an object", tool);
    return readArgument(name, "an object", () => copy.of(tool, name, levels) as object);
  });
  return { messages: plain, tools: plainTools, size: copy.size };
}

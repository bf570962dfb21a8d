import { invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import { isRecord, listOf, readArgument } from "../options";
import type { ChatMessage } from "./chat_template";

/**
 * Checks a conversation before a template runs on it. What a template does with fields besides these two is its own affair.
 * @throws RubricateError ERR_ARGUMENT naming the message
 */
export function checkMessages(messages: readonly ChatMessage[], tools: readonly object[] | null | undefined): void {
  const list = listOf("messages", "an array of {role, content}", messages, limits.chatMessages);
  let characters = 0;
  for (const [at, message] of list.entries())
    readArgument(`messages[${at}]`, "{role, content}", () => {
      characters += checkedLength(message, `messages[${at}]`);
    });
  if (characters > limits.chatCharacters)
    throw new RubricateError(
      "ERR_ARGUMENT",
      `Expected at most ${limits.chatCharacters} characters in messages but received ${characters}`,
    );
  if (tools === undefined || tools === null) return;
  for (const [at, tool] of listOf("tools", "an array of objects", tools, limits.chatMessages).entries())
    if (typeof tool !== "object" || tool === null) throw invalid(`tools[${at}]`, "an object", tool);
}

/** @returns the number of characters of a message */
function checkedLength(message: ChatMessage, name: string): number {
  const given: unknown = message;
  if (!isRecord(given)) throw invalid(name, "{role, content}", given);
  const { role, content } = given;
  if (typeof role !== "string") throw invalid(`${name}.role`, "a string", role);
  if (typeof content === "string") return role.length + content.length;
  // A call of tools may stand in place of words, and parts of several kinds.
  const silent = content === undefined || content === null;
  if (silent ? !Array.isArray(given.tool_calls) : !Array.isArray(content))
    throw invalid(`${name}.content`, "a string", content);
  return role.length;
}

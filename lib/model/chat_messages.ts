import { invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import { isRecord, listOf, readArgument } from "../options";

/** One turn of a conversation. Fields besides these two are passed on to the template. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly [field: string]: unknown;
}

/**
 * Checks a conversation before a template runs on it. What a template does with fields besides these two is its own affair.
 * @throws RubricateError ERR_ARGUMENT naming the message
 */
export function checkMessages(messages: readonly ChatMessage[], tools: readonly object[] | null | undefined): void {
  const list = listOf("messages", "an array of {role, content}", messages, limits.chatMessages);
  for (const [at, message] of list.entries())
    readArgument(`messages[${at}]`, "{role, content}", () => {
      checkMessage(message, `messages[${at}]`);
    });
  if (tools !== undefined && tools !== null)
    for (const [at, tool] of listOf("tools", "an array of objects", tools, limits.chatMessages).entries())
      if (typeof tool !== "object" || tool === null) throw invalid(`tools[${at}]`, "an object", tool);
  readArgument("messages and tools", "plain data", () => conversationSize(list, tools ?? undefined));
}

function checkMessage(message: ChatMessage, name: string): void {
  const given: unknown = message;
  if (!isRecord(given)) throw invalid(name, "{role, content}", given);
  const { role, content } = given;
  if (typeof role !== "string") throw invalid(`${name}.role`, "a string", role);
  if (typeof content === "string") return;
  // A call of tools may stand in place of words, and parts of several kinds.
  const silent = content === undefined || content === null;
  if (silent ? !Array.isArray(given.tool_calls) : !Array.isArray(content))
    throw invalid(`${name}.content`, "a string", content);
}

const tooMuch = (limit: string) =>
  new RubricateError("ERR_ARGUMENT", `Expected at most ${limit} in messages and tools but received more`);

/**
 * Elements and characters of messages and tools, all levels counted, and the names of fields besides the usual two. It stops
 * at the limits, before anything copies what is beyond.
 * @throws RubricateError ERR_ARGUMENT where there are too many, as of values that hold themselves
 */
export function conversationSize(messages: unknown, tools: unknown): { elements: number; characters: number } {
  let elements = 0;
  let characters = 0;
  const addCharacters = (length: number) => {
    characters += length;
    if (characters > limits.chatCharacters) throw tooMuch(`${limits.chatCharacters} characters`);
  };
  const addElements = (count: number) => {
    elements += count;
    if (elements > limits.lineValues) throw tooMuch(`${limits.lineValues} values`);
  };
  const count = (part: unknown, levels: number): void => {
    addElements(1);
    if (typeof part === "string") addCharacters(part.length);
    if (typeof part !== "object" || part === null) return;
    if (levels === 0) throw tooMuch(`${limits.rowNesting} levels of arrays and objects`);
    if (ArrayBuffer.isView(part) || part instanceof ArrayBuffer) {
      addElements(part.byteLength);
      return;
    }
    if (part instanceof Map) for (const name of part.keys()) count(name, levels - 1);
    if (part instanceof Map || part instanceof Set) {
      for (const inner of part.values()) count(inner, levels - 1);
    } else if (Array.isArray(part)) {
      if (part.length > limits.lineValues) addElements(part.length);
      for (let at = 0; at < part.length; at++) count(part[at], levels - 1);
    } else
      for (const name of Object.keys(part)) {
        if (name !== "role" && name !== "content") addCharacters(name.length);
        count((part as Record<string, unknown>)[name], levels - 1);
      }
  };
  count([messages, tools], limits.rowNesting + 1); // the array of both is none of the caller's levels
  return { elements, characters };
}

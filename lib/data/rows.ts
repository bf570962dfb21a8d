import { RubricateError } from "../errors";
import { JsonNumber } from "../files/exact_values";
import { isObject, type JsonObject } from "../files/json";
import { limits } from "../limits";
import { type ChatMessage, requireMessages } from "../template/chat_messages";
import { nestingLevels, tooMuch } from "../template/plain_messages";

/** How a row of a data file is read: by its own fields, or as one shape only. */
export type DataFormat = "auto" | "chat" | "prompt" | "text";

/** A row's content, of one of the three shapes. */
export type Row =
  | {
      readonly kind: "chat";
      readonly messages: readonly ChatMessage[];
      readonly tools?: readonly object[];
      /** Messages at the beginning whose answers are not to be learned. */
      readonly given: number;
    }
  | { readonly kind: "prompt"; readonly prompt: string; readonly completion: string }
  | { readonly kind: "text"; readonly text: string };

/** Why a row cannot be used. Its cause is the template's error, which may concern every row. */
export class UnusableRow extends Error {
  /** @param exceedsLimit whether the template took as long as it may: many such rows would take hours */
  constructor(
    message: string,
    options?: { cause?: unknown },
    readonly exceedsLimit = false,
  ) {
    super(message, options);
  }
}

/**
 * Reads a row: `{messages}`, `{prompt, completion}` (strings, or lists of messages) or `{text}`. Other fields are ignored.
 * @param value the parsed JSON of a line
 * @throws {UnusableRow} with the reason
 */
export function readRow(value: unknown, format: DataFormat): Row {
  if (!isObject(value))
    throw new UnusableRow(
      `not a JSON object but ${value === null ? "null" : Array.isArray(value) ? "an array" : `a ${typeof value}`}`,
    );
  const wants = (shape: DataFormat, field: string) =>
    format === shape || (format === "auto" && value[field] !== undefined && value[field] !== null);
  if (wants("chat", "messages")) return chat(value);
  if (wants("prompt", "prompt") || wants("prompt", "completion")) return promptAndCompletion(value);
  if (wants("text", "text")) return { kind: "text", text: nonEmpty(value, "text") };
  throw new UnusableRow('it has neither "messages", nor "prompt" and "completion", nor "text"');
}

function nonEmpty(row: JsonObject, field: string): string {
  const value = string(row, field);
  if (value === "") throw new UnusableRow(`"${field}" is empty`);
  return value;
}

function string(row: JsonObject, field: string): string {
  const value = row[field];
  if (value === undefined) throw new UnusableRow(`it has no "${field}"`);
  if (typeof value !== "string") throw new UnusableRow(`"${field}" is not a string`);
  return value;
}

function promptAndCompletion(row: JsonObject): Row {
  if (!Array.isArray(row.prompt))
    return { kind: "prompt", prompt: string(row, "prompt"), completion: nonEmpty(row, "completion") };
  const prompt = messageList(row.prompt, "prompt");
  const completion = Array.isArray(row.completion)
    ? messageList(row.completion, "completion")
    : [{ role: "assistant", content: nonEmpty(row, "completion") }];
  return { kind: "chat", messages: [...prompt, ...completion], given: prompt.length, ...toolsOf(row) };
}

function chat(row: JsonObject): Row {
  return { kind: "chat", messages: messageList(row.messages, "messages"), given: 0, ...toolsOf(row) };
}

function toolsOf(row: JsonObject): { tools?: readonly object[] } {
  if (row.tools === undefined || row.tools === null) return {};
  const { tools } = row;
  if (!Array.isArray(tools) || !tools.every((tool) => typeof tool === "object" && tool !== null) || !isShallow(tools))
    throw new UnusableRow('"tools" is not a list of objects');
  return { tools };
}

/** As a call's messages are checked, with the same words. */
function messageList(value: unknown, field: string): readonly ChatMessage[] {
  try {
    requireMessages(value, field);
  } catch (error) {
    if (error instanceof RubricateError) throw new UnusableRow(error.message);
    throw error;
  }
  if (!isShallow(value)) throw new UnusableRow(tooMuch(nestingLevels).message);
  return value;
}

function isShallow(value: unknown, levels: number = limits.rowNesting): boolean {
  if (typeof value !== "object" || value === null || value instanceof JsonNumber) return true;
  return levels > 0 && Object.values(value).every((part) => isShallow(part, levels - 1));
}

import { quoted, RubricateError } from "../errors";
import { JsonNumber } from "../files/exact_values";
import { isObject, type JsonObject } from "../files/json";
import { limits } from "../limits";
import { type ChatMessage, requireMessages } from "../template/chat_messages";
import { nestingLevels, tooMuch } from "../template/plain_messages";
import { alpacaPrompt, shareGptRoles } from "./other_shapes";

/** How a row of a data file is read: by its own fields, or as one shape only. */
export type DataFormat = "auto" | "chat" | "prompt" | "text" | "alpaca" | "sharegpt";

export const dataFormats = ["auto", "chat", "prompt", "text", "alpaca", "sharegpt"] as const;

/** A row's content: Alpaca's and ShareGPT's shapes become one of these, too. */
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
 * Reads a row: `{messages}`, `{prompt, completion}` (strings, or lists of messages), `{text}`, Alpaca's
 * `{instruction, input, output}` or ShareGPT's `{conversations}`. Other fields are ignored.
 * @param value what a line says
 * @param asChat whether Alpaca's rows become conversations, because there is a chat template
 * @throws {UnusableRow} with the reason
 */
export function readRow(value: unknown, format: DataFormat, asChat = false): Row {
  if (!isObject(value))
    throw new UnusableRow(
      `not a JSON object but ${value === null ? "null" : Array.isArray(value) ? "an array" : `a ${typeof value}`}`,
    );
  const has = (field: string) => value[field] !== undefined && value[field] !== null;
  const wants = (shape: DataFormat, field: string) => format === shape || (format === "auto" && has(field));
  const own = ["messages", "prompt", "completion", "text"].find(has);
  const other = has("conversations")
    ? "conversations"
    : has("instruction") && has("output")
      ? "instruction"
      : undefined;
  if (format === "auto" && own !== undefined && other !== undefined)
    throw new UnusableRow(
      `it has the fields of two shapes, "${own}" and "${other}": say with format which one is meant`,
    );
  if (format === "auto" && other === "conversations" && has("instruction") && has("output"))
    throw new UnusableRow(
      'it has the fields of two shapes, "conversations" and "instruction": say with format which one is meant',
    );
  if (wants("sharegpt", "conversations"))
    return { kind: "chat", given: 0, ...toolsOf(value), messages: shareGpt(value) };
  if (format === "alpaca" || (own === undefined && wants("alpaca", "instruction"))) return alpaca(value, asChat);
  if (wants("chat", "messages")) return chat(value);
  if (wants("prompt", "prompt") || wants("prompt", "completion")) return promptAndCompletion(value);
  if (wants("text", "text")) return { kind: "text", text: nonEmpty(value, "text") };
  throw new UnusableRow(
    'it has neither "messages", nor "prompt" and "completion", nor "text", nor "instruction" and "output", nor "conversations"',
  );
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

function alpaca(row: JsonObject, asChat: boolean): Row {
  const instruction = nonEmpty(row, "instruction");
  const input = row.input === undefined || row.input === null ? "" : string(row, "input");
  const output = nonEmpty(row, "output");
  for (const field of ["system", "history"]) {
    const more = row[field];
    if (more !== undefined && more !== null && (more as { length?: unknown }).length !== 0)
      throw new UnusableRow(`"${field}" beside "instruction" is not read: write the row as "messages"`);
  }
  if (!asChat) return { kind: "prompt", prompt: alpacaPrompt(instruction, input), completion: output };
  const messages = [
    { role: "user", content: input === "" ? instruction : `${instruction}\n${input}` },
    { role: "assistant", content: output },
  ];
  return { kind: "chat", messages, given: 0 };
}

function shareGpt(row: JsonObject): readonly ChatMessage[] {
  const { conversations, system } = row;
  if (!Array.isArray(conversations)) throw new UnusableRow('"conversations" is not a list of messages');
  const messages = conversations.map((message: unknown, at) => {
    if (!isObject(message)) throw new UnusableRow(`conversations[${at}] is not an object`);
    if (message.from === undefined && message.role !== undefined)
      throw new UnusableRow(`conversations[${at}] has "role" instead of "from": name the list "messages"`);
    const from = string(message, "from");
    const role = shareGptRoles.get(from);
    if (role === undefined)
      throw new UnusableRow(
        `conversations[${at}] is from ${quoted(from)}, not one of ${[...shareGptRoles.keys()].join(", ")}`,
      );
    return { role, content: string(message, "value") };
  });
  if (system !== undefined && system !== null && system !== "")
    messages.unshift({ role: "system", content: string(row, "system") });
  return messageList(messages, "conversations");
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

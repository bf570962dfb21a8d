/** Which chat templates a tokenizer has, and which of them a conversation gets: as transformers reads and chooses them. */
import { readdir } from "node:fs/promises";
import path from "node:path";
import { invalid, RubricateError } from "../errors";
import { isObject, type JsonObject } from "../files/json";
import { cannotRead, present, readText } from "../files/read";
import { limits } from "../limits";

/** One template, or templates by name. */
export type ChatTemplates = string | Readonly<Record<string, string>>;

const folder = "additional_chat_templates";

/**
 * Reads chat_template.jinja and the templates of additional_chat_templates/.
 * @throws {RubricateError} ERR_FILE; ERR_TOKENIZER where there are too many
 */
export async function readChatTemplates(directory: string): Promise<ChatTemplates | undefined> {
  const at = (name: string) => path.join(directory, name);
  const main = at("chat_template.jinja");
  const source = (await present(main)) ? await readText(main, limits.documentBytes) : undefined;
  if (!(await present(at(folder)))) return source;
  const files = await readdir(at(folder)).catch((cause) => Promise.reject(cannotRead(at(folder), cause)));
  const names = files.filter((name) => name.endsWith(".jinja")).sort();
  requireFew(names.length, at(folder));
  if (names.length === 0) return source;
  const named = new Map<string, string>(source === undefined ? [] : [["default", source]]);
  for (const name of names)
    named.set(name.slice(0, -".jinja".length), await readText(at(path.join(folder, name)), limits.documentBytes));
  return Object.fromEntries(named);
}

function requireFew(count: number, where: string): void {
  if (count > limits.chatTemplates)
    throw invalid(
      `the number of chat templates in ${where}`,
      `at most ${limits.chatTemplates}`,
      count,
      "ERR_TOKENIZER",
    );
}

/**
 * `chat_template` of tokenizer_config.json.
 * @throws {RubricateError} ERR_TOKENIZER where it is malformed
 */
export function templatesOf(config: JsonObject, file: string): ChatTemplates | undefined {
  const template = config.chat_template;
  if (template == null) return undefined;
  if (typeof template === "string") return template;
  if (Array.isArray(template)) {
    requireFew(template.length, file);
    const named = template.filter(
      (one) => isObject(one) && typeof one.name === "string" && typeof one.template === "string",
    ) as { name: string; template: string }[];
    if (template.length === 0) return undefined;
    if (named.length === template.length)
      return Object.fromEntries(named.map(({ name, template: source }) => [name, source]));
  }
  throw new RubricateError(
    "ERR_TOKENIZER",
    `${file} has a \`chat_template\` that is neither a string nor a list of named templates`,
  );
}

/** The part of a tokenizer's hash that its tokenizer.json does not have. */
export function templatesText(templates: ChatTemplates): string {
  if (typeof templates === "string") return templates;
  return Object.entries(templates)
    .map(([name, source]) => `${name}\0${source}`)
    .join("\0");
}

/** The template for a conversation: of named ones "tool_use" where tools are given and there is one, else "default". */
export function chosenTemplate(templates: ChatTemplates | undefined, hasTools: boolean): string | undefined {
  if (typeof templates !== "object") return templates;
  const has = (name: string) => Object.hasOwn(templates, name);
  if (hasTools && has("tool_use")) return templates.tool_use;
  return has("default") ? templates.default : undefined;
}

/**
 * The same, where there has to be one.
 * @throws {RubricateError} ERR_TEMPLATE
 */
export function requireTemplate(templates: ChatTemplates | undefined, hasTools: boolean): string {
  const source = chosenTemplate(templates, hasTools);
  if (source !== undefined) return source;
  if (typeof templates !== "object")
    throw new RubricateError("ERR_TEMPLATE", "The tokenizer has no chat template; give text instead of messages");
  throw new RubricateError(
    "ERR_TEMPLATE",
    `Expected a chat template of the name "default" but received ${Object.keys(templates).sort().join(", ")}`,
  );
}

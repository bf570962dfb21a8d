/** Named chat templates: read, chosen and refused as transformers does it. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { assistantSpans } from "../../lib/data/chat_spans";
import { limits } from "../../lib/limits";
import type { ChatMessage } from "../../lib/template/chat_messages";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const fixture = path.join(__dirname, "..", "parity", "fixtures", "tokenizer", "byte_level");
const made: string[] = [];
afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true });
});

/** The fixture's folder with other chat templates. */
function folderWith(config: unknown, files: Record<string, string> = {}): string {
  const folder = mkdtempSync(path.join(tmpdir(), "templates-"));
  made.push(folder);
  cpSync(path.join(fixture, "tokenizer.json"), path.join(folder, "tokenizer.json"));
  writeFileSync(path.join(folder, "tokenizer_config.json"), JSON.stringify({ chat_template: config }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), text);
  }
  return folder;
}
const list = (templates: Record<string, string>) =>
  Object.entries(templates).map(([name, template]) => ({ name, template }));
const chat: ChatMessage[] = [{ role: "user", content: "q" }];
const extra = (name: string) => `additional_chat_templates/${name}.jinja`;

// What `tokenizer.get_chat_template` of transformers returns, with tools and without.
test.each<[string, unknown, Record<string, string>, string | undefined, string | undefined]>([
  ["one", "A", {}, "A", "A"],
  ["a list", list({ default: "D", tool_use: "T", rag: "R" }), {}, "D", "T"],
  ["a list without tool_use", list({ rag: "R", default: "D" }), {}, "D", "D"],
  ["a list without default", list({ tool_use: "T" }), {}, undefined, "T"],
  ["a list of others", list({ rag: "R" }), {}, undefined, undefined],
  ["the last of a name", [...list({ default: "D" }), ...list({ default: "E" })], {}, "E", "E"],
  ["a file before the list", list({ default: "D", tool_use: "T" }), { "chat_template.jinja": "F" }, "F", "F"],
  ["a file and a folder", "A", { "chat_template.jinja": "F", [extra("tool_use")]: "U" }, "F", "U"],
  ["a folder alone, which replaces the config", "A", { [extra("tool_use")]: "U" }, undefined, "U"],
  ["a default in the folder", "A", { "chat_template.jinja": "F", [extra("default")]: "G" }, "G", "G"],
  ["a folder with other files", "A", { "additional_chat_templates/readme.txt": "x" }, "A", "A"],
])("%s", async (_, config, files, plain, withTools) => {
  const tokenizer = await Tokenizer.fromPretrained(folderWith(config, files));
  const refused = expect.objectContaining({ code: "ERR_TEMPLATE", message: expect.stringMatching(/"default" but/) });
  const render = (tools?: object[]) => tokenizer.applyChatTemplate(chat, tools ? { tools } : {});
  const expected: [object[] | undefined, string | undefined][] = [
    [undefined, plain],
    [[{}], withTools],
    [[], withTools],
  ];
  for (const [tools, text] of expected)
    if (text === undefined) expect(() => render(tools)).toThrow(refused);
    else expect(render(tools)).toBe(text);
  expect(tokenizer.chatTemplate).toBe(plain);
});

test.each<[string, string, { tools?: object[]; tool_calls?: object[] }, string[]]>([
  ["tools that are not written", "{{ messages[0].content }}", { tools: [{}] }, ["tools"]],
  ["tools that are written", "{{ tools | tojson }}", { tools: [{}] }, []],
  ["no tools", "D", { tools: [] }, []],
  ["calls that are not written", "{{ tools }}", { tool_calls: [{}] }, ["tool_calls"]],
  ["calls that are written", "{{ messages[0].tool_calls }}", { tool_calls: [{}] }, []],
  ["both", "D", { tools: [{}], tool_calls: [{}] }, ["tools and tool_calls"]],
])("a notice, once per tokenizer: %s", async (_, template, { tools, ...fields }, named) => {
  const warned = jest.spyOn(process, "emitWarning").mockImplementation(() => {});
  try {
    const tokenizer = await Tokenizer.fromPretrained(folderWith(template));
    const messages = [{ role: "assistant", content: "x", ...fields }];
    for (let call = 0; call < 2; call++) tokenizer.applyChatTemplate(messages, tools ? { tools } : {});
    Tokenizer.ofParts(tokenizer.parts).applyChatTemplate(messages, tools ? { tools } : {});
    const notices = named.map((names) => [
      `The chat template does not write ${names}: the text of the conversation lacks them`,
      { type: "RubricateNotice", code: "RUBRICATE_TOOLS_IGNORED" },
    ]);
    expect(warned.mock.calls).toEqual(notices);
  } finally {
    warned.mockRestore();
  }
});

test("spans are those of the chosen template", async () => {
  const marked = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
  const tokenizer = await Tokenizer.fromPretrained(folderWith(list({ default: "D", tool_use: `T${marked}` })));
  const spans = assistantSpans(tokenizer, [{ role: "assistant", content: "abc" }], 0, [{}]);
  expect(spans).toMatchObject({ text: "Tabc", spans: [[1, 4]] });
});

test("every named template counts for the hash", async () => {
  const hash = async (templates: Record<string, string>) =>
    (await Tokenizer.fromPretrained(folderWith(list(templates)))).hash;
  const hashes = [
    await hash({ default: "D" }),
    await hash({ default: "D", rag: "R" }),
    await hash({ default: "D", rag: "S" }),
  ];
  expect(new Set(hashes).size).toBe(3);
});

test("as many named templates as are allowed, and one more", async () => {
  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, at) => [`t${at}`, "x"]));
  const files = (count: number) =>
    Object.fromEntries(Object.entries(many(count)).map(([name, text]) => [extra(name), text]));
  const most = limits.chatTemplates;
  await Tokenizer.fromPretrained(folderWith(list(many(most))));
  await Tokenizer.fromPretrained(folderWith("A", files(most)));
  const refused = {
    code: "ERR_TOKENIZER",
    message: expect.stringMatching(/^Expected at most 16 for the number of chat/),
  };
  await expect(Tokenizer.fromPretrained(folderWith(list(many(most + 1))))).rejects.toMatchObject(refused);
  await expect(Tokenizer.fromPretrained(folderWith("A", files(most + 1)))).rejects.toMatchObject(refused);
});

test.each<[string, unknown]>([
  ["a number", 5],
  ["a list of strings", ["a"]],
  ["a template that is no text", [{ name: "default", template: 1 }]],
])("refused: %s", async (_, config) => {
  await expect(Tokenizer.fromPretrained(folderWith(config))).rejects.toMatchObject({ code: "ERR_TOKENIZER" });
});

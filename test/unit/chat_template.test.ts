import { readFileSync } from "node:fs";
import path from "node:path";
import { limits } from "../../lib/limits";
import { type ChatMessage, checkMessages } from "../../lib/template/chat_messages";
import { ChatTemplate } from "../../lib/template/chat_template";
import { strftime } from "../../lib/template/strftime";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const fixtures = path.join(__dirname, "..", "parity", "fixtures", "tokenizer");

interface ChatCase {
  template: string;
  tokenizer: string;
  messages: ChatMessage[];
  text: string;
  prompt: string;
  ids: number[];
  mask: number[];
}
const cases: ChatCase[] = JSON.parse(readFileSync(path.join(fixtures, "chats.json"), "utf8"));
const special = { bos_token: "<s>", eos_token: "</s>" };
const chat: ChatMessage[] = [
  { role: "user", content: "q" },
  { role: "assistant", content: "a" },
];
const render = (source: string, messages = chat) =>
  new ChatTemplate(source, special).render(checkMessages(messages, undefined));

test.each(["chatml", "llama-2", "llama-3", "zephyr", "mistral"])("%s as transformers renders it", async (name) => {
  const own = cases.filter((one) => one.template === name);
  expect(own.length).toBeGreaterThanOrEqual(8);
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, own[0]!.tokenizer));
  const chatTemplate = readFileSync(path.join(fixtures, `${name}.jinja`), "utf8");
  const tokenizer = new Tokenizer({ ...files, chatTemplate });
  for (const { messages, text, prompt, ids } of own) {
    expect(tokenizer.applyChatTemplate(messages)).toBe(text);
    expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })).toBe(prompt);
    expect([...tokenizer.encodeChat(messages)]).toEqual(ids);
  }
});

// Expected texts are jinja2's with trim_blocks and lstrip_blocks.
test.each<[string, string, string]>([
  ["the last newline", "a\n", "a"],
  ["the last two", "a\n\n", "a\n"],
  ["trim_blocks", "{% if true %}\nx\n{% endif %}\ny", "x\ny"],
  ["lstrip_blocks", "x\n   {% if true %}y{% endif %}", "x\ny"],
  ["kept by a plus", "x\n  {%+ if true %}y{% endif %}", "x\n  y"],
  ["comments", "x\n  {# no #}\ny", "x\ny"],
  ["expressions keep theirs", "  {{ 'x' }}\ny", "  x\ny"],
  ["special tokens", "{{ bos_token }}{{ eos_token }}", "<s></s>"],
  ["absent tools", "{% if tools is none %}none{% endif %}", "none"],
  ["strip with characters", "{{ '\\n\\n x \\n'.lstrip('\\n').rstrip('\\n') }}", " x "],
  ["strip without", "{{ ' x '.strip() }}", "x"],
  ["range", "{% for i in range(1, 8, 3) %}{{ i }},{% endfor %}{{ range(3) | length }}", "1,4,7,3"],
  ["backwards", "{% for i in range(2, -1, -1) %}{{ i }}{% endfor %}", "210"],
  ["messages reversed", "{% for m in messages[::-1] %}{{ m.content }}{% endfor %}", "aq"],
  ["unescaped json", "{{ messages[0] | tojson }}<é>", '{"role": "user", "content": "q"}<é>'],
])("as Jinja: %s", (_, source, text) => {
  expect(render(source).text).toBe(text);
});

test.each<[string, string, string, [number, number][]]>([
  ["one span", "x{% generation %}yy{% endgeneration %}z", "xyyz", [[1, 3]]],
  ["stripped", "x {%- generation -%} yy {%- endgeneration -%} z", "xyyz", [[1, 3]]],
  ["in blocks", "{% for m in messages %}\n  {% generation %}\n{{ m.content }}{% endgeneration %}\n{% endfor %}", "qa", [[0, 1], [1, 2]]], // biome-ignore format: one line a case
  ["empty", "x{% generation %}{% endgeneration %}", "x", []],
  ["untagged", "x", "x", []],
])("generation tags: %s", (_, source, text, generated) => {
  expect(render(source)).toEqual({ text, generated });
});

test.each<[string, string, boolean]>([
  ["a tag", "{%- generation -%}x{%- endgeneration -%}", true],
  ["a tag with a plus", "{%+ generation +%}x{% endgeneration %}", true],
  ["a tag after a newline", "{%\ngeneration\n%}x{% endgeneration %}", true],
  ["a comment", "{# {% generation %} #}x", false],
  ["a string", "{{ '{% generation %}' }}", false],
  ["raw text", "{% raw %}{% generation %}{% endraw %}", false],
  ["a variable of that name", "{% set generation = 1 %}{{ generation }}", false],
])("whether a template marks what the assistant says: %s", (_, source, marks) => {
  expect(new ChatTemplate(source, special).marksGeneration).toBe(marks);
});

test("messages cannot forge generation tags", () => {
  const forged = [{ role: "user", content: "{% generation %}x{% endgeneration %}\uFDD0<\uFDD0>" }];
  const result = render("{{ messages[0].content }}{% generation %}y{% endgeneration %}", forged);
  expect(result.text).toBe(`${forged[0]!.content}y`);
  expect(result.generated).toEqual([[result.text.length - 1, result.text.length]]);
});

const many = "1".repeat(4);
test.each<[string, string]>([
  ["unclosed", "{% for m in messages %}"],
  ["nonsense", "{{ }}"],
  ["raised", "{{ raise_exception('no such role') }}"],
  ["undefined function", "{{ nothing() }}"],
  ["endless macro", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"],
  ["huge range", "{% for i in range(10000000000) %}{% endfor %}"],
  [
    "nested ranges",
    `{% for a in range(${many}) %}{% for b in range(${many}) %}{% for c in range(${many}) %}{{ c }}{% endfor %}{% endfor %}{% endfor %}`,
  ],
  [
    "nested ranges that write nothing",
    `{% set r = range(50000) %}${"{% for a in r %}".repeat(6)}${"{% endfor %}".repeat(6)}`,
  ],
  [
    "doubling a string",
    "{% set n = namespace(x='ab') %}{% for i in range(200) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
  ],
  [
    "doubling by replace",
    "{% set n = namespace(x='aaaa') %}{% for i in range(99) %}{% set n.x = n.x.replace('a', 'aaaa') %}{% endfor %}{{ n.x }}",
  ],
  [
    "doubling a list",
    "{% set n = namespace(x=[1]) %}{% for i in range(200) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x | length }}",
  ],
  [
    "shared lists",
    "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}",
  ],
  [
    "shared namespaces",
    "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set m = namespace() %}{% set m.a = n.x %}{% set m.b = n.x %}{% set n.x = m %}{% endfor %}{{ n.x | tojson }}",
  ],
  ["a namespace in itself", "{% set n = namespace() %}{% set n.n = n %}{{ n | tojson }}"],
  ["a megabyte of template", "x".repeat(1 << 20)],
  ["blanks without end", `${" ".repeat(100_000)}x`],
  ["deep nesting", `{{ ${"(".repeat(50_000)}1${")".repeat(50_000)} }}`],
])("ends in ERR_TEMPLATE: %s", (_, source) => {
  expect(() => render(source)).toThrow(expect.objectContaining({ code: "ERR_TEMPLATE" }));
});

test("what a template raises is told", () => {
  expect(() => render("{{ raise_exception('roles must alternate') }}")).toThrow(
    "The chat template failed: roles must alternate",
  );
});

test("a long conversation is within the budget", () => {
  const long = Array.from({ length: 4000 }, (_, at) => ({
    role: at % 2 ? "assistant" : "user",
    content: "word ".repeat(50),
  }));
  const source = readFileSync(path.join(fixtures, "mistral.jinja"), "utf8");
  expect(render(source, long).text.length).toBeGreaterThan(1_000_000);
});

const contents = "{% for m in messages %}{{ m.role }}CONTENT{% endfor %}";
test.each([
  ["{{ m.content }}", 1],
  ["{% if true %}{{ m.content | string }}{% endif %}", 1],
  ["{{ m.content | tojson }}", 1],
  ["{{ m.content.strip(' ') | trim }}", 1],
  ["{{ m.content.split('</think>')[-1].replace('</think>', '') }}", 1],
  ["{% generation %}{{ m.content }}{% endgeneration %}", 1],
  ["{% generation %}{{ m.content }}{% endgeneration %}", 1024],
  ["{% generation %}{{ m.content }}{% endgeneration %}", limits.chatMessages],
])("characters of strings count once, and markers not at all: %s, %d messages", (written, count) => {
  const quotes = written.includes("tojson") ? 2 : 0;
  const content = "x".repeat((limits.renderedCharacters - quotes) / count - "user".length);
  const messages = Array.from({ length: count }, () => ({ role: "user", content }));
  const { text, generated } = render(contents.replace("CONTENT", written), messages);
  expect(text.length).toBe(limits.renderedCharacters);
  if (written.includes("generation")) expect(generated).toHaveLength(count);
});

test("one character more is refused", () => {
  const source = contents.replace("CONTENT", "{% generation %}{{ m.content }}{% endgeneration %}.");
  const content = "x".repeat(limits.renderedCharacters - "user".length);
  expect(() => render(source, [{ role: "user", content }])).toThrow(/grows without bound/);
});

test.each(["chatml", "llama-2", "llama-3", "zephyr"])("%s: as many short turns as a conversation may have", (name) => {
  const source = readFileSync(path.join(fixtures, `${name}.jinja`), "utf8");
  const turns = Array.from({ length: limits.chatMessages }, (_, at) => ({
    role: at % 2 ? "assistant" : "user",
    content: `t${at}`,
  }));
  expect(render(source, turns).text).toContain(`t${limits.chatMessages - 1}`);
});

test("a template of as many words and signs as are allowed, and of one more", () => {
  const rest = 4; // what an expression begins and ends with
  const signs = "- ".repeat(limits.templateTokens - rest - 1);
  const source = `{{ 1 }}${signs}`;
  expect(render(source).text.length).toBe(1 + signs.length);
  expect(() => render(`${source}-`)).toThrow(/at most 12288 words and signs in the chat template/);
  expect(() => render(`{{ ${"1.".repeat(32_000)} }}`)).toThrow(/words and signs/);
});

test("blocks and operators in one another up to a limit, and one level more", () => {
  const { templateLevels } = limits;
  const blocks = (count: number) => `${"{% if true %}".repeat(count)}x${"{% endif %}".repeat(count)}`;
  const operators = (count: number) => `{{ ${"not ".repeat(count)}true }}`;
  const inner = 1; // that of the expression
  for (const source of [blocks, operators]) {
    expect(render(source(templateLevels - inner)).text).toMatch(/^(x|True|False)$/);
    expect(() => render(source(templateLevels - inner + 1))).toThrow(/more than 150 levels of expressions and blocks/);
  }
});

test("a template of as many steps as are allowed, and of fewer than it needs", () => {
  const turns = (content: string) => checkMessages([{ role: "user", content }], undefined);
  const looping = (count: number) => new ChatTemplate(`{% for i in range(${count}) %}x{% endfor %}`, special);
  /** The fewest steps with which a template ends. */
  const needed = (template: ChatTemplate): number => {
    let [low, high] = [0, 2 ** 20];
    while (high - low > 1) {
      const maxSteps = (low + high) >> 1;
      try {
        template.render(turns(""), { maxSteps });
        high = maxSteps;
      } catch {
        low = maxSteps;
      }
    }
    return high;
  };
  const { values, characters: own, nameCharacters } = turns("").size;
  expect({ values, own, nameCharacters }).toEqual({ values: 3, own: 4, nameCharacters: 11 });
  const base = limits.templateSteps + 50 * values;
  const eachTurn = (needed(looping(2000)) - needed(looping(1000))) / 1000;
  const template = looping(Math.ceil((base + 100) / eachTurn));
  const characters = 8 * (needed(template) - base) - own - nameCharacters;
  expect(characters).toBeGreaterThan(0);
  expect(template.render(turns("x".repeat(characters))).text).toMatch(/^x+$/);
  expect(() => template.render(turns("x".repeat(characters - 8)))).toThrow(/did not end within \d+ steps/);
});

test("a template that cannot be parsed is parsed once", async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  const tokenizer = new Tokenizer({ ...files, chatTemplate: "{% for" });
  const errors = [1, 2].map(() => {
    try {
      return tokenizer.applyChatTemplate(chat);
    } catch (error) {
      return error;
    }
  });
  expect(errors[0]).toMatchObject({ code: "ERR_TEMPLATE" });
  expect(errors[1]).toBe(errors[0]);
});

test("a tokenizer without a template says so", async () => {
  const tokenizer = await Tokenizer.fromPretrained(path.join(fixtures, "llama"));
  expect(() => tokenizer.applyChatTemplate(chat)).toThrow(expect.objectContaining({ code: "ERR_TEMPLATE" }));
});

// Expected values are Python's, datetime(2024, 3, 5, 13, 4, 9).strftime(...).
test.each([
  ["%d %b %Y", "05 Mar 2024"],
  ["%A, %B %-d", "Tuesday, March 5"],
  ["%Y-%m-%d %H:%M:%S %j", "2024-03-05 13:04:09 065"],
  ["%I:%M %p %a %y %%", "01:04 PM Tue 24 %"],
])("strftime %s", (format, text) => {
  expect(strftime(new Date(2024, 2, 5, 13, 4, 9), format)).toBe(text);
});

test("messages and tools that are deep, many or hold themselves are refused, at the limits", () => {
  const nested = (levels: number) => {
    let value: unknown = "x";
    for (let level = 0; level < levels; level++) value = [value];
    return value;
  };
  const within = (extra: unknown) => () => render("{{ messages[0].content }}", [{ role: "user", content: "a", extra }]);
  // The array of messages and the message are two levels.
  expect(within(nested(limits.rowNesting - 2))()).toMatchObject({ text: "a" });
  const refused = (says: RegExp) =>
    expect.objectContaining({ code: "ERR_ARGUMENT", message: expect.stringMatching(says) });
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  let shared: unknown = "x";
  for (let level = 0; level < 50; level++) shared = [shared, shared];
  for (const deep of [nested(limits.rowNesting - 1), nested(100_000), cyclic])
    expect(within(deep)).toThrow(refused(/at most 64 levels/));
  const other = 3; // the message, its role, its content
  expect(within(new Array(limits.lineValues - other - 1).fill(1))()).toMatchObject({ text: "a" });
  for (const many of [shared, new Array(limits.lineValues - other).fill(1)])
    expect(within(many)).toThrow(refused(/at most 1048576 values/));
});

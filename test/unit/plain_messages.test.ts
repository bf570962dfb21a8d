/** What messages and tools may hold: any JSON data, in bounded number, the same for short and for long conversations. */

import { encodeAtOnce, encodePrompt } from "../../lib/generate/prompt";
import { embeddedModelDir } from "../../lib/index";
import { limits } from "../../lib/limits";
import { checkMessages } from "../../lib/template/chat_messages";
import { type ChatMessage, Tokenizer } from "../../lib/tokenizer/tokenizer";

const template = "{% for m in messages %}{{ m | tojson }}{% endfor %}{{ tools | tojson }}";
let tokenizer: Tokenizer;
beforeAll(async () => {
  const { files } = await Tokenizer.fromPretrained(embeddedModelDir());
  tokenizer = new Tokenizer({ ...files, chatTemplate: template });
});
const rendered = (message: unknown) => {
  const text = tokenizer.applyChatTemplate([message as ChatMessage]);
  return JSON.parse(text.slice(0, text.length - "null".length));
};

test.each<[string, unknown]>([
  ["an object", { temperature: 22 }],
  ["a number", 22],
  ["true", true],
  ["null", null],
  ["missing", undefined],
  ["a list of parts", [{ type: "text", text: "x" }]],
])("content may be %s: the template gets it", (_, content) => {
  const message = { role: "tool", content, function_call: { name: "f", arguments: "{}" } };
  expect(rendered(message)).toEqual(JSON.parse(JSON.stringify(message)));
});

const getter = { reads: 0 };
const odd: [string, unknown][] = [
  ["functions", { f: () => 1, list: [() => 1] }],
  ["symbols", { s: Symbol("s"), [Symbol("name")]: 1 }],
  ["undefined", { u: undefined, list: [undefined, new Array(2)] }],
  ["a proxy", new Proxy({ a: 1 }, {})],
  ["a date", new Date(0)],
  ["a map", new Map([[1, 2]])],
  ["numbers that JSON lacks", [Number.NaN, Number.POSITIVE_INFINITY, -0]],
  ["boxed values", [new String("a"), new Number(1)]],
  ["a typed array", new Float32Array([1, 2])],
  ["a field of the name __proto__", JSON.parse('{"__proto__": {"a": 1}}')],
  ["an own toJSON", { toJSON: () => ({ a: 1 }) }],
];
test.each(odd)("a message with %s holds what JSON makes of it, in a thread too", async (_, extra) => {
  const message = { role: "user", content: "a", extra };
  expect(JSON.stringify(rendered(message))).toBe(JSON.stringify(message));
  const long = { ...message, pad: "z".repeat(limits.quickCharacters) };
  const plain = { messages: [JSON.parse(JSON.stringify(long))] };
  const ids = await encodePrompt(tokenizer, { messages: [long] }, 1 << 20, undefined);
  expect([...ids]).toEqual([...encodeAtOnce(tokenizer, plain)]);
});

test("getters are read once", async () => {
  const message = {
    role: "user",
    get content() {
      return `${++getter.reads}`;
    },
  };
  await encodePrompt(tokenizer, { messages: [message] }, 1 << 20, undefined);
  expect(getter.reads).toBe(1);
});

test.each<[string, unknown, RegExp]>([
  ["a role that is a number", { role: 5, content: "x" }, /^Expected a string for messages\[0\]\.role but received 5/],
  ["no role", { content: "x" }, /^Expected a string for messages\[0\]\.role but received undefined/],
  ["a bigint", { role: "user", content: 5n }, /^Expected JSON data for messages\[0\] but received 5/],
  ["no object", "hello", /^Expected \{role, content\} for messages\[0\] but received "hello"/],
  ["an array", [], /^Expected \{role, content\} for messages\[0\] but received an array/],
])("%s is refused", (_, message, says) => {
  expect(() => checkMessages([message as ChatMessage], undefined)).toThrow(
    expect.objectContaining({ code: "ERR_ARGUMENT", message: expect.stringMatching(says) }),
  );
});

const beside = 4; // the message, its role, its content, the list
test.each<[string, (length: number) => unknown]>([
  ["an array", (length) => new Array(length).fill(0)],
  ["a Buffer", (length) => Buffer.alloc(length)],
  ["an object", (length) => Object.fromEntries(Array.from({ length }, (_, at) => [`k${at}`, 0]))],
])("promptValues: %s of so many values is accepted, of one more refused", async (_, make) => {
  const chat = new Tokenizer({ ...tokenizer.files, chatTemplate: "{{ messages[0].content }}" });
  const encode = (length: number) =>
    encodePrompt(chat, { messages: [{ role: "user", content: "a", extra: make(length) }] }, 1 << 20, undefined);
  await expect(encode(limits.promptValues - beside)).resolves.toBeDefined();
  await expect(encode(limits.promptValues - beside + 1)).rejects.toMatchObject({
    code: "ERR_ARGUMENT",
    message: `Expected at most ${limits.promptValues} values in messages and tools but received more`,
  });
});

test("too long a Buffer, and a wide array, are refused before they are read", () => {
  const extras = [Buffer.alloc(2e8), new Array(2 ** 32 - 1), new Float64Array(2e7)];
  const start = performance.now();
  for (const extra of extras)
    expect(() => checkMessages([{ role: "user", content: "a", extra }], undefined)).toThrow(/at most \d+ values/);
  expect(performance.now() - start).toBeLessThan(500);
});

test("names and strings of all fields, and tools, count", () => {
  const most = limits.chatCharacters;
  const tool = (length: number) => [{ name: "x".repeat(length) }];
  const text = (length: number) => ({ role: "", content: "", deep: [{ t: "x".repeat(length) }] });
  expect(checkMessages([text(most - 1)], tool(1)).tools).toEqual(tool(1));
  expect(() => checkMessages([text(most - 1)], tool(2))).toThrow(`at most ${most} characters in messages and tools`);
  expect(() => checkMessages([{ role: "", content: "", ["k".repeat(most)]: 1 }], undefined)).toThrow(
    /characters of names/,
  );
});

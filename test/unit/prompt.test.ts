/** Prompts that take long to encode: another thread does that, and a signal ends it. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { encodeAtOnce, encodePrompt } from "../../lib/generate/prompt";
import type { Prompt } from "../../lib/generate/prompt_protocol";
import { limits } from "../../lib/limits";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";
import { WorkerThread } from "../../lib/worker_thread";

const fixtures = path.join(__dirname, "..", "parity", "fixtures", "tokenizer");
const context = 1 << 17;
let tokenizer: Tokenizer;
beforeAll(async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  tokenizer = new Tokenizer({ ...files, chatTemplate: readFileSync(path.join(fixtures, "chatml.jinja"), "utf8") });
});
const withTemplate = (chatTemplate: string) => new Tokenizer({ ...tokenizer.files, chatTemplate });
const turns = (count: number, content: string) =>
  Array.from({ length: count }, (_, at) => ({ role: at % 2 ? "assistant" : "user", content }));
/** Ids, and the most characters and template steps that were asked of this thread. */
async function encoded(prompt: Prompt, own = tokenizer) {
  let characters = 0;
  let steps = 0;
  const encode = jest.spyOn(Tokenizer.prototype, "encode");
  const render = jest.spyOn(Tokenizer.prototype, "renderChat");
  try {
    const ids = await encodePrompt(own, prompt, context, undefined);
    for (const [text] of encode.mock.calls) characters = Math.max(characters, text.length);
    for (const [, options] of render.mock.calls) steps = Math.max(steps, options?.maxSteps ?? Number.POSITIVE_INFINITY);
    return { ids, characters, steps };
  } finally {
    encode.mockRestore();
    render.mockRestore();
  }
}

const counting = "{% for i in range(COUNT) %}{{ i }}{% endfor %}";
test.each<[string, Prompt, string | undefined, boolean]>([
  ["a text", { text: "word ".repeat(100) }, undefined, false],
  ["a text at the limit", { text: "a".repeat(limits.quickCharacters) }, undefined, false],
  ["a longer text", { text: "a".repeat(limits.quickCharacters + 1) }, undefined, true],
  ["a conversation", { messages: turns(5, "Some words.") }, undefined, false],
  ["a long conversation", { messages: turns(301, "Some words. ".repeat(20)) }, undefined, true],
  [
    "a conversation of many parts",
    { messages: [{ role: "user", content: "a", list: Array(10_000).fill(1) }] },
    undefined,
    true,
  ],
  ["a template of few steps", { messages: turns(1, "a") }, counting.replace("COUNT", "100"), false],
  ["a template of many", { messages: turns(1, "a") }, counting.replace("COUNT", "9000"), true],
])("%s: its ids, and which thread finds them", async (_, prompt, template, elsewhere) => {
  // biome-ignore format: one line a case
  const own = template === undefined ? tokenizer : withTemplate(template);
  const { ids, characters, steps } = await encoded(prompt, own);
  expect([...ids]).toEqual([...encodeAtOnce(own, prompt)]);
  expect(characters === 0).toBe(elsewhere);
  expect(characters).toBeLessThanOrEqual(limits.quickCharacters);
  expect(steps).toBeLessThanOrEqual(limits.quickTemplateSteps);
});

test("a prompt that the normalizer makes longer is encoded by a thread", async () => {
  const json = JSON.parse(tokenizer.files.tokenizerJson as string);
  json.normalizer = { type: "Replace", pattern: { String: "a" }, content: "aaaa" };
  const own = new Tokenizer({ ...tokenizer.files, tokenizerJson: JSON.stringify(json) });
  const text = "a".repeat(limits.quickCharacters / 4);
  expect(await encoded({ text }, own)).toMatchObject({ characters: text.length });
  expect(await encoded({ text: `${text}a` }, own)).toMatchObject({ characters: 0 });
});

test.each<[string, unknown]>([
  ["another field", "y".repeat(limits.promptCharacters)],
  ["a name", { ["y".repeat(limits.promptCharacters + 1)]: 1 }],
  ["bytes", new Uint8Array(limits.lineValues)],
  ["an array", new Array(1e9)],
])("messages that have too much in %s are refused before they are copied", async (_, extra) => {
  // biome-ignore format: one line
  const messages = [{ role: "user", content: "a", extra }];
  const call = jest.spyOn(WorkerThread.prototype, "call");
  await expect(encodePrompt(tokenizer, { messages }, context, undefined)).rejects.toMatchObject({
    code: "ERR_ARGUMENT",
    message: expect.stringMatching(/at most \d+ (characters|characters of names|values) in messages and tools/),
  });
  expect(call).not.toHaveBeenCalled();
  call.mockRestore();
});

describe("many prompts at once", () => {
  const texts = Array.from({ length: 40 }, (_, at) => `${at} ${"word ".repeat(600 + (at % 5) * 300)}`);
  const prompts = texts.map((text, at): Prompt => (at % 4 === 3 ? { messages: turns(1, text) } : { text }));

  /** Does something, and tells which texts were encoded on this thread in each turn of the event loop. */
  async function inTurns(work: () => Promise<void>): Promise<string[][]> {
    const found: string[][] = [[]];
    const encode = jest.spyOn(Tokenizer.prototype, "encode").mockImplementation((text) => {
      found.at(-1)!.push(text);
      return new Int32Array(1);
    });
    let over = false;
    const turn = () => {
      found.push([]);
      if (!over) setImmediate(turn);
    };
    setImmediate(turn);
    await work();
    over = true;
    encode.mockRestore();
    return found.filter((turn) => turn.length > 0);
  }

  test("share turns of the event loop, in their order", async () => {
    const found = await inTurns(async () => {
      await Promise.all(prompts.map((prompt) => encodePrompt(tokenizer, prompt, context, undefined)));
    });
    const characters = found.map((turn) => turn.reduce((sum, text) => sum + text.length, 0));
    // A conversation's text has some more than it.
    for (const one of characters) expect(one).toBeLessThanOrEqual(limits.quickCharacters + 500);
    // A turn and the next one together have more than the limit.
    const all = texts.join("").length;
    expect(found.length).toBeLessThanOrEqual((2 * all) / limits.quickCharacters + 1);
    expect(found.flat().map((text) => Number(/\d+/.exec(text)))).toEqual(texts.map((_, at) => at));
  });

  test("that are aborted while they wait are not encoded", async () => {
    const ending = new AbortController();
    const found = await inTurns(async () => {
      const encoding = prompts.map((prompt, at) =>
        encodePrompt(tokenizer, prompt, context, at ? ending.signal : undefined),
      );
      ending.abort();
      const ends = await Promise.allSettled(encoding);
      expect(ends.filter(({ status }) => status === "fulfilled").length).toBeLessThan(6);
      for (const end of ends) if (end.status === "rejected") expect(end.reason).toMatchObject({ code: "ERR_ABORTED" });
    });
    expect(found.flat().length).toBeLessThan(6);
  });
});

test("a signal ends the thread", async () => {
  const ending = new AbortController();
  const encoding = encodePrompt(tokenizer, { text: "word ".repeat(1 << 19) }, context, ending.signal);
  setTimeout(() => ending.abort(new Error("enough")), 10);
  await expect(encoding).rejects.toMatchObject({ code: "ERR_ABORTED", cause: new Error("enough") });
  await expect(encodePrompt(tokenizer, { text: "a" }, context, ending.signal)).rejects.toMatchObject({
    code: "ERR_ABORTED",
  });
});

test("what cannot fit into the context is refused before it is encoded", async () => {
  const text = "a".repeat(limits.tokenCharacters * 70);
  await expect(encodePrompt(tokenizer, { text }, 70, undefined)).resolves.toHaveLength(text.length);
  await expect(encodePrompt(tokenizer, { text: `${text}a` }, 70, undefined)).rejects.toMatchObject({
    code: "ERR_CONTEXT_LENGTH",
    message: expect.stringMatching(/at most 71680 characters .* but received 71681/),
  });
});

test.each<[string, unknown, string]>([
  [
    "a getter that throws",
    [
      Object.defineProperty({ role: "user" }, "content", {
        enumerable: true,
        get: () => {
          throw new Error("mine");
        },
      }),
    ],
    "ERR_ARGUMENT",
  ],
  ["no list", { length: 1 }, "ERR_ARGUMENT"],
])("messages with %s are refused", async (_, messages, code) => {
  // biome-ignore format: one line a case
  await expect(encodePrompt(tokenizer, { messages } as Prompt, context, undefined)).rejects.toMatchObject({ code });
});

test("a template that fails in the thread fails as it does here", async () => {
  const failing = withTemplate("{% for i in range(9000) %}{{ i }}{% endfor %}{{ raise_exception('no such role') }}");
  await expect(encodePrompt(failing, { messages: turns(1, "a") }, context, undefined)).rejects.toMatchObject({
    code: "ERR_TEMPLATE",
    message: "The chat template failed: no such role",
  });
});

test("a text has a limit, and one more character is refused", () => {
  const normalizer = { type: "Replace", pattern: { String: "a" }, content: "" };
  const tokenizerJson = JSON.stringify({ normalizer, model: { type: "BPE", vocab: { b: 0 }, merges: [] } });
  const shortening = new Tokenizer({ directory: "/folder", tokenizerJson });
  expect([...shortening.encode(`${"a".repeat(limits.textCharacters - 1)}b`)]).toEqual([0]);
  expect(() => tokenizer.encode("a".repeat(limits.textCharacters + 1))).toThrow(
    expect.objectContaining({ code: "ERR_ARGUMENT", message: expect.stringMatching("for the length of text") }),
  );
});

test("whitespace of a chat template has a limit, and one more character is refused", () => {
  const source = `x${" ".repeat(limits.templateWhitespace)}y`;
  expect(withTemplate(source).applyChatTemplate(turns(1, "a"))).toBe(source);
  expect(() => withTemplate(`${source} ${source} `.replace("y x", "  ")).applyChatTemplate(turns(1, "a"))).toThrow(
    expect.objectContaining({ code: "ERR_TEMPLATE", message: expect.stringMatching("whitespace in a row") }),
  );
});

test("a chat template has a limit, and one more character is refused", () => {
  const source = "x".repeat(limits.templateCharacters);
  expect(withTemplate(source).applyChatTemplate(turns(1, "a"))).toBe(source);
  expect(() => withTemplate(`${source}x`).applyChatTemplate(turns(1, "a"))).toThrow(
    expect.objectContaining({ code: "ERR_TEMPLATE", message: expect.stringMatching("length of the chat template") }),
  );
});

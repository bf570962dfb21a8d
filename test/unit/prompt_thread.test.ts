/** The one thread of a tokenizer for long prompts: its queue, signals, and how it ends. */
import { encodeAtOnce, encodePrompt } from "../../lib/generate/prompt";
import { PromptWorker } from "../../lib/generate/prompt_thread";
import { embeddedModelDir, LanguageModel } from "../../lib/index";
import { limits } from "../../lib/limits";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const context = 1 << 17;
let tokenizer: Tokenizer;
const call = jest.spyOn(PromptWorker.prototype, "call");
beforeEach(async () => {
  tokenizer = await Tokenizer.fromPretrained(embeddedModelDir());
  call.mockClear();
});

const long = "word ".repeat(limits.quickCharacters / 4);
const endless = { text: "word ".repeat(1 << 19) };
const encode = (text: string, signal?: AbortSignal) => encodePrompt(tokenizer, { text }, context, signal);
const threads = () => new Set(call.mock.contexts).size;

test("many long prompts at once take one thread", async () => {
  const texts = Array.from({ length: 24 }, (_, at) => `${at} ${long}`);
  const found = await Promise.all(texts.map((text) => encode(text)));
  for (const [at, ids] of found.entries()) expect([...ids]).toEqual([...encodeAtOnce(tokenizer, { text: texts[at]! })]);
  expect(threads()).toBe(1);
});

test("a waiting prompt leaves the queue as soon as its signal fires, and the one before it goes on", async () => {
  const ending = new AbortController();
  const ends: string[] = [];
  const first = encode(long.repeat(8)).then(() => ends.push("first"));
  const second = encode(long, ending.signal).catch((error) => ends.push(error.code));
  const third = encode(long).then(() => ends.push("third"));
  ending.abort();
  await Promise.all([first, second, third]);
  expect(ends).toEqual(["ERR_ABORTED", "first", "third"]);
  expect([threads(), call.mock.calls.length]).toEqual([1, 2]);
});

test("the one that runs ends with its signal, and the queue goes on in another thread", async () => {
  const ending = new AbortController();
  const first = encodePrompt(tokenizer, endless, 1 << 24, ending.signal);
  const others = [encode(long), encode(long)];
  setTimeout(() => ending.abort(), 20);
  await expect(first).rejects.toMatchObject({ code: "ERR_ABORTED" });
  const expected = encodeAtOnce(tokenizer, { text: long });
  for (const ids of await Promise.all(others)) expect([...ids]).toEqual([...expected]);
  expect(threads()).toBe(2);
});

test("a prompt that fails leaves its thread to the next", async () => {
  const failing = new Tokenizer({
    ...tokenizer.files,
    chatTemplate:
      "{% for i in range(9000) %}{% endfor %}{% if messages[0].bad %}{{ raise_exception('bad') }}{% endif %}",
  });
  const chat = (bad: boolean) =>
    encodePrompt(failing, { messages: [{ role: "user", content: long, bad }] }, context, undefined);
  await expect(chat(true)).rejects.toMatchObject({ code: "ERR_TEMPLATE", message: expect.stringMatching(/bad$/) });
  await expect(chat(false)).resolves.toBeDefined();
  expect(threads()).toBe(1);
});

test("a thread without work ends", async () => {
  const close = jest.spyOn(PromptWorker.prototype, "close");
  jest.useFakeTimers({ doNotFake: ["setImmediate", "nextTick", "queueMicrotask", "performance"] });
  try {
    await encode(long);
    close.mockClear(); // another thread may have ended meanwhile, by a real timer of a test before
    jest.advanceTimersByTime(9_999);
    expect(close).not.toHaveBeenCalled();
    jest.advanceTimersByTime(1);
    expect(close).toHaveBeenCalledTimes(1);
  } finally {
    jest.useRealTimers();
    close.mockRestore();
  }
  await encode(long);
  expect(threads()).toBe(2);
});

test("a conversation that is rendered too long is refused before it is encoded", async () => {
  const chat = new Tokenizer({ ...tokenizer.files, chatTemplate: "{{ messages[0].content }}" });
  const messages = (length: number) => ({ messages: [{ role: "user", content: "a".repeat(length) }] });
  const most = limits.tokenCharacters * 70;
  await expect(encodePrompt(chat, messages(most), 70, undefined)).resolves.toBeDefined();
  await expect(encodePrompt(chat, messages(most + 1), 70, undefined)).rejects.toMatchObject({
    code: "ERR_CONTEXT_LENGTH",
  });
});

test("return() ends the encoding at once", async () => {
  const model = await LanguageModel.fromPretrained(embeddedModelDir(), { device: "cpu" });
  const most = limits.tokenCharacters * model.contextLength;
  const pieces = model.generate({ prompt: "a b ".repeat(most / 4) });
  const first = pieces.next();
  await new Promise((resolve) => setTimeout(resolve, 5));
  const stop = jest.spyOn(PromptWorker.prototype, "close");
  await pieces.return(undefined as never);
  await expect(first).resolves.toEqual({ done: true, value: undefined });
  expect(stop).toHaveBeenCalled();
  stop.mockRestore();
  model.dispose();
});

test("a text that goes on with one before it gets no space, whichever thread reads it", async () => {
  const json = JSON.parse(tokenizer.files.tokenizerJson as string);
  json.normalizer = { type: "Prepend", prepend: "w" };
  const own = new Tokenizer({ ...tokenizer.files, tokenizerJson: JSON.stringify(json) });
  for (const text of ["word", long]) {
    const ids = await encodePrompt(own, { text, continues: true }, context, undefined);
    expect([...ids]).toEqual([...own.encodeStart(text, Number.MAX_SAFE_INTEGER, true)]);
    expect(ids).not.toEqual(await encodePrompt(own, { text }, context, undefined));
  }
  expect(call).toHaveBeenCalledTimes(2);
});

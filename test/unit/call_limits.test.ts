/** The section "Calls" of docs/limits.md: a value at a limit is accepted, one past it is refused. */

import type { GenerateOptions } from "../../lib/generate/options";
import { encodePrompt } from "../../lib/generate/prompt";
import type { Prompt } from "../../lib/generate/prompt_protocol";
import { stopStrings } from "../../lib/generate/stop_strings";
import { Dataset, embeddedModelDir, LanguageModel, setDeviceMemoryLimit, Tensor, Tokenizer } from "../../lib/index";
import { limits } from "../../lib/limits";
import { checkMessages } from "../../lib/template/chat_messages";

let model: LanguageModel;
let data: Dataset;

beforeAll(async () => {
  model = await LanguageModel.fromPretrained(embeddedModelDir(), { device: "cpu" });
  const tokenizer = model.requireTokenizer();
  data = await Dataset.fromRows([{ text: "hello there" }], { tokenizer, maxLength: 8 });
});
afterAll(async () => {
  await data.dispose();
  model.dispose();
});

const first = (options: GenerateOptions) => model.generate({ prompt: "a", ...options }).next();
const message = (characters: number) => ({ role: "", content: "x".repeat(characters) });
/** A number of ids, the last of which is wrong: an error about that id shows that their number was accepted. */
const lastWrong = (length: number) => Object.assign(new Array<number>(length).fill(0), { [length - 1]: 0.5 });

/** Limit, the call, the smallest step past the limit, and the error there; for a lower bound the step is negative. */
const numbers: [keyof typeof limits, (value: number) => unknown, number, string][] = [
  ["maxNewTokens", (maxNewTokens) => first({ maxNewTokens }), 1, "ERR_ARGUMENT"],
  ["topK", (topK) => first({ topK }), 1, "ERR_ARGUMENT"],
  ["seed", (seed) => first({ seed }), 1, "ERR_ARGUMENT"],
  ["mostTemperature", (temperature) => first({ temperature }), 1e-9, "ERR_ARGUMENT"],
  ["leastTemperature", (temperature) => first({ temperature }), -1e-45, "ERR_ARGUMENT"],
  ["mostRepetitionPenalty", (repetitionPenalty) => first({ repetitionPenalty }), 1e-9, "ERR_ARGUMENT"],
  ["leastRepetitionPenalty", (repetitionPenalty) => first({ repetitionPenalty }), -1e-9, "ERR_ARGUMENT"],
  ["mostPenalty", (frequencyPenalty) => first({ frequencyPenalty }), 1e-9, "ERR_ARGUMENT"],
  ["mostPenalty", (most) => first({ presencePenalty: -most }), 1e-9, "ERR_ARGUMENT"],
  ["mostLogitBias", (bias) => first({ logitBias: { 5: -bias } }), 1e-9, "ERR_ARGUMENT"],
  ["stopStrings", (length) => stopStrings(new Array(length).fill("x")), 1, "ERR_ARGUMENT"],
  ["stopStringLength", (length) => stopStrings("x".repeat(length)), 1, "ERR_ARGUMENT"],
  ["chatMessages", (length) => checkMessages(new Array(length).fill(message(1)), undefined), 1, "ERR_ARGUMENT"],
  ["chatCharacters", (length) => checkMessages([message(length - 1), message(1)], undefined), 1, "ERR_ARGUMENT"],
  [
    "promptValues",
    (length) =>
      first({
        prompt: undefined as never,
        messages: [{ role: "", content: "", extra: new Array(length - 4).fill(0) }],
      }),
    1,
    "ERR_ARGUMENT",
  ],
  ["epoch", (epoch) => data.plan({ batchSize: 1, shuffle: true, seed: 0, epoch }), 1, "ERR_ARGUMENT"],
  ["tensorDimensions", (length) => Tensor.from([1], new Array(length).fill(1)), 1, "ERR_SHAPE"],
];

test.each(numbers)("%s", async (name, call, step, code) => {
  const limit = limits[name] as number;
  const beyond = limit + step;
  expect(beyond).not.toBe(limit);
  await expect((async () => call(limit))()).resolves.not.toBeInstanceOf(Error);
  await expect((async () => call(beyond))()).rejects.toMatchObject({ name: "RubricateError", code });
});

test.each<["decodeIds" | "exampleIndices", string, (ids: number[]) => unknown]>([
  ["decodeIds", "ids", (ids) => model.requireTokenizer().decode(ids)],
  ["exampleIndices", "indices", (indices) => data.examples(indices)],
])("%s", async (name, what, call) => {
  const limit = limits[name];
  const at = (length: number) => (async () => call(lastWrong(length)))();
  await expect(at(limit)).rejects.toThrow(`for ${what}[${limit - 1}] but received 0.5`);
  await expect(at(limit + 1)).rejects.toThrow(`Expected at most ${limit} `);
});

test("decodedCharacters", () => {
  const model = { type: "BPE", vocab: { ["a".repeat(limits.tokenCharacters)]: 0, b: 1 }, merges: [] };
  const decoder = { type: "Replace", pattern: { String: "a" }, content: "xyz!" };
  const built = (tokenizerJson: object) =>
    new Tokenizer({ directory: "/", tokenizerJson: JSON.stringify(tokenizerJson) });
  const plain = built({ model, decoder: { type: "ByteLevel" } });
  const ids = new Int32Array(limits.decodedCharacters / limits.tokenCharacters + 1);
  expect(plain.decode(ids.subarray(1))).toHaveLength(limits.decodedCharacters);
  ids[0] = 1;
  const tooMany = `Expected tokens of at most ${limits.decodedCharacters} characters together for ids but received`;
  expect(() => plain.decode(ids)).toThrow(expect.objectContaining({ code: "ERR_ARGUMENT" }));
  expect(() => plain.decode(ids)).toThrow(`${tooMany} ${limits.decodedCharacters + 1}`);
  const growing = built({ model, decoder });
  const quarter = ids.subarray(1, 1 + (ids.length - 1) / 4);
  expect(growing.decode(quarter).startsWith("xyz!xyz!")).toBe(true);
  expect(() => growing.decode([...quarter, 1])).toThrow(`${tooMany} ${limits.decodedCharacters + 4}`);
});

test("promptCharacters", async () => {
  const limit = limits.promptCharacters;
  const encode = (prompt: Prompt, context = Number.POSITIVE_INFINITY) =>
    encodePrompt(model.requireTokenizer(), prompt, context, undefined);
  const text = "a".repeat(limit);
  expect((await encode({ text })).length).toBeGreaterThan(limit / limits.tokenCharacters);
  const says = { code: "ERR_ARGUMENT", message: expect.stringContaining(`at most ${limit} characters`) };
  await expect(encode({ text: `${text}a` })).rejects.toMatchObject(says);
  // Within the limit, the messages reach the template, whose text does not fit.
  const chat = (content: string, extra: object = {}) => ({ messages: [{ role: "", content, ...extra }] });
  const tooLong = { code: "ERR_CONTEXT_LENGTH" };
  await expect(encode(chat(text), 1)).rejects.toMatchObject(tooLong);
  await expect(encode(chat(`${text}a`), 1)).rejects.toMatchObject(says);
  const names = limit - "role".length - "content".length;
  await expect(encode(chat("a".repeat(2000), { ["n".repeat(names)]: 1 }), 1)).rejects.toMatchObject(tooLong);
  await expect(encode(chat("a", { ["n".repeat(names + 1)]: 1 }), 1)).rejects.toMatchObject(says);
});

test("optionFields", async () => {
  const limit = limits.optionFields;
  const unknown = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, undefined]));
  expect((await first(unknown(limit - 1))).value).toBeDefined(); // in addition to the prompt
  await expect(first(unknown(limit))).rejects.toMatchObject({
    code: "ERR_ARGUMENT",
    message: `Expected at most ${limit} fields for the options of generate but received ${limit + 1}`,
  });
});

test("tensorElements", () => {
  const limit = limits.tensorElements;
  // At the limit the core compares the size with that of the data, which are missing.
  expect(() => Tensor.from([], [limit])).toThrow(expect.objectContaining({ code: "ERR_SHAPE" }));
  expect(() => Tensor.from([], [limit])).not.toThrow(/fewer than 2\^44/);
  expect(Tensor.from([], [0, limit]).shape).toEqual([0, limit]);
  for (const shape of [[limit + 1], [0, limit + 1], [2 ** 22, 2 ** 22, 0], [2 ** 43, 0, 2 ** 43]])
    expect(() => Tensor.from([], shape)).toThrow(/Expected at most 8 dimensions and fewer than 2\^44 elements/);
});

test("logits and generate without their model are refused", async () => {
  const { logits, generate } = model;
  const expected = { code: "ERR_ARGUMENT", message: "Expected a LanguageModel for model but received undefined" };
  await expect(logits([1])).rejects.toMatchObject(expected);
  await expect(generate({ tokenIds: [1] }).next()).rejects.toMatchObject(expected);
});

test("deviceNumber and deviceMemoryBytes", async () => {
  const { deviceNumber, deviceMemoryBytes } = limits;
  // There is no such device; it is looked up only if the arguments are valid.
  const call = (device: number, bytes: number) => setDeviceMemoryLimit(`cuda:${device}`, bytes);
  await expect(call(deviceNumber, deviceMemoryBytes)).rejects.toMatchObject({ code: "ERR_DEVICE" });
  await expect(call(deviceNumber + 1, 1)).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
  await expect(call(0, deviceMemoryBytes + 1)).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
});

test("the model's context bounds token ids, before they are looked at", async () => {
  const { contextLength } = model;
  const ids = (length: number) => new Int32Array(length).fill(7);
  expect(await model.logits(ids(contextLength))).toHaveLength(contextLength * model.vocabularySize);
  await expect(model.logits(ids(contextLength + 1))).rejects.toMatchObject({ code: "ERR_CONTEXT_LENGTH" });
  await expect(model.logits({ length: 2 ** 50 } as never)).rejects.toMatchObject({ code: "ERR_CONTEXT_LENGTH" });
  const generate = (tokenIds: ArrayLike<number>) => model.generate({ tokenIds, maxNewTokens: 1 }).next();
  expect((await generate(ids(contextLength - 1))).value).toBeDefined();
  await expect(generate(ids(contextLength))).rejects.toMatchObject({ code: "ERR_CONTEXT_LENGTH" });
});

test("topP is above 0 as the core computes with it", async () => {
  await expect(first({ topP: 1e-300 })).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
  await expect(first({ topP: 0 })).rejects.toThrow("Expected a number above 0 and up to 1 for topP but received 0");
  expect((await first({ topP: 2 ** -149, temperature: 1 })).value).toBeDefined();
});

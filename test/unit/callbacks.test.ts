/** Callbacks that throw, invalid signals, and one signal for many calls, with the addon and the dataset's threads. */
import { getEventListeners } from "node:events";
import { readdirSync } from "node:fs";
import workers from "node:worker_threads";
import {
  Dataset,
  embeddedModelDir,
  evaluate,
  LanguageModel,
  type RubricateError,
  type Tokenizer,
} from "../../lib/index";
import { until } from "./engine_support";

const dir = embeddedModelDir();
let model: LanguageModel;
let tokenizer: Tokenizer;

beforeAll(async () => {
  model = await LanguageModel.fromPretrained(dir, { device: "cpu" });
  tokenizer = model.requireTokenizer();
});
afterAll(() => model.dispose());

const threads = () => (process.platform === "linux" ? readdirSync("/proc/self/task").length : 0);
const soon = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
/** Enough rows that indexing reports its progress several times. */
const manyRows = Array.from({ length: 3000 }, () => ({ text: "once upon a time there was a little girl ".repeat(20) }));
const example = { tokenIds: Int32Array.of(1, 2, 3), supervised: new Uint8Array(3).fill(1), line: 1 };

type OnProgress = () => void;
const calls: [string, (onProgress: OnProgress) => Promise<unknown>][] = [
  ["LanguageModel.fromPretrained", (onProgress) => LanguageModel.fromPretrained(dir, { device: "cpu", onProgress })],
  ["evaluate", (onProgress) => evaluate(model, new Array(20).fill(example), { onProgress, batchSize: 1 })],
  ["Dataset.fromRows", (onProgress) => Dataset.fromRows(manyRows, { tokenizer, maxLength: 64, onProgress })],
];

const reason = new Error("of the caller's own");
const throwers: [string, OnProgress][] = [
  [
    "throws",
    () => {
      throw reason;
    },
  ],
  ["returns a promise that rejects", () => Promise.reject(reason)],
  [
    "returns a promise that rejects later",
    async () => {
      await soon(10);
      throw reason;
    },
  ],
];

describe.each(calls)("%s with an onProgress", (_, call) => {
  test.each(throwers)("that %s rejects with the same value", async (_kind, onProgress) => {
    const before = threads();
    await expect(call(onProgress)).rejects.toBe(reason);
    await until(() => threads() <= before + 1);
  });

  test("that is not a function starts no work", async () => {
    await expect(call("x" as never)).rejects.toMatchObject({ code: "ERR_ARGUMENT", name: "RubricateError" });
  });
});

test("an invalid signal starts no thread and no job", async () => {
  const { Worker } = workers;
  const started = jest.spyOn(workers, "Worker");
  started.mockImplementation(((...options: ConstructorParameters<typeof Worker>) => new Worker(...options)) as never);
  const before = threads();
  const signal = { aborted: false } as AbortSignal;
  const wrong = { code: "ERR_ARGUMENT", message: expect.stringMatching(/^Expected an AbortSignal for signal/) };
  const rows = [{ text: "hello there" }];
  await expect(Dataset.fromRows(rows, { tokenizer, maxLength: 8, signal })).rejects.toMatchObject(wrong);
  await expect(LanguageModel.fromPretrained(dir, { device: "cpu", signal })).rejects.toMatchObject(wrong);
  await expect(model.generate({ prompt: "a", signal }).next()).rejects.toMatchObject(wrong);
  await expect(model.logits([1], { signal })).rejects.toMatchObject(wrong);
  await expect(evaluate(model, [example], { signal })).rejects.toMatchObject(wrong);
  expect(started).not.toHaveBeenCalled();
  expect(threads()).toBeLessThanOrEqual(before);
  await (await Dataset.fromRows(rows, { tokenizer, maxLength: 8 })).dispose();
  expect(started).toHaveBeenCalledTimes(1);
  started.mockRestore();
});

test("one signal stops twenty calls with one listener", async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const runs = Array.from({ length: 20 }, async () => {
    for await (const _ of model.generate({ prompt: "hello", maxNewTokens: 500, signal })) {
      expect(getEventListeners(signal, "abort").length).toBeLessThanOrEqual(1);
    }
  });
  const ends = Promise.allSettled(runs);
  await until(() => getEventListeners(signal, "abort").length > 0);
  controller.abort("enough");
  for (const end of await ends)
    expect((end as PromiseRejectedResult).reason as RubricateError).toMatchObject({
      code: "ERR_ABORTED",
      cause: "enough",
    });
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
});

/** Signals of polyfills with members that are missing or throw: calls continue or are refused, and no thread stays. */
import { readdirSync } from "node:fs";
import {
  Dataset,
  embeddedModelDir,
  evaluate,
  LanguageModel,
  RedAdapter,
  RubricateError,
  Trainer,
} from "../../lib/index";
import { limits } from "../../lib/limits";
import { until } from "./engine_support";

let model: LanguageModel;
beforeAll(async () => {
  model = await LanguageModel.fromPretrained(embeddedModelDir(), { device: "cpu" });
});
afterAll(() => model.dispose());

const threads = () => (process.platform === "linux" ? readdirSync("/proc/self/task").length : 0);
const thrower = (what: string) => () => {
  throw new Error(what);
};
const duck = (parts: object) =>
  Object.defineProperties(
    { aborted: false, addEventListener: () => {}, removeEventListener: () => {} },
    Object.getOwnPropertyDescriptors(parts),
  ) as unknown as AbortSignal;
/** Values of `aborted` when it is read for the first, second, ... time. */
const readings = (read: (count: number) => boolean) => {
  let count = 0;
  return Object.defineProperty(duck({}), "aborted", { get: () => read(count++) });
};

/** Makes a signal; with the error codes that a call may end with, "" for none. */
const signals: [string, () => AbortSignal, string[]][] = [
  ["no removeEventListener", () => duck({ removeEventListener: undefined }), [""]],
  ["addEventListener throws", () => duck({ addEventListener: thrower("add") }), ["ERR_ARGUMENT"]],
  ["removeEventListener throws", () => duck({ removeEventListener: thrower("remove") }), [""]],
  [
    "a getter of removeEventListener throws",
    () => Object.defineProperty(duck({}), "removeEventListener", { get: thrower("get") }),
    [""],
  ],
  ["aborted throws later", () => readings((count) => (count > 1 ? thrower("late")() : false)), ["", "ERR_ARGUMENT"]],
  [
    "reason throws",
    () =>
      Object.defineProperty(
        readings((count) => count > 0),
        "reason",
        { get: thrower("reason") },
      ),
    ["ERR_ABORTED"],
  ],
];

const examples = [{ tokenIds: Int32Array.of(1, 5, 6), supervised: Uint8Array.of(0, 1, 1), line: 1 }];
const all = async (events: AsyncIterable<unknown>) => {
  for await (const _ of events);
};
const messages = [{ role: "user", content: "hi", pad: "z".repeat(limits.quickCharacters) }];
const calls: [string, (signal: AbortSignal) => Promise<unknown>][] = [
  ["generate with a long prompt", (signal) => all(model.generate({ messages, maxNewTokens: 1, signal }))],
  ["generate with ids", (signal) => all(model.generate({ tokenIds: [1], maxNewTokens: 1, signal }))],
  ["complete", (signal) => model.complete({ tokenIds: [1], maxNewTokens: 1, signal })],
  ["logits", (signal) => model.logits([1], { signal })],
  ["evaluate", (signal) => evaluate(model, examples, { signal })],
  [
    "Dataset.fromRows",
    async (signal) => {
      const options = { tokenizer: model.requireTokenizer(), maxLength: 64, signal };
      await (await Dataset.fromRows([{ prompt: "a", completion: "b" }], options)).dispose();
    },
  ],
  [
    "LanguageModel.fromPretrained",
    async (signal) => (await LanguageModel.fromPretrained(embeddedModelDir(), { device: "cpu", signal })).dispose(),
  ],
  [
    "Trainer.run",
    (signal) =>
      all(new Trainer({ model, adapter: RedAdapter.create(model), train: examples, maxSteps: 2 }).run({ signal })),
  ],
  [
    "Trainer.train",
    (signal) =>
      new Trainer({ model, adapter: RedAdapter.create(model), train: examples, maxSteps: 2 }).train({ signal }),
  ],
];

describe.each(signals)("a signal: %s", (_, make, codes) => {
  test.each(calls)("%s", async (_name, call) => {
    const error = await call(make()).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (error !== undefined) expect(error).toBeInstanceOf(RubricateError);
    expect(codes).toContain((error as RubricateError | undefined)?.code ?? "");
  });
});

test("long prompts leave one thread, with any signals", async () => {
  const call = calls[0]![1];
  await call(duck({}));
  const before = threads();
  for (const [, make] of signals) for (let at = 0; at < 3; at++) await call(make()).catch(() => {});
  await until(() => threads() <= before + 1);
});

/** Bad options of an Engine and of its calls: each has its code and sentence, and disturbs nobody. */
import { Engine, type EngineGenerateOptions, type LanguageModel, RedAdapter } from "../../lib/index";
import { limits } from "../../lib/limits";
import { failed, loadModel } from "./engine_support";

let model: LanguageModel;
let engine: Engine;
let other: LanguageModel;
let page: number;
beforeAll(async () => {
  [model, other] = [await loadModel(), await loadModel()];
  engine = new Engine({ model });
  page = engine.stats().pageBytes;
});
afterAll(async () => {
  expect(engine.stats()).toMatchObject({ requests: 0, running: 0, waiting: 0 });
  await engine.close();
  model.dispose();
  other.dispose();
});

const call = { tokenIds: [1, 5, 9], maxNewTokens: 2 };
const numbers = (name: string, ...values: unknown[]) => values.map((value): [string, unknown] => [name, value]);
const options: [string, unknown][] = [
  ...numbers("maxSequences", 0, -1, 1.5, 65_537, Number.NaN, "8"),
  ...numbers("maxQueue", -1, 0.5, 2 ** 24 + 1, Number.POSITIVE_INFINITY),
  ...numbers("stepMs", 0, -5, 60_001, Number.NaN, Number.POSITIVE_INFINITY, "50"),
  ...numbers("trainingShare", 0, 1, -0.1, 1.1, Number.NaN, "0.2"),
  ...numbers("maxAdapterBytes", -1, 0.5, 2 ** 46 + 1),
  ...numbers("keepVersions", 0, 1001, 2.5),
  ...numbers("prefixCache", 1, "yes"),
  ...numbers("loadAdapter", 5, {}),
  ...numbers("model", {}, null, undefined),
];

test.each(options)("Engine: %s %p", async (name, value) => {
  const error = await failed(() => new Engine({ model: other, [name]: value }));
  expect(error).toMatchObject({ code: "ERR_ARGUMENT", message: expect.stringContaining(` for ${name} but received `) });
});

test("Engine: cacheBytes below a page, an unknown option, no options", async () => {
  expect(await failed(() => new Engine({ model: other, cacheBytes: page - 1 }))).toMatchObject({
    code: "ERR_ARGUMENT",
    message: `Expected an integer from ${page} (one page of this model) to 2^46 for cacheBytes but received ${page - 1}`,
  });
  expect(await failed(() => new Engine({ model: other, maxSequence: 1 } as never))).toMatchObject({
    code: "ERR_ARGUMENT",
    message: 'Unknown option "maxSequence" for Engine; did you mean maxSequences?',
  });
  expect(await failed(() => new Engine(undefined as never))).toMatchObject({ code: "ERR_ARGUMENT" });
});

test.each<[string, object]>([
  ["least", { maxSequences: 1, maxQueue: 0, stepMs: 1, trainingShare: 1e-9, maxAdapterBytes: 0, keepVersions: 1 }],
  [
    "most",
    {
      cacheBytes: limits.engineBytes,
      maxSequences: limits.maxSequences,
      maxQueue: limits.maxQueue,
      stepMs: limits.stepMs,
      trainingShare: 1 - 1e-9,
      maxAdapterBytes: limits.engineBytes,
      keepVersions: limits.keepVersions,
    },
  ],
])("Engine: the %s of all options", async (_, chosen) => {
  const own = new Engine({ model: other, cacheBytes: page, ...chosen });
  await expect(own.complete({ tokenIds: [1, 5], maxNewTokens: 2 })).resolves.toMatchObject({ finishReason: "length" });
  await own.close();
});

const atLimits: [keyof typeof limits, (value: number) => Promise<unknown>, number][] = [
  ["servedName", (length) => engine.complete({ ...call, tenant: "x".repeat(length) }), 1],
  ["deadlineMs", (deadlineMs) => engine.complete({ ...call, deadlineMs }), 1],
  ["engineBytes", (cacheBytes) => new Engine({ model: other, cacheBytes }).close(), 1],
  ["engineBytes", (maxAdapterBytes) => new Engine({ model: other, maxAdapterBytes }).close(), 1],
  ["maxSequences", (maxSequences) => new Engine({ model: other, maxSequences }).close(), 1],
  ["maxQueue", (maxQueue) => new Engine({ model: other, maxQueue }).close(), 1],
  ["stepMs", (stepMs) => new Engine({ model: other, stepMs }).close(), 1e-6],
  ["keepVersions", (keepVersions) => new Engine({ model: other, keepVersions }).close(), 1],
];

test.each(atLimits)("%s is accepted, and no more", async (name, use, step) => {
  const limit = limits[name] as number;
  expect(await failed(() => use(limit))).toBeUndefined();
  expect(await failed(() => use(limit + step))).toMatchObject({ code: "ERR_ARGUMENT" });
});

test("a request that the cache can never hold is refused at once", async () => {
  const own = new Engine({ model: other, cacheBytes: 2 * page - 1 });
  expect(await failed(() => own.complete({ tokenIds: [1, 5], maxNewTokens: 64 }))).toMatchObject({
    code: "ERR_CACHE_FULL",
    message:
      "Expected a request of at most 64 positions (the room for keys and values) but received one that may reach 65",
  });
  await expect(own.complete({ tokenIds: [1, 5], maxNewTokens: 63 })).resolves.toMatchObject({ promptTokens: 2 });
  await own.close();
});

const calls: [string, object, object][] = [
  ["tenant", { tenant: "" }, { code: "ERR_ARGUMENT", message: expect.stringContaining(" for tenant but ") }],
  ["tenant", { tenant: "x".repeat(257) }, { code: "ERR_ARGUMENT" }],
  ["tenant", { tenant: 5 }, { code: "ERR_ARGUMENT" }],
  ...[0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e39, 1e-46, "1"].map((weight): [string, object, object] => [
    `weight ${weight}`,
    { weight },
    { code: "ERR_ARGUMENT", message: expect.stringContaining(" for weight but ") },
  ]),
  ...[0, -1, Number.NaN, 2 ** 31, "5"].map((deadlineMs): [string, object, object] => [
    `deadlineMs ${deadlineMs}`,
    { deadlineMs },
    { code: "ERR_ARGUMENT", message: expect.stringContaining(" for deadlineMs but ") },
  ]),
  ["adapter", { adapter: "" }, { code: "ERR_ARGUMENT", message: expect.stringContaining(" for adapter but ") }],
  ["adapter", { adapter: "a@0" }, { code: "ERR_ARGUMENT" }],
  ["adapter", { adapter: "a@b" }, { code: "ERR_ARGUMENT" }],
  ["adapter", { adapter: "@1" }, { code: "ERR_ARGUMENT" }],
  ["adapter", { adapter: 5 }, { code: "ERR_ARGUMENT" }],
  ["adapter", { adapter: {} }, { code: "ERR_ARGUMENT" }],
  ["adapter", { adapter: "nobody" }, { code: "ERR_ADAPTER_UNKNOWN" }],
  [
    "an unknown option",
    { tenants: "a" },
    { code: "ERR_ARGUMENT", message: expect.stringContaining("did you mean tenant?") },
  ],
  ["maxNewTokens 0", { maxNewTokens: 0 }, { code: "ERR_ARGUMENT" }],
  ["an empty stop string", { stop: "" }, { code: "ERR_ARGUMENT" }],
  ["no tokens", { tokenIds: [] }, { code: "ERR_ARGUMENT" }],
  ["an empty prompt and ids", { prompt: "" }, { code: "ERR_ARGUMENT" }],
  ["a token id too large", { tokenIds: [1e6] }, { code: "ERR_ARGUMENT" }],
  ["a full context", { tokenIds: new Array(512).fill(5) }, { code: "ERR_CONTEXT_LENGTH" }],
  ["a signal that fired", { signal: AbortSignal.abort("before") }, { code: "ERR_ABORTED", cause: "before" }],
  ["no signal", { signal: {} }, { code: "ERR_ARGUMENT" }],
];

test.each(calls)("a call: %s", async (_, given, error) => {
  const options = { ...call, ...given } as EngineGenerateOptions;
  const alone = (await engine.complete(call)).tokenIds;
  const [, beside, streamed] = await Promise.all([
    expect(engine.complete(options)).rejects.toMatchObject(error),
    engine.complete(call),
    failed(() => engine.generate(options).next()),
  ]);
  expect(streamed).toMatchObject(error);
  expect(beside.tokenIds).toEqual(alone);
});

test("a call with an adapter of another model object, or a disposed one", async () => {
  const foreign = RedAdapter.create(other);
  expect(await failed(() => engine.complete({ ...call, adapter: foreign }))).toMatchObject({ code: "ERR_FOREIGN" });
  const own = RedAdapter.create(model);
  own.dispose();
  expect(await failed(() => engine.complete({ ...call, adapter: own }))).toMatchObject({ code: "ERR_DISPOSED" });
});

test("a generator that is never iterated asks for nothing; awaiting one says what to await", async () => {
  engine.generate({ ...call, tokenIds: "no ids" as never });
  expect(engine.stats().requests).toBe(0);
  // @ts-expect-error TypeScript refuses it, too
  expect(await failed(async () => await engine.generate(call))).toMatchObject({
    code: "ERR_STATE",
    message: expect.stringContaining("await engine.complete(...) instead"),
  });
});

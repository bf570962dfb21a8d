/** `engine.adapters`: names, versions, memory, loads. */
import { type AdapterRegistry, Engine, type EngineOptions, type LanguageModel, RedAdapter } from "../../lib/index";
import { native } from "../../lib/native";
import { adapterOf, failed, loadModel, until, withEngine } from "./engine_support";

let model: LanguageModel;
let adapters: RedAdapter[];
let bytes: number;
beforeAll(async () => {
  model = await loadModel();
  adapters = Array.from({ length: 6 }, (_, at) => adapterOf(model, at));
  bytes = 4 * adapters[0]!.parameterCount;
});
afterAll(() => model.dispose());

const request = { tokenIds: [1, 5, 9], maxNewTokens: 6 };
const adamw = { learningRate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 };
const engineWith = <T>(options: Omit<EngineOptions, "model">, work: (engine: Engine) => Promise<T>) =>
  withEngine({ model, ...options }, work);
const versions = (registry: AdapterRegistry, name: string) => registry.get(name)?.versions;

/** What each adapter answers. */
const answers = () =>
  Promise.all(adapters.map(async (adapter) => (await model.complete({ ...request, adapter })).text));

test("versions count up, the last three are kept, and each can be named", async () => {
  const expected = await answers();
  expect(new Set(expected).size).toBeGreaterThan(1);
  await engineWith({}, async (engine) => {
    for (const [at, adapter] of adapters.slice(0, 4).entries())
      expect(await engine.adapters.set("a", adapter)).toEqual({ name: "a", version: at + 1 });
    expect(versions(engine.adapters, "a")).toEqual([2, 3, 4]);
    for (const version of [2, 3, 4]) {
      const answer = await engine.complete({ ...request, adapter: `a@${version}` });
      expect(answer).toMatchObject({ text: expected[version - 1], adapter: { name: "a", version } });
    }
    expect(await engine.adapters.rollback("a", 2)).toEqual({ name: "a", version: 2 });
    expect(await engine.complete({ ...request, adapter: "a" })).toMatchObject({ text: expected[1] });
    expect(await engine.adapters.set("a", adapters[4]!)).toEqual({ name: "a", version: 5 });
    expect(engine.adapters.get("a")).toMatchObject({
      versions: [3, 4, 5],
      bytes: 3 * bytes,
      config: { variant: "all", sites: ["ffn"] },
      pinned: false,
      resident: true,
      requests: 0,
      lastUsed: expect.any(Date),
    });
  });
});

test("a deleted name is unknown, its requests end, and its numbers are not used again", async () => {
  await engineWith({}, async (engine) => {
    await engine.adapters.set("a", adapters[0]!);
    const pieces = engine.generate({ ...request, adapter: "a" });
    await pieces.next();
    await engine.adapters.delete("a");
    expect(engine.adapters.get("a")).toBeUndefined();
    expect(engine.adapters.list()).toEqual([]);
    let rest = 1;
    for await (const _ of pieces) rest++;
    expect(rest).toBe(6);
    await expect(engine.complete({ ...request, adapter: "a" })).rejects.toMatchObject({ code: "ERR_ADAPTER_UNKNOWN" });
    expect(await engine.adapters.set("a", adapters[1]!)).toEqual({ name: "a", version: 2 });
    await expect(engine.complete({ ...request, adapter: "a@1" })).rejects.toMatchObject({
      code: "ERR_ADAPTER_UNKNOWN",
      message: 'Expected one of 2 for the version of "a" but received 1',
    });
  });
});

test("an unknown name is never the base", async () => {
  await engineWith({}, async (engine) => {
    await engine.adapters.set("a", adapters[0]!);
    const unknown = {
      code: "ERR_ADAPTER_UNKNOWN",
      message: 'Expected the name of an adapter of this engine but received "b"',
    };
    const { adapters: registry } = engine;
    await expect(engine.complete({ ...request, adapter: "b" })).rejects.toMatchObject(unknown);
    await expect(engine.complete({ ...request, adapter: "b@1" })).rejects.toMatchObject(unknown);
    for (const call of [
      () => registry.rollback("b", 1),
      () => registry.delete("b"),
      () => registry.pin("b"),
      () => registry.unpin("b"),
    ])
      expect(await failed(call)).toMatchObject(unknown);
    expect(await failed(() => registry.rollback("a", 2))).toMatchObject({ code: "ERR_ADAPTER_UNKNOWN" });
    expect(engine.stats().requests).toBe(0);
  });
});

test("what is refused changes nothing: another base, numbers that are not finite, no adapter", async () => {
  const sameWeights = await loadModel();
  const other = adapterOf(sameWeights, 1);
  const disposed = adapterOf(model, 1);
  disposed.dispose();
  const broken = adapterOf(model, 1);
  const values = broken.native.values();
  values[7] = Number.NaN;
  broken.native.setValues(values);
  await engineWith({}, async (engine) => {
    const registry = engine.adapters;
    await registry.set("a", adapters[0]!);
    const codes: [unknown, string][] = [
      [broken, "ERR_NOT_FINITE"],
      [disposed, "ERR_DISPOSED"],
      [{}, "ERR_ARGUMENT"],
      [null, "ERR_ARGUMENT"],
      [Object.create(other, { base: { value: otherBase } }), "ERR_BASE_MISMATCH"],
    ];
    for (const [adapter, code] of codes)
      expect(await failed(() => registry.set("a", adapter as RedAdapter))).toMatchObject({ code });
    for (const name of ["", "a@1", "a\n", "x".repeat(257), 5, undefined])
      expect(await failed(() => registry.set(name as string, adapters[0]!))).toMatchObject({ code: "ERR_ARGUMENT" });
    expect(registry.list()).toMatchObject([{ name: "a", versions: [1], bytes }]);
    // Another object of the same model is the same base.
    expect(await registry.set("a", other)).toEqual({ name: "a", version: 2 });
  });
  sameWeights.dispose();

  async function otherBase() {
    return { ...(await adapters[0]!.base()), weights: "0".repeat(64) };
  }
});

test("a set names the vector and the place of a number that is not finite", async () => {
  await engineWith({}, async (engine) => {
    const broken = adapterOf(model, 1);
    const { names, shapes } = broken.native;
    const values = broken.native.values();
    values[values.length - 2] = Number.NEGATIVE_INFINITY;
    broken.native.setValues(values);
    expect(await failed(() => engine.adapters.set("a", broken))).toMatchObject({
      code: "ERR_NOT_FINITE",
      message: `Expected a finite number for ${names.at(-1)}[${shapes.at(-1)![0]! - 2}] but received -Infinity`,
    });
    expect(engine.adapters.get("a")).toBeUndefined();
  });
});

test("an adapter is set while a step of its training is under way", async () => {
  await engineWith({}, async (engine) => {
    const adapter = adapterOf(model, 1);
    const parameters = adapter.native;
    const before = parameters.values();
    const optimizer = new (native().Optimizer)(parameters);
    const options = { ...adamw, maxGradNorm: 1, decayToZero: false };
    const tokenIds = Int32Array.from({ length: 64 }, (_, at) => 1 + at);
    const micro = { tokenIds, targets: tokenIds, sequenceStarts: Int32Array.of(0, 64), slots: Int32Array.of(1) };
    const tenants = [{ parameters, optimizer, options }];
    const step = model.native.trainStep({ tenants, microBatches: [micro], recompute: false, update: true });
    expect(() => parameters.values()).toThrow(expect.objectContaining({ code: "ERR_BUSY" }));
    expect(await engine.adapters.set("a", adapter)).toEqual({ name: "a", version: 1 });
    await step.promise;
    expect(parameters.values()).not.toEqual(before);
  });
});

test("a set of an adapter that is disposed of meanwhile leaves the version before it", async () => {
  await engineWith({}, async (engine) => {
    await engine.adapters.set("a", adapters[0]!);
    const own = adapterOf(model, 1);
    const setting = failed(() => engine.adapters.set("a", own));
    own.dispose();
    expect(await setting).toMatchObject({ code: "ERR_DISPOSED" });
    expect(engine.adapters.get("a")).toMatchObject({ version: 1, versions: [1] });
  });
});

test("without loadAdapter, memory that is full refuses a new adapter, after earlier versions have gone", async () => {
  await engineWith({ maxAdapterBytes: 2 * bytes }, async (engine) => {
    const registry = engine.adapters;
    await registry.set("a", adapters[0]!);
    await registry.set("a", adapters[1]!);
    await registry.set("b", adapters[2]!);
    expect(versions(registry, "a")).toEqual([2]);
    expect(await failed(() => registry.set("c", adapters[3]!))).toMatchObject({
      code: "ERR_CACHE_FULL",
      message: `Expected room for an adapter of ${bytes} bytes but those in memory have ${2 * bytes} of ${2 * bytes} (maxAdapterBytes)`,
    });
    expect(registry.list().map(({ name }) => name)).toEqual(["a", "b"]);
    expect(await registry.set("b", adapters[3]!)).toEqual({ name: "b", version: 2 });
    expect(versions(registry, "b")).toEqual([2]);
    expect(engine.stats()).toMatchObject({ adapters: 2, adapterBytes: 2 * bytes });
  });
});

test("a name that is set again and again gives up its own earlier versions, and a refused set drops nothing", async () => {
  await engineWith({ maxAdapterBytes: 2 * bytes, keepVersions: 5 }, async (engine) => {
    const registry = engine.adapters;
    for (let at = 0; at < 4; at++) await registry.set("a", adapters[at]!);
    expect(versions(registry, "a")).toEqual([3, 4]);
    const large = RedAdapter.create(model, { sites: ["ffn", "attention", "q"] });
    expect(await failed(() => registry.set("b", large))).toMatchObject({ code: "ERR_CACHE_FULL" });
    expect(await failed(() => registry.set("a", large))).toMatchObject({ code: "ERR_CACHE_FULL" });
    expect(versions(registry, "a")).toEqual([3, 4]);
    await registry.rollback("a", 3);
    await registry.set("a", adapters[4]!);
    expect(versions(registry, "a")).toEqual([3, 5]);
    await registry.delete("a");
    expect(registry.bytes).toBe(0);
  });
  await engineWith({ maxAdapterBytes: bytes, keepVersions: 1 }, async (engine) => {
    for (let at = 0; at < 3; at++) await engine.adapters.set("a", adapters[at]!);
    expect(engine.adapters.get("a")).toMatchObject({ version: 3, versions: [3], bytes });
  });
});

describe("loadAdapter", () => {
  test("loads a name once for all that wait, drops what was not used for longest, but nothing pinned or in use", async () => {
    const loads: string[] = [];
    const loadAdapter = async (name: string) => {
      loads.push(name);
      await new Promise((resolve) => setImmediate(resolve));
      return adapters[Number(name)];
    };
    await engineWith({ maxAdapterBytes: 3 * bytes, loadAdapter }, async (engine) => {
      const ask = (name: string) => engine.complete({ ...request, adapter: name });
      await Promise.all([ask("0"), ask("0"), ask("1"), ask("0")]);
      expect(loads).toEqual(["0", "1"]);
      engine.adapters.pin("0");
      const held = engine.generate({ ...request, maxNewTokens: 400, adapter: "1" }); // it is not read
      await held.next();
      await ask("2");
      await ask("3");
      expect(loads).toEqual(["0", "1", "2", "3"]);
      const resident = () =>
        engine.adapters
          .list()
          .filter((one) => one.resident)
          .map(({ name }) => name)
          .sort();
      expect(resident()).toEqual(["0", "1", "3"]);
      await held.return(undefined as never);
      const again = await ask("2");
      expect(again.adapter).toEqual({ name: "2", version: 2 });
      expect(resident()).toEqual(["0", "2", "3"]);
      expect(engine.adapters.get("1")).toMatchObject({ resident: false, version: 1, versions: [], config: null });
    });
  });

  test.each<[string, () => unknown, object]>([
    [
      "throws",
      () => {
        throw new Error("no such file");
      },
      { message: "no such file" },
    ],
    [
      "rejects",
      async () => {
        throw new Error("no such row");
      },
      { message: "no such row" },
    ],
    ["knows none", () => undefined, { code: "ERR_ADAPTER_UNKNOWN" }],
    ["gives something else", () => ({}), { code: "ERR_ARGUMENT" }],
  ])("that %s ends the requests that wait, and is asked again", async (_, load, error) => {
    let calls = 0;
    const loadAdapter = () => (++calls > 1 ? adapters[0] : (load() as RedAdapter));
    await engineWith({ loadAdapter }, async (engine) => {
      const ask = () => engine.complete({ ...request, adapter: "a" });
      for (const one of await Promise.all([failed(ask), failed(ask)])) expect(one).toMatchObject(error);
      await expect(ask()).resolves.toMatchObject({ adapter: { name: "a", version: 1 } });
      expect(calls).toBe(2);
    });
  });

  test("its signal fires when nobody waits any more: after aborts, deadlines and close", async () => {
    const signals: AbortSignal[] = [];
    const loadAdapter = (_: string, signal: AbortSignal) => {
      signals.push(signal);
      return new Promise<RedAdapter>(() => {});
    };
    const engine = new Engine({ model, loadAdapter });
    const controller = new AbortController();
    const ask = (more: object = {}) => failed(() => engine.complete({ ...request, adapter: "a", ...more }));
    const [one, other] = [ask({ signal: controller.signal }), ask({ deadlineMs: 50 })];
    await until(() => signals.length > 0);
    controller.abort("enough");
    expect(await one).toMatchObject({ code: "ERR_ABORTED", cause: "enough" });
    expect(signals[0]!.aborted).toBe(false);
    expect(await other).toMatchObject({ code: "ERR_DEADLINE" });
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    const last = ask();
    await until(() => signals.length > 1);
    await engine.close();
    expect(await last).toMatchObject({ code: "ERR_ABORTED", message: "The engine was closed" });
    expect(signals[1]!.aborted).toBe(true);
  });
});

/** Requests of an Engine: their answers are those of the same request alone, and what ends one disturbs no other. */
import { outputKinds } from "../../lib/binding/engine";
import { Engine, type LanguageModel, MultiTrainer, type RedAdapter, Trainer } from "../../lib/index";
import { spyOnEngine } from "./engine_spy";
import { adapterOf, failed, loadModel, nextId, until, withEngine } from "./engine_support";

const COUNT = 8;
const prompts = Array.from({ length: COUNT }, (_, at) => "What of the Navy? ".repeat(1 + at));

let model: LanguageModel;
let adapters: RedAdapter[];
beforeAll(async () => {
  model = await loadModel();
  adapters = prompts.map((_, at) => adapterOf(model, at));
});
afterAll(() => model.dispose());

const request = (at: number) => ({ prompt: prompts[at]!, maxNewTokens: 24, temperature: 0.7, seed: at });
const noPages = (engine: Engine) =>
  until(() => engine.stats().freePages + engine.stats().cachedPages === engine.stats().pages);

test("requests of different adapters share steps, and answer as each does alone", async () => {
  const alone: number[][] = [];
  for (const [at, adapter] of adapters.entries())
    alone.push((await model.complete({ ...request(at), adapter })).tokenIds);
  expect(new Set(alone.map(String)).size).toBe(COUNT);

  let calls = 0;
  const restore = spyOnEngine(model, () => calls++);
  await withEngine({ model }, async (engine) => {
    for (const [at, adapter] of adapters.entries()) await engine.adapters.set(`a${at}`, adapter);
    const names = adapters.map((adapter, at) => [`a${at}`, adapter, `a${at}@1`][at % 3]!);
    const answers = await Promise.all(names.map((adapter, at) => engine.complete({ ...request(at), adapter })));
    expect(answers.map(({ tokenIds }) => tokenIds)).toEqual(alone);
    for (const [at, { adapter }] of answers.entries())
      expect(adapter).toEqual(at % 3 === 1 ? null : { name: `a${at}`, version: 1 });
    const { steps, generatedTokens, requests } = engine.stats();
    expect(generatedTokens).toBeGreaterThanOrEqual(alone.flat().length);
    expect(steps).toBeLessThan(alone.flat().length / 2);
    expect(calls).toBeLessThanOrEqual(steps);
    expect(requests).toBe(0);
    await noPages(engine);
  });
  restore();
});

test("a version that is set while requests run is for later ones: each answers by one", async () => {
  // Longer than a request runs ahead of its reader (256 tokens): none can end before its second token is taken.
  const long = { ...request(0), maxNewTokens: 264 };
  const answer = async (adapter: RedAdapter) => (await model.complete({ ...long, adapter })).tokenIds;
  const by = [await answer(adapters[0]!), await answer(adapters[1]!)];
  await withEngine({ model }, async (engine) => {
    await engine.adapters.set("a", adapters[0]!);
    const streams = Array.from({ length: 16 }, () => engine.generate({ ...long, adapter: "a" }));
    const ids = await Promise.all(streams.map(async (stream) => [await nextId(stream)]));
    expect(engine.adapters.get("a")).toMatchObject({ version: 1, requests: 16 });
    expect(await engine.adapters.set("a", adapters[1]!)).toEqual({ name: "a", version: 2 });
    const later = engine.complete({ ...long, adapter: "a" });
    for (const [at, stream] of streams.entries()) for await (const { tokenId } of stream) ids[at]!.push(tokenId);
    for (const one of ids) expect(one).toEqual(by[0]);
    expect(await later).toMatchObject({ tokenIds: by[1], adapter: { name: "a", version: 2 } });
    expect(engine.adapters.get("a")).toMatchObject({ version: 2, versions: [1, 2], requests: 0, resident: true });
  });
});

test("a request that began with a RedAdapter keeps its vectors while they change", async () => {
  const adapter = adapterOf(model, 3);
  const expected = (await model.complete({ ...request(0), adapter })).tokenIds;
  const pieces = model.generate({ ...request(0), adapter });
  const ids = [await nextId(pieces)];
  adapter.setVectors(adapters[4]!.vectors());
  for await (const { tokenId } of pieces) ids.push(tokenId);
  expect(ids).toEqual(expected);
  expect((await model.complete({ ...request(0), adapter })).tokenIds).not.toEqual(expected);
});

describe("beside training,", () => {
  const train = [5, 6, 7].map((id) => ({
    tokenIds: Int32Array.from({ length: 24 }, (_, at) => id + ((at * 5) % 90)),
    supervised: new Uint8Array(24).fill(1),
    line: id,
  }));
  const options = { train, maxSteps: 6, batchSize: 2, learningRate: 0.05, seed: 3 };

  test("an answer is by the vectors at its beginning, and the training has the bits that it has alone", async () => {
    const trained = async (beside: (adapter: RedAdapter) => Promise<unknown>) => {
      const adapter = adapterOf(model, 5);
      const training = new Trainer({ model, adapter, ...options }).train();
      await Promise.all([training, beside(adapter)]);
      return adapter.native.values();
    };
    const alone = await trained(async () => {});
    const untrained = (await model.complete({ ...request(0), adapter: adapterOf(model, 5) })).tokenIds;
    const values = await trained(async (adapter) => {
      const pieces = model.generate({ ...request(0), adapter });
      const ids = [await nextId(pieces)];
      for await (const { tokenId } of pieces) ids.push(tokenId);
      expect(ids).toEqual(untrained);
      for (let at = 0; at < 4; at++) await model.complete({ ...request(at), adapter });
    });
    expect(values).toEqual(alone);
  });

  test("a run publishes into the engine, and requests that begin later have what it learned", async () => {
    await withEngine({ model }, async (engine) => {
      const adapter = adapterOf(model, 5);
      await engine.adapters.set("acme", adapter);
      const before = (await engine.complete({ ...request(0), adapter: "acme" })).tokenIds;
      const trainer = new MultiTrainer({ model });
      const run = trainer.add("acme", { adapter, ...options, publish: { engine, name: "acme" } });
      await run.done;
      await trainer.close();
      const after = await engine.complete({ ...request(0), adapter: "acme" });
      expect(after.adapter).toEqual({ name: "acme", version: 2 });
      expect(after.tokenIds).not.toEqual(before);
      expect(after.tokenIds).toEqual((await model.complete({ ...request(0), adapter })).tokenIds);
    });
  });
});

describe("what ends a request early leaves nothing behind:", () => {
  const phases: [string, (engine: Engine, signal: AbortSignal, abort: () => void) => Promise<unknown>][] = [
    [
      "before it begins",
      (engine, signal, abort) => {
        abort();
        return engine.complete({ ...request(1), signal });
      },
    ],
    [
      "while it begins",
      (engine, signal, abort) => {
        const answer = engine.complete({ ...request(1), signal });
        abort();
        return answer;
      },
    ],
    [
      "while it waits",
      async (engine, signal, abort) => {
        const answer = engine.complete({ ...request(1), signal });
        await until(() => engine.stats().waiting + engine.stats().running > COUNT - 1);
        abort();
        return answer;
      },
    ],
    [
      "between two tokens",
      async (engine, signal, abort) => {
        const pieces = engine.generate({ ...request(1), signal });
        await pieces.next();
        await pieces.next();
        abort();
        return pieces.next();
      },
    ],
  ];
  test.each(phases)("its signal, %s", async (_, call) => {
    await withEngine({ model, maxSequences: COUNT - 1 }, async (engine) => {
      const others = prompts.slice(1).map((_, at) => engine.complete({ ...request(at), maxNewTokens: 40 }));
      const controller = new AbortController();
      const error = await failed(() => call(engine, controller.signal, () => controller.abort("enough")));
      expect(error).toMatchObject({ code: "ERR_ABORTED", cause: "enough" });
      const answers = await Promise.all(others);
      for (const [at, { tokenIds }] of answers.entries())
        expect(tokenIds).toEqual((await engine.complete({ ...request(at), maxNewTokens: 40 })).tokenIds);
      expect(engine.stats()).toMatchObject({ requests: 0, running: 0, waiting: 0 });
      await noPages(engine);
    });
  });

  test("a stop string, whose request may have run ahead", async () => {
    const whole = await model.complete(request(2));
    const stop = whole.text.slice(8, 11);
    await withEngine({ model }, async (engine) => {
      const answer = await engine.complete({ ...request(2), stop });
      expect(answer.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
      expect(answer.finishReason).toBe("stop");
      expect(answer.usage.completionTokens).toBeLessThan(whole.usage.completionTokens);
      await until(() => engine.stats().requests === 0);
      await noPages(engine);
    });
  });

  test("return(), while a token is awaited and between tokens", async () => {
    await withEngine({ model }, async (engine) => {
      const waiting = engine.generate(request(2));
      const next = waiting.next();
      await waiting.return(undefined as never);
      expect((await next).done).toBe(true);
      for await (const _ of engine.generate(request(2))) break;
      expect(engine.stats().requests).toBe(0);
      await noPages(engine);
    });
  });
});

test("a prompt takes over the keys and values of an earlier one of its tenant and adapter, and of the same weights", async () => {
  const own = await loadModel();
  const tokenIds = Array.from({ length: 150 }, (_, at) => 5 + ((7 * at) % 400));
  await withEngine({ model: own }, async (engine) => {
    await engine.adapters.set("a", adapterOf(own, 1));
    const ask = (more: object = {}) => engine.complete({ tokenIds, maxNewTokens: 8, ...more });
    const first = await ask();
    expect(first.cachedTokens).toBe(0);
    const again = await ask();
    expect(again).toMatchObject({ cachedTokens: 128, tokenIds: first.tokenIds });
    expect(await ask({ tenant: "acme" })).toMatchObject({ cachedTokens: 0, tokenIds: first.tokenIds });
    expect(await ask({ tenant: "acme" })).toMatchObject({ cachedTokens: 128, tokenIds: first.tokenIds });
    expect((await ask({ adapter: "a" })).cachedTokens).toBe(0);
    expect((await ask({ adapter: "a" })).cachedTokens).toBe(128);
    await engine.adapters.set("a", adapterOf(own, 2));
    expect((await ask({ adapter: "a" })).cachedTokens).toBe(0);
    expect(engine.stats().cachedTokens).toBe(3 * 128);
    own.forgetFingerprint(); // as full fine-tuning does
    expect((await ask()).cachedTokens).toBe(0);
  });
  await withEngine({ model: own, prefixCache: false }, async (engine) => {
    for (let at = 0; at < 2; at++) expect((await engine.complete({ tokenIds, maxNewTokens: 2 })).cachedTokens).toBe(0);
  });
  own.dispose();
});

test("one request more than the engine takes is refused, and the others end", async () => {
  await withEngine({ model, maxSequences: 1, maxQueue: 2 }, async (engine) => {
    const answers = await Promise.allSettled(prompts.map((_, at) => engine.complete(request(at))));
    const refused = answers.filter(({ status }) => status === "rejected");
    expect(refused).toHaveLength(COUNT - 3);
    for (const { reason } of refused as PromiseRejectedResult[])
      expect(reason).toMatchObject({
        code: "ERR_QUEUE_FULL",
        message: "Expected at most 3 requests under way (maxSequences 1 and maxQueue 2) but received one more",
      });
    await expect(engine.complete(request(0))).resolves.toMatchObject({ finishReason: "length" });
  });
});

test("a request past its deadline ends, before and after its first token, and no other", async () => {
  await withEngine({ model }, async (engine) => {
    const other = engine.complete(request(0));
    const late = await failed(() =>
      engine.complete({ ...request(1), adapter: null, deadlineMs: 1e-9 + 1, maxNewTokens: 400 }),
    );
    expect(late).toMatchObject({ code: "ERR_DEADLINE" });
    const pieces = engine.generate({ ...request(1), deadlineMs: 200, maxNewTokens: 300 });
    const error = await failed(async () => {
      for await (const _ of pieces) await new Promise((resolve) => setTimeout(resolve, 20));
    });
    expect(error).toMatchObject({ code: "ERR_DEADLINE" });
    expect((await other).tokenIds).toHaveLength(24);
    await noPages(engine);
  });
});

test("an engine that drains takes no requests and ends those it has", async () => {
  await withEngine({ model }, async (engine) => {
    const answers = prompts.map((_, at) => engine.complete(request(at)));
    const drained = engine.drain();
    await expect(engine.complete(request(0))).rejects.toMatchObject({ code: "ERR_STATE" });
    await drained;
    expect(engine.stats()).toMatchObject({ requests: 0, running: 0, waiting: 0 });
    for (const answer of answers) expect((await answer).finishReason).toBe("length");
  });
});

test("close ends what is under way, and calls of the model itself go on", async () => {
  const engine = new Engine({ model });
  // So long that none has ended before the engine is closed.
  const streams = prompts.map((_, at) => engine.generate({ ...request(at), maxNewTokens: 150 }));
  for (const stream of streams) await stream.next();
  const half = streams[0]!; // left half-way
  const waiting = streams.slice(1).map((stream) => failed(() => stream.next().then(() => stream.next())));
  const preparing = failed(() => engine.complete(request(0)));
  const own = model.complete({ ...request(0), maxNewTokens: 60 });
  await engine.close();
  await engine.close();
  for (const error of await Promise.all([...waiting, preparing]))
    expect(error).toMatchObject({ code: "ERR_ABORTED", message: "The engine was closed" });
  expect(await failed(() => half.next())).toMatchObject({ code: "ERR_ABORTED" });
  expect((await own).tokenIds).toHaveLength(60);
  for (const call of [
    () => engine.complete(request(0)),
    () => engine.stats(),
    () => engine.drain(),
    () => engine.adapters.set("a", adapters[0]!),
  ])
    expect(await failed(call)).toMatchObject({ code: "ERR_DISPOSED" });
  await withEngine({ model }, (next) => next.complete(request(0)));
});

test("a model has one Engine, and none is made while its generations are under way", async () => {
  const pieces = model.generate(request(0));
  await pieces.next();
  expect(() => new Engine({ model })).toThrow(expect.objectContaining({ code: "ERR_BUSY" }));
  await pieces.return(undefined as never);
  await withEngine({ model, maxQueue: 5 }, async () => {
    expect(() => new Engine({ model })).toThrow(expect.objectContaining({ code: "ERR_STATE" }));
    expect((await model.complete(request(0))).finishReason).toBe("length");
  });
});

test("disposing of the model ends the requests of its engine", async () => {
  const own = await loadModel();
  const engine = new Engine({ model: own });
  const pieces = engine.generate(request(0));
  await pieces.next();
  const waiting = [failed(() => engine.complete(request(1))), failed(() => own.complete(request(1)))];
  await until(() => engine.stats().running + engine.stats().waiting === 3);
  own.dispose();
  for (const error of await Promise.all(waiting)) expect(error).toMatchObject({ code: "ERR_DISPOSED" });
  expect(
    await failed(async () => {
      for await (const _ of pieces);
    }),
  ).toMatchObject({ code: "ERR_DISPOSED" });
  expect(await failed(() => engine.complete(request(0)))).toMatchObject({ code: "ERR_DISPOSED" });
  expect(() => new Engine({ model: own })).toThrow(expect.objectContaining({ code: "ERR_DISPOSED" }));
  await engine.close();
});

test("the rows of each call into JavaScript are those of whole steps", async () => {
  const own = await loadModel();
  const ends: number[] = [];
  spyOnEngine(own, (rows) => ends.push(...rows.filter((row) => row[1]! >= outputKinds.stopped).map((row) => row[0]!)));
  await Promise.all([own.complete(request(0)), own.complete(request(1))]);
  expect(ends.sort()).toEqual([0, 1]);
  own.dispose();
});

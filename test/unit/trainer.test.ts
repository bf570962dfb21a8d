/** Runs of a Trainer on a fake model: steps and events, stopping and resuming, options that are refused. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import type { NativeTrainRequest } from "../../lib/native";
import type { StepEvent, TrainEvent } from "../../lib/train/events";
import type { TrainerOptions } from "../../lib/train/options";
import { storedBytesPerToken, storedShare } from "../../lib/train/recompute";
import { Trainer } from "../../lib/train/trainer";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { abortInJob, newTrainer, outcomeOf, someExamples, timeless } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
let root: string;
beforeEach(() => {
  root = temporaryFolder();
  hooks.onJob = undefined;
  hooks.cpuPath = "fake";
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const stepsOf = (events: readonly TrainEvent[]) => events.filter((event): event is StepEvent => event.type === "step");
const close = (value: number) => expect.closeTo(value, 12);

describe("a run", () => {
  test("reports its start, its steps and its end", async () => {
    const { trainer, adapter } = newTrainer(model);
    const { events, summary } = await outcomeOf(trainer);
    expect(events[0]).toEqual({
      type: "start",
      totalSteps: 10,
      learningRate: 0.05,
      learningRateFrom: "option",
      trainRows: 13,
      evalRows: 0,
      skippedRows: 0,
      trainableParameters: 24,
      resumedStep: 0,
    });
    const steps = stepsOf(events);
    expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(steps.map(({ epoch }) => epoch)).toEqual([0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.6, 1.8, 2].map(close));
    expect(steps.map(({ learningRate }) => learningRate)).toEqual(steps.map((_, at) => close(0.05 * (1 - at / 10))));
    const nats = steps.reduce((sum, { loss, supervisedTokens }) => sum + loss * supervisedTokens, 0);
    const tokens = steps.reduce((sum, { supervisedTokens }) => sum + supervisedTokens, 0);
    const { type: _, ...end } = events.at(-1) as never as Record<string, unknown>;
    expect(summary).toEqual(end);
    expect(end).toMatchObject({ steps: 10, trainLoss: close(nats / tokens), evalLoss: null, reason: "done" });
    expect(steps.at(-1)).toMatchObject({ secondsLeft: 0, totalSteps: 10 });
    expect(steps.every(({ tokensPerSecond, peakMemoryMib }) => tokensPerSecond > 0 && peakMemoryMib > 1)).toBe(true);
    expect(adapter.stats()[0]!.scale!.max).toBeGreaterThan(0);
  });

  test("uses every example once per epoch, in a different order each time", async () => {
    const seen: number[][] = [];
    const spied = fakeModel();
    const { native } = spied as { native: { trainStep: (request: NativeTrainRequest) => unknown } };
    const { trainStep } = native;
    native.trainStep = (request: NativeTrainRequest) => {
      seen.push(request.microBatches.flatMap((b) => [...b.sequenceStarts.slice(0, -1)].map((s) => b.tokenIds[s]!)));
      return trainStep(request);
    };
    const firsts = someExamples(13).map(({ tokenIds }) => tokenIds[0]!);
    await outcomeOf(newTrainer(spied).trainer);
    const [one, two] = [seen.slice(0, 5).flat(), seen.slice(5).flat()];
    const sorted = (ids: number[]) => [...ids].sort((a, b) => a - b);
    expect(sorted(one)).toEqual(sorted(firsts));
    expect(sorted(two)).toEqual(sorted(firsts));
    expect(one).not.toEqual(two);
    expect(one).not.toEqual(firsts);
  });

  test("recomputes blocks if a step's micro-batches would store too much", async () => {
    const attention = { heads: 1, kv_heads: 1, head_dim: 4 };
    const stacks = [{ layers: 3, norm: { kind: "rms" }, attention, feed_forward: { kind: "swiglu", size: 8 } }];
    const architecture = { version: 1, family: "llama", vocabulary: 50, hidden: 4, context: 32, stacks };
    const spied = fakeModel({ architecture, dtype: "float32", memory: () => ({ mapped: 1000 }) });
    const { native } = spied as { native: { trainStep: (request: NativeTrainRequest) => unknown } };
    const { trainStep } = native;
    const seen: { tokens: number; recompute: boolean }[] = [];
    native.trainStep = (request: NativeTrainRequest) => {
      const tokens = Math.max(...request.microBatches.map(({ tokenIds }) => tokenIds.length));
      seen.push({ tokens, recompute: request.recompute });
      return trainStep(request);
    };
    const limit = 7;
    const { trainer, adapter } = newTrainer(spied, { recompute: "auto", batchSize: 1, gradientAccumulationSteps: 2 });
    const free = 1000 + (limit * storedBytesPerToken(spied, adapter)) / storedShare;
    const available = jest.spyOn(process, "availableMemory").mockReturnValue(free);
    await outcomeOf(trainer);
    available.mockRestore();
    expect(seen.map(({ recompute }) => recompute)).toEqual(seen.map(({ tokens }) => tokens > limit));
    expect(new Set(seen.map(({ recompute }) => recompute)).size).toBe(2);
  });

  test("gives the same bits again with the same seed, others with another", async () => {
    const vectors = [];
    for (const seed of [1, 1, 2]) {
      const { trainer, adapter } = newTrainer(model, { seed });
      await outcomeOf(trainer);
      vectors.push(adapter.vectors());
    }
    expect(vectors[0]).toEqual(vectors[1]);
    expect(vectors[0]).not.toEqual(vectors[2]);
  });

  test("accumulates; the last step of an epoch takes the remaining micro-batches", async () => {
    const { trainer } = newTrainer(model, { gradientAccumulationSteps: 3, shuffle: false });
    const { events } = await outcomeOf(trainer);
    const steps = stepsOf(events);
    const counts = someExamples(13).map(({ supervised }) => supervised.reduce((a, b) => a + b));
    const sum = (from: number, to: number) => counts.slice(from, to).reduce((a, b) => a + b);
    expect(steps.map(({ supervisedTokens }) => supervisedTokens)).toEqual([
      sum(0, 9),
      sum(9, 13),
      sum(0, 9),
      sum(9, 13),
    ]);
    expect(steps.map(({ epoch }) => epoch)).toEqual([close(0.6), 1, close(1.6), 2]);
  });

  test("weights a step's tokens equally, independent of the split into micro-batches", async () => {
    const whole = newTrainer(model, { batchSize: 6, shuffle: false, epochs: 1, train: someExamples(6) });
    const split = newTrainer(model, {
      batchSize: 2,
      gradientAccumulationSteps: 3,
      shuffle: false,
      epochs: 1,
      train: someExamples(6),
    });
    const [a, b] = [await outcomeOf(whole.trainer), await outcomeOf(split.trainer)];
    expect(stepsOf(a.events)[0]!.loss).toBeCloseTo(stepsOf(b.events)[0]!.loss, 12);
  });

  test("makes maxSteps steps, over as many epochs as that takes", async () => {
    const { events, summary } = await outcomeOf(newTrainer(model, { maxSteps: 12 }).trainer);
    expect(stepsOf(events)).toHaveLength(12);
    expect(stepsOf(events).at(-1)!.epoch).toBeCloseTo(2.4);
    expect(summary).toMatchObject({ steps: 12, reason: "max-steps" });
  });

  test("can be left in the middle, and started again", async () => {
    const { trainer } = newTrainer(model);
    for await (const event of trainer.run()) if (event.type === "step" && event.step === 3) break;
    expect((await outcomeOf(trainer)).summary!.steps).toBe(10);
  });

  test("is one at a time", async () => {
    const { trainer } = newTrainer(model);
    const first = trainer.run();
    await first.next();
    expect((await outcomeOf(trainer)).error).toMatchObject({ code: "ERR_STATE" });
    await first.return(undefined as never);
    expect((await outcomeOf(trainer)).error).toBeUndefined();
  });

  test("ends with the core's error, unwrapped", async () => {
    hooks.onJob = () => {
      throw new RangeError("from the core");
    };
    await expect(newTrainer(model).trainer.run().next()).resolves.toBeDefined();
    const run = newTrainer(model).trainer.run();
    await run.next();
    await expect(run.next()).rejects.toThrow("from the core");
  });
});

/** Runs that must not change when stopped at any step. */
const kinds: [string, Partial<TrainerOptions>][] = [
  ["shuffled", {}],
  ["accumulated", { gradientAccumulationSteps: 2 }],
  ["packed", { packing: { maxTokens: 14 } }],
  ["grouped by length", { groupByLength: true, schedule: "cosine", warmupRatio: 0.2 }],
  ["evaluated", { eval: 0.3, evalEverySteps: 3, learningRate: 0.8 }],
  ["stopped early", { eval: 0.3, evalEverySteps: 1, learningRate: 1.5, earlyStopping: { patience: 3 } }],
];

describe.each(kinds)("stopped and resumed, a run that is %s", (_, options) => {
  test.each(options.eval ? (["step", "evaluate"] as const) : (["step"] as const))(
    "equals the uninterrupted one, stopped in any %s",
    async (kind) => {
      const straight = newTrainer(model, options);
      const expected = await outcomeOf(straight.trainer);
      for (let at = 0; ; at++) {
        const outputDir = join(root, `${kind}${at}`);
        const signal = abortInJob(at, kind);
        const first = await outcomeOf(newTrainer(model, { ...options, outputDir }).trainer, { signal });
        hooks.onJob = undefined;
        if (first.summary) {
          if (kind === "step") expect(at).toBe(expected.summary!.steps);
          return;
        }
        expect(first.error).toMatchObject({ code: "ERR_ABORTED" });
        const done = stepsOf(first.events).length;
        if (done > 0)
          expect(first.events.at(-1)).toEqual({
            type: "checkpoint",
            step: done,
            path: join(outputDir, `checkpoint-${done}`),
          });
        const { trainer, adapter } = newTrainer(model, { ...options, outputDir });
        const second = await outcomeOf(trainer, { resume: "auto" });
        expect(second.events[0]).toMatchObject({ type: "start", resumedStep: done });
        expect([...timeless(first.events), ...timeless(second.events)]).toEqual(timeless(expected.events));
        expect(adapter.vectors()).toEqual(straight.adapter.vectors());
      }
    },
  );
});

test("an abort between two steps writes a checkpoint, an abort before the first none", async () => {
  const controller = new AbortController();
  const { trainer } = newTrainer(model, { outputDir: root });
  const events: TrainEvent[] = [];
  await expect(async () => {
    for await (const event of trainer.run({ signal: controller.signal })) {
      events.push(event);
      if (event.type === "step" && event.step === 4) controller.abort();
    }
  }).rejects.toMatchObject({ code: "ERR_ABORTED" });
  expect(events.at(-1)).toMatchObject({ type: "checkpoint", step: 4 });
  const before = await outcomeOf(newTrainer(model, { outputDir: join(root, "new") }).trainer, {
    signal: controller.signal,
  });
  expect(before).toMatchObject({ events: [], error: { code: "ERR_ABORTED" } });
  expect(readdirSync(root).sort()).toEqual(["checkpoint-4", "log.jsonl", "run.json"]);
});

test("all weights are trained in slot 0, with checkpoints of their own", async () => {
  const { FakeAdapter } = jest.requireActual("./fake_native");
  const weights = () => {
    const inner = new FakeAdapter();
    inner.shapes = inner.shapes.map(([width]: [number]) => [2, width / 2]);
    const job = <T>(value: T) => ({ promise: Promise.resolve(value), cancel: () => {} });
    const staged = new Map<number, number[]>();
    inner.readValue = (at: number, start: number, count: number) =>
      job(inner.current.slice(at * 4 + start, at * 4 + start + count));
    inner.stageValue = (at: number, piece: Float32Array) => staged.set(at, [...(staged.get(at) ?? []), ...piece]);
    inner.commitValue = (at: number) => job(inner.current.set(staged.get(at)!, at * 4));
    return inner;
  };
  const slots = new Set<number>();
  const trainable = () => {
    const made = weights();
    const full = fakeModel({ forgetFingerprint: () => {} }) as never as { native: Record<string, unknown> };
    const { trainStep } = full.native as { trainStep: (request: NativeTrainRequest) => unknown };
    full.native.makeTrainable = () => ({ promise: Promise.resolve(made), cancel: () => {} });
    full.native.trainStep = (request: NativeTrainRequest) => {
      for (const batch of request.microBatches) for (const slot of batch.slots!) slots.add(slot);
      return trainStep(request);
    };
    return { full: full as never, made };
  };
  const options = { adapter: undefined, method: "full" as const };
  const straight = trainable();
  const expected = await outcomeOf(newTrainer(straight.full, options).trainer);
  expect(expected.events[0]).toMatchObject({ trainableParameters: 8 });
  expect([...slots]).toEqual([0]);
  const stopped = trainable();
  await outcomeOf(newTrainer(stopped.full, { ...options, outputDir: root }).trainer, { signal: abortInJob(6) });
  hooks.onJob = undefined;
  const resumed = trainable();
  await outcomeOf(newTrainer(resumed.full, { ...options, outputDir: root }).trainer, { resume: true });
  expect(resumed.made.current).toEqual(straight.made.current);
});

describe("options", () => {
  const [adapter, train] = [RedAdapter.create(model), someExamples(4)];
  test.each<[object, RegExp]>([
    [{ model: {} }, /LanguageModel for model/],
    [{ adapter: undefined }, /RedAdapter, a LoraAdapter, an Ia3Adapter or a MethodAdapter for adapter/],
    [{ method: "full" }, /none with method "full" for adapter/],
    [{ method: "lora" }, /method/],
    [{ learningrate: 1 }, /^Unknown option "learningrate" for Trainer; did you mean learningRate\?$/],
    [{ learningRate: -1 }, /learningRate/],
    [{ learningRate: Number.NaN }, /learningRate/],
    [{ schedule: "step" }, /schedule/],
    [{ warmupSteps: 1.5 }, /warmupSteps/],
    [{ warmupSteps: 1, warmupRatio: 0.1 }, /^Give warmupSteps or warmupRatio, not both$/],
    [{ warmupRatio: 2 }, /warmupRatio/],
    [{ epochs: 0 }, /epochs/],
    [{ maxSteps: -1 }, /maxSteps/],
    [{ batchSize: 0 }, /batchSize/],
    [{ gradientAccumulationSteps: 0.5 }, /gradientAccumulationSteps/],
    [{ packing: { maxTokens: 0 } }, /packing.maxTokens/],
    [{ packing: "yes" }, /true, false or { maxTokens } for packing/],
    [{ packing: { maxToken: 5 } }, /Unknown option "maxToken" for packing; did you mean maxTokens/],
    [{ shuffle: 1 }, /shuffle/],
    [{ beta2: 1 }, /beta2/],
    [{ epsilon: 0 }, /epsilon/],
    [{ maxGradNorm: -1 }, /maxGradNorm/],
    [{ seed: -1 }, /seed/],
    [{ weightDecayTarget: "one" }, /weightDecayTarget/],
    [{ eval: 1 }, /eval/],
    [{ evalEverySteps: 2 }, /^evalEverySteps needs eval$/],
    [{ keepBest: true }, /^keepBest needs eval$/],
    [{ eval: 0.5, earlyStopping: { patience: 0 } }, /patience/],
    [{ eval: 0.5, earlyStopping: 3 }, /earlyStopping/],
    [{ eval: 0.5, earlyStopping: { patience: 1, delta: 0 } }, /Unknown option "delta" for earlyStopping/],
    [{ eval: 0.5, earlyStopping: null }, /options of earlyStopping but received null/],
    [{ eval: 0.5, earlyStopping: { patience: 1, minDelta: -1 } }, /minDelta/],
    [{ checkpointEverySteps: 1 }, /^checkpointEverySteps needs outputDir$/],
    [{ outputDir: "" }, /outputDir/],
    [{ loggers: ["console"], outputDir: "x" }, /loggers/],
    [{ recompute: "no" }, /recompute/],
  ])("%j is refused", (options, message) => {
    expect(() => new Trainer({ model, adapter, train, ...options } as never)).toThrow(
      expect.objectContaining({ code: "ERR_ARGUMENT", message: expect.stringMatching(message) }),
    );
  });

  const ids = (length: number) => ({
    tokenIds: new Int32Array(length),
    supervised: new Uint8Array(length).fill(1),
    line: 1,
  });
  test.each<[string, object, RegExp]>([
    ["ERR_DATA", { train: [] }, /supervised token in train/],
    ["ERR_DATA", { train: [{ ...ids(3), supervised: new Uint8Array(3) }] }, /supervised token in train/],
    ["ERR_DATA", { eval: [] }, /supervised token in eval/],
    ["ERR_DATA", { train: [ids(3)], eval: 0.5 }, /at least 2 examples to split but received 1/],
    ["ERR_CONTEXT_LENGTH", { train: [ids(3), ids(33)] }, /example 1 of train has 33/],
    ["ERR_CONTEXT_LENGTH", { train: [ids(9)], maxLength: 8 }, /at most 8 tokens \(the run's maxLength\)/],
    ["ERR_ARGUMENT", { train: [ids(1)] }, /train\[0\].tokenIds/],
    ["ERR_ARGUMENT", { train: [{ ...ids(4), supervised: new Uint8Array(3) }] }, /train\[0\].supervised/],
    ["ERR_ARGUMENT", { train: "data.jsonl" }, /train/],
  ])("%s stops a run at its start", async (code, options, message) => {
    const trainer = new Trainer({ model, adapter, train, ...options } as never);
    expect((await outcomeOf(trainer)).error).toMatchObject({ code, message: expect.stringMatching(message) });
  });
});

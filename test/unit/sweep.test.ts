/** `learningRate: "sweep"`: trials before the run, and the rate that they find. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { RubricateError } from "../../lib/errors";
import type { StartEvent, TrainEvent, TrialEvent } from "../../lib/train/events";
import { ratesToSweep } from "../../lib/train/learning_rates";
import type { TrainerOptions } from "../../lib/train/options";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { abortInJob, newTrainer, outcomeOf, someExamples, timeless } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
const maxSteps = 250;
let root: string;
let outputDir: string;
beforeEach(() => {
  root = temporaryFolder();
  outputDir = join(root, "out");
  hooks.onJob = undefined;
  hooks.steps = 0;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const sweeping: Partial<TrainerOptions> = {
  train: someExamples(40),
  eval: someExamples(30, 3),
  maxSteps,
  learningRate: "sweep",
};
const close = (value: number) => expect.closeTo(value, 9);
const sweepingTrainer = (options: Partial<TrainerOptions> = {}) => newTrainer(model, { ...sweeping, ...options });
const trialsOf = (events: readonly TrainEvent[]) => events.filter((one): one is TrialEvent => one.type === "trial");
const startOf = (events: readonly TrainEvent[]) => events.find((one): one is StartEvent => one.type === "start");
const identityIn = (path: string) => JSON.parse(readFileSync(join(path, "trainer_state.json"), "utf8")).identity;

describe("a sweep", () => {
  test("tries every rate, then the best two for longer, and trains with the best, as if it had been given", async () => {
    const { trainer, adapter } = sweepingTrainer();
    const { events } = await outcomeOf(trainer);
    const trials = trialsOf(events);
    const first = trials.slice(0, 6);
    expect(first.map(({ learningRate }) => learningRate)).toEqual(ratesToSweep({ method: "red" }));
    expect(trials.map(({ steps }) => steps)).toEqual([5, 5, 5, 5, 5, 5, 10, 10]);
    expect(events.slice(0, 9).map(({ type }) => type)).toEqual([...trials.map(() => "trial"), "start"]);
    const losses = (some: readonly TrialEvent[]) => some.map(({ evalLoss }) => evalLoss!);
    const lowest = [...losses(first)].sort((a, b) => a - b).slice(0, 2);
    const finalists = first.filter(({ evalLoss }) => lowest.includes(evalLoss!)).map((one) => one.learningRate);
    expect(
      trials
        .slice(6)
        .map(({ learningRate }) => learningRate)
        .sort(),
    ).toEqual(finalists.sort());
    const { learningRate, learningRateFrom } = startOf(events)!;
    expect(learningRateFrom).toBe("sweep");
    const last = trials.slice(6);
    const chosen = last.find((one) => one.learningRate === learningRate)!;
    const least = Math.min(...losses(last));
    expect(chosen.evalLoss! - least).toBeLessThan(0.05);
    for (const one of last)
      if (one.learningRate > learningRate) expect(one.evalLoss! - least).toBeGreaterThanOrEqual(0.05);

    const given = newTrainer(model, { ...sweeping, learningRate });
    const same = await outcomeOf(given.trainer);
    expect(timeless(events)).toEqual(timeless(same.events));
    expect(adapter.vectors()).toEqual(given.adapter.vectors());
    expect(startOf(same.events)!.learningRateFrom).toBe("option");
  });

  test("finds the same with the same seed", async () => {
    const [one, two] = [await outcomeOf(sweepingTrainer().trainer), await outcomeOf(sweepingTrainer().trainer)];
    expect(trialsOf(one.events)).toEqual(trialsOf(two.events));
    const other = await outcomeOf(sweepingTrainer({ seed: 7 }).trainer);
    expect(trialsOf(other.events)).not.toEqual(trialsOf(one.events));
  });

  test.each([250, 287, 1000])("costs at most a third of a run of %d steps", async (steps) => {
    const tokensOf = (examples: readonly { tokenIds: Int32Array }[]) =>
      examples.reduce((all, { tokenIds }) => all + tokenIds.length, 0);
    let evaluated = 0;
    const spied = fakeModel();
    const { native } = spied as { native: { evaluate: (...args: unknown[]) => unknown } };
    const { evaluate } = native;
    native.evaluate = (batches, adapters) => {
      for (const { tokenIds } of batches as { tokenIds: Int32Array }[]) evaluated += tokenIds.length;
      return evaluate(batches, adapters);
    };
    const train = someExamples(40);
    const { trainer } = newTrainer(spied, { ...sweeping, train, eval: someExamples(2000), maxSteps: steps });
    const run = trainer.run();
    const trials: TrainEvent[] = [];
    for (;;) {
      const { value } = await run.next();
      if ((value as TrainEvent).type !== "trial") break;
      trials.push(value as TrainEvent);
    }
    await run.return(undefined as never);
    const perStep = tokensOf(train) / Math.ceil(40 / 3);
    const sweepTokens = trialsOf(trials).reduce((sum, one) => sum + one.steps, 0) * perStep + evaluated / 2;
    // RED trains a token at the cost of two that are evaluated.
    expect(sweepTokens / (steps * perStep)).toBeLessThan(1 / 3);
    expect(sweepTokens / (steps * perStep)).toBeGreaterThan(1 / 5);
  });

  test("scales the warm-up of its trials", async () => {
    const rates: number[] = [];
    const spied = fakeModel();
    const { native } = spied as { native: { trainStep: (request: never) => unknown } };
    const { trainStep } = native;
    native.trainStep = (request: never) => {
      rates.push((request as { tenants: { options: { learningRate: number } }[] }).tenants[0]!.options.learningRate);
      return trainStep(request);
    };
    const { trainer } = newTrainer(spied, { ...sweeping, warmupRatio: 0.4 });
    await outcomeOf(trainer);
    const shape = [0, 0.5, 1, 2 / 3, 1 / 3];
    expect(rates.slice(0, 10)).toEqual([...shape.map((x) => x * 1e-3), ...shape.map((x) => x * 3e-3)].map(close));
    const second = rates.slice(30, 40);
    const most = Math.max(...second);
    expect(second).toEqual(
      [0, 1, 2, 3, 4, 3.3333333333, 2.6666666667, 2, 1.3333333333, 0.6666666667].map((x) => close((x * most) / 4)),
    );
  });

  test("passes over rates that give no finite loss, and fails if none does", async () => {
    let steps = 0;
    hooks.onJob = (kind) => {
      if (kind === "step" && ++steps === 7) throw new RubricateError("ERR_NOT_FINITE", "not finite");
    };
    const { events } = await outcomeOf(sweepingTrainer().trainer);
    expect(trialsOf(events)[1]).toEqual({ type: "trial", learningRate: 3e-3, steps: 5, evalLoss: null });
    expect(startOf(events)!.learningRate).not.toBe(3e-3);

    hooks.onJob = (kind) => {
      if (kind === "step") throw new RubricateError("ERR_NOT_FINITE", "not finite");
    };
    const { trainer, adapter } = sweepingTrainer();
    const before = adapter.vectors();
    const { error } = await outcomeOf(trainer);
    expect(error).toMatchObject({
      code: "ERR_NOT_FINITE",
      message: expect.stringContaining("No learning rate of the sweep"),
    });
    expect(adapter.vectors()).toEqual(before);
  });

  test("stopped by a signal or left, restores the adapter, and writes nothing", async () => {
    const { trainer, adapter } = sweepingTrainer({ outputDir });
    const before = adapter.vectors();
    for (const at of [0, 4, 5, 17]) {
      const { events, error } = await outcomeOf(trainer, { signal: abortInJob(at, "step") });
      hooks.onJob = undefined;
      expect(error?.code).toBe("ERR_ABORTED");
      expect(trialsOf(events)).toHaveLength(Math.floor(at / 5));
      expect(adapter.vectors()).toEqual(before);
    }
    for await (const event of trainer.run()) if (event.type === "trial") break;
    expect(adapter.vectors()).toEqual(before);
    expect(existsSync(outputDir) ? readdirSync(outputDir) : []).toEqual([]);
  });

  test("leaves what the run writes, with its trials first in the log", async () => {
    const { events } = await outcomeOf(sweepingTrainer({ outputDir, checkpointEverySteps: 125 }).trainer);
    const given = join(root, "given");
    const { learningRate } = startOf(events)!;
    await outcomeOf(
      newTrainer(model, { ...sweeping, learningRate, outputDir: given, checkpointEverySteps: 125 }).trainer,
    );
    expect(readdirSync(outputDir).sort()).toEqual(readdirSync(given).sort());
    const log = readFileSync(join(outputDir, "log.jsonl"), "utf8").trim().split("\n");
    const types = log.map((line) => JSON.parse(line).type);
    expect(types.slice(0, 9)).toEqual([...Array.from({ length: 8 }, () => "trial"), "start"]);
  });
});

describe("a run with a sweep resumes", () => {
  async function stopped(options: Partial<TrainerOptions> = {}) {
    const { trainer } = sweepingTrainer({ outputDir, ...options });
    const { events, error } = await outcomeOf(trainer, { signal: abortInJob(50 + 30, "step") });
    hooks.onJob = undefined;
    expect(error?.code).toBe("ERR_ABORTED");
    return startOf(events)!.learningRate;
  }

  test("with the rate found, without a second sweep, to the same bits", async () => {
    const whole = sweepingTrainer();
    await outcomeOf(whole.trainer);
    let learningRate = await stopped();
    expect(identityIn(join(outputDir, "checkpoint-30"))).toMatchObject({ learningRate, learningRateFrom: "sweep" });
    for (const resume of [true, "auto", join(outputDir, "checkpoint-30")]) {
      rmSync(outputDir, { recursive: true });
      learningRate = await stopped();
      const { trainer, adapter } = sweepingTrainer({ outputDir });
      const { events, error } = await outcomeOf(trainer, { resume });
      expect(error).toBeUndefined();
      expect(trialsOf(events)).toEqual([]);
      expect(startOf(events)).toMatchObject({ learningRate, learningRateFrom: "sweep", resumedStep: 30 });
      expect(adapter.vectors()).toEqual(whole.adapter.vectors());
    }
  });

  test("also with that rate given", async () => {
    const learningRate = await stopped();
    const { trainer } = sweepingTrainer({ outputDir, learningRate });
    const { events, error } = await outcomeOf(trainer, { resume: true });
    expect(error).toBeUndefined();
    expect(startOf(events)).toMatchObject({ learningRate, learningRateFrom: "option", resumedStep: 30 });
  });

  test("but not from a run without a sweep", async () => {
    await stopped({ learningRate: 0.01 });
    hooks.steps = 0;
    const { error } = await outcomeOf(sweepingTrainer({ outputDir }).trainer, { resume: true });
    expect(error).toMatchObject({ code: "ERR_CHECKPOINT" });
    expect(error!.message).toMatch(/belongs to another run: it has learningRate 0\.01, which no sweep found;/);
    expect(hooks.steps).toBe(0);
  });
});

describe("before any trial is refused", () => {
  test.each<[string, Partial<TrainerOptions>, object, string, string]>([
    ["a run that is too short", { maxSteps: 249 }, {}, "ERR_ARGUMENT", "Expected a run of at least 250 steps"],
    ["resuming without outputDir", {}, { resume: true }, "ERR_ARGUMENT", "resume needs outputDir"],
    ["an invalid resume", {}, { resume: 5 }, "ERR_ARGUMENT", "for resume but received 5"],
    ["a missing checkpoint", {}, { resume: "/nowhere/checkpoint-1" }, "ERR_CHECKPOINT", "but there is none"],
  ])("%s", async (_, options, runOptions, code, message) => {
    const { error } = await outcomeOf(sweepingTrainer(options).trainer, runOptions);
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
    expect(hooks.steps).toBe(0);
  });

  test("an outputDir with checkpoints of an earlier run, or without one to resume from", async () => {
    const none = await outcomeOf(sweepingTrainer({ outputDir }).trainer, { resume: true });
    expect(none.error).toMatchObject({ code: "ERR_CHECKPOINT", message: expect.stringContaining("no usable one") });
    expect(hooks.steps).toBe(0);
    await outcomeOf(newTrainer(model, { outputDir, checkpointEverySteps: 5 }).trainer);
    hooks.steps = 0;
    const { error } = await outcomeOf(sweepingTrainer({ outputDir }).trainer);
    expect(error).toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringContaining("no checkpoints of an earlier"),
    });
    expect(hooks.steps).toBe(0);
  });

  test("a sweep without evaluation data", () => {
    expect(() => sweepingTrainer({ eval: undefined })).toThrow(
      'learningRate "sweep" needs eval, whose loss it compares',
    );
  });
});

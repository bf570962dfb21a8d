/** The checkpoints of a run: which are kept, which runs resume from them, and that no failure of the disk loses one. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import type { TrainEvent } from "../../lib/train/events";
import type { TrainerOptions } from "../../lib/train/options";
import { model, notices, resume, stopped, uninterrupted } from "./checkpoint_support";
import { type Failure, temporaryFolder, withFailureAt } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { abortInJob, newTrainer, outcomeOf, someExamples } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

let root: string;
beforeEach(() => {
  root = temporaryFolder();
  hooks.onJob = undefined;
  hooks.cpuPath = "fake";
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const evaluated: Partial<TrainerOptions> = { eval: 0.3, checkpointEverySteps: 2, learningRate: 0.8 };

test("checkpoints are written as often as asked and at the end, and the newest stay", async () => {
  const { trainer } = newTrainer(model, { outputDir: root, checkpointEverySteps: 3, keepCheckpoints: 2 });
  const { events } = await outcomeOf(trainer);
  const reported = events.filter(({ type }) => type === "checkpoint") as { step: number; path: string }[];
  expect(reported.map(({ step }) => step)).toEqual([3, 6, 9, 10]);
  expect(reported[0]!.path).toBe(join(root, "checkpoint-3"));
  expect(readdirSync(root).sort()).toEqual(["checkpoint-10", "checkpoint-9", "log.jsonl", "run.json"]);
  const saved = await RedAdapter.fromPretrained(join(root, "checkpoint-10"), model); // is an adapter folder too
  expect(saved.vectors()).toEqual(await uninterrupted());
});

test("resuming a finished run makes no further step and keeps the parameters", async () => {
  const straight = newTrainer(model, { ...evaluated, outputDir: root });
  const first = await outcomeOf(straight.trainer);
  const steps = hooks.steps;
  const { summary, adapter } = await resume(root, { ...evaluated });
  expect(hooks.steps).toBe(steps);
  expect(summary).toMatchObject({ steps: first.summary!.steps, evalLoss: first.summary!.evalLoss });
  expect(adapter.vectors()).toEqual(straight.adapter.vectors());
});

test("a run resumes from a path too, and into another folder", async () => {
  await stopped(root);
  const path = join(root, "checkpoint-6");
  const { events, adapter } = await resume(root, { outputDir: join(root, "else") }, path);
  expect(events[0]).toMatchObject({ type: "start", resumedStep: 6 });
  expect(adapter.vectors()).toEqual(await uninterrupted());
});

test.each<[string, object, RegExp]>([
  ["learningRate", { learningRate: 0.1 }, /learningRate 0.05, this one 0.1/],
  ["schedule", { schedule: "cosine" }, /schedule "linear", this one "cosine"/],
  ["epochs", { epochs: 3 }, /epochs 2, this one 3/],
  ["maxSteps", { maxSteps: 10 }, /epochs 2, this one null/],
  ["batchSize", { batchSize: 4 }, /batchSize 3, this one 4/],
  ["packing", { packing: true }, /batchSize 3, this one null/],
  ["seed", { seed: 1 }, /seed 42, this one 1/],
  ["decay", { weightDecay: 0.1 }, /weightDecay 0, this one 0.1/],
  ["data", { train: someExamples(13, 1) }, /train "[0-9a-f]{64}", this one "[0-9a-f]{64}"/],
  ["evaluation", { eval: someExamples(3) }, /eval/],
  ["layers", { adapter: RedAdapter.create(model, { layers: [0] }) }, /adapter \{"variant"/],
])("a checkpoint of a run with another %s is refused", async (_, options, message) => {
  await stopped(root);
  const { error, events } = await resume(root, options, "auto");
  expect(events).toEqual([]);
  expect(error).toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringMatching(/checkpoint-7 belongs to another run/),
  });
  expect(error!.message).toMatch(message);
});

test("a checkpoint of another base is refused", async () => {
  await stopped(root);
  const other = fakeModel({ fingerprint: async () => ({ architecture: "a".repeat(64), weights: "d".repeat(64) }) });
  const { trainer } = newTrainer(other, { outputDir: root });
  expect((await outcomeOf(trainer, { resume: true })).error).toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringMatching(/base .*bbbb.* this one .*dddd/),
  });
});

test("a run whose learning rate does not depend on its length may be made longer", async () => {
  const options = { schedule: "constant_with_warmup", warmupSteps: 3 } as const;
  await stopped(root, options);
  const { summary, adapter } = await resume(root, { ...options, epochs: 4 });
  expect(summary!.steps).toBe(20);
  expect(adapter.vectors()).toEqual(await uninterrupted({ ...options, epochs: 4 }));
});

test("options that do not affect the result may change", async () => {
  await stopped(root);
  const { adapter } = await resume(root, { checkpointEverySteps: 1, keepCheckpoints: 5, loggers: [], recompute: true });
  expect(adapter.vectors()).toEqual(await uninterrupted());
});

test("another instruction set is reported", async () => {
  await stopped(root);
  hooks.cpuPath = "other";
  expect(notices((await resume(root)).events)).toEqual([
    expect.stringMatching(/checkpoint-7 .* fake kernels .* other ones/),
  ]);
});

test("another provider of matmuls is reported, and the checkpoint names its own", async () => {
  const on = (matmul: string) =>
    fakeModel({
      device: { kind: "cuda", index: 0, name: "Fake", matmul },
    });
  const product = { m: 64, n: 4, k: 4, layout: "NT", provider: "own", count: 3 };
  const writing = on("own kernels") as { native: { matmuls: () => object[] } };
  writing.native.matmuls = () => [product];
  const { trainer } = newTrainer(writing as never, { outputDir: root, checkpointEverySteps: 3 });
  await outcomeOf(trainer, { signal: abortInJob(7, "step") });
  hooks.onJob = undefined;
  const path = join(root, "checkpoint-7");
  const written = JSON.parse(readFileSync(join(path, "trainer_state.json"), "utf8"));
  expect(written).toMatchObject({ matmul: "own kernels", matmuls: [product] });

  const noticesOn = async (model: never, outputDir: string) => {
    const { trainer } = newTrainer(model, { outputDir, checkpointEverySteps: 3 });
    return notices((await outcomeOf(trainer, { resume: path })).events);
  };
  expect(await noticesOn(on("own kernels"), join(root, "same"))).toEqual([]);
  expect(await noticesOn(on("cuBLASLt 13.1.1, auto"), join(root, "other"))).toEqual([
    `The checkpoint ${path} was written with matmuls on a GPU (own kernels) and is resumed with matmuls on a GPU ` +
      "(cuBLASLt 13.1.1, auto): the result is equally valid, but not bit-identical",
  ]);
  expect(await noticesOn(fakeModel(), join(root, "cpu"))).toEqual([
    expect.stringMatching(/a GPU \(own kernels\) and is resumed with matmuls on the CPU: /),
  ]);
});

test("an earlier run's checkpoints are not overwritten", async () => {
  await stopped(root);
  const before = readdirSync(root);
  const { error } = await resume(root, {}, false);
  expect(error).toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringMatching(/found .*checkpoint-7; resume/),
  });
  expect(readdirSync(root)).toEqual(before);
});

test("without a checkpoint, true is an error and auto a new run", async () => {
  expect((await resume(root, {}, true)).error).toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringContaining(root),
  });
  expect((await resume(root, {}, join(root, "none"))).error).toMatchObject({ code: "ERR_CHECKPOINT" });
  expect((await resume(root, { outputDir: undefined, checkpointEverySteps: undefined }, true)).error).toMatchObject({
    code: "ERR_ARGUMENT",
  });
  expect((await resume(root, {}, 7 as never)).error).toMatchObject({ code: "ERR_ARGUMENT" });
  expect((await resume(root, {}, "auto")).summary!.steps).toBe(10);
});

const failures: Failure[] = ["ENOSPC", "power cut, unflushed data lost"];
test.each(failures)(
  "after %s at any operation, a resumed run gives the uninterrupted one's result",
  async (failure) => {
    const options = { ...evaluated, keepCheckpoints: 1, epochs: 1, evalEverySteps: 2 };
    const expected = await uninterrupted({ ...options, checkpointEverySteps: undefined });
    const counted = newTrainer(model, { ...options, outputDir: join(root, "counted") });
    const { operations } = await withFailureAt(-1, failure, () => drain(counted.trainer));
    const started = operations.indexOf("rename") + 1; // the flush after run.json got its name
    const resumedFrom = new Set<number>();
    for (let at = 0; at < operations.length; at++) {
      const outputDir = join(root, `${at}`);
      const broken = newTrainer(model, { ...options, outputDir });
      const { error } = await withFailureAt(at, failure, () => drain(broken.trainer));
      expect(error).toMatchObject({ code: "ERR_FILE" });
      if (existsSync(join(outputDir, "best", "adapter_config.json")))
        await RedAdapter.fromPretrained(join(outputDir, "best"), model);
      const { trainer, adapter } = newTrainer(model, { ...options, outputDir });
      const { events, error: second } = await outcomeOf(trainer, { resume: "auto" });
      expect(second).toBeUndefined();
      expect(notices(events)).toEqual([]); // none was ever incomplete
      const { resumedStep } = events[0] as { resumedStep: number };
      // After one write fails with a full disk, the last finished step is saved, unless the run could not start: its folder
      // and run.json are made first.
      if (failure === "ENOSPC") expect(resumedStep > 0).toBe(at > started);
      resumedFrom.add(resumedStep);
      expect(adapter.vectors()).toEqual(expected);
      const best = await RedAdapter.fromPretrained(join(outputDir, "best"), model);
      expect(best.vectors()).toEqual(expected);
      expect(readdirSync(outputDir).sort()).toEqual(["best", "checkpoint-3", "log.jsonl", "run.json"]);
    }
    expect([...resumedFrom].sort()).toEqual([0, 2, 3]);
  },
);

async function drain(trainer: { run(): AsyncGenerator<TrainEvent, unknown, void> }): Promise<void> {
  for await (const _ of trainer.run());
}

test("folders with other names are not touched", async () => {
  await stopped(root);
  for (const name of ["checkpoint-x", "checkpoint-007", "checkpoint-99.bak"]) mkdirSync(join(root, name));
  cpSync(join(root, "checkpoint-7"), join(root, "mine"), { recursive: true });
  renameSync(join(root, "checkpoint-7"), join(root, "checkpoint-7.bak"));
  expect((await resume(root)).events[0]).toMatchObject({ resumedStep: 6 });
  expect(readdirSync(root)).toEqual(
    expect.arrayContaining(["checkpoint-x", "checkpoint-007", "checkpoint-99.bak", "mine"]),
  );
});

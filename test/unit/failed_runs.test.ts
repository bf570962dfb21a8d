/** Runs that end early: their last finished step is saved, and the error names the checkpoint. */
import { readdirSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Dataset } from "../../lib/data/dataset";
import { RubricateError } from "../../lib/errors";
import { replaceFileOperations } from "../../lib/files/operations";
import { atOnce } from "../../lib/steps";
import type { TrainEvent } from "../../lib/train/events";
import { ExampleArray } from "../../lib/train/examples";
import type { TrainerOptions } from "../../lib/train/options";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { abortInJob, newTrainer, outcomeOf, someExamples } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
let root: string;
beforeEach(() => {
  root = temporaryFolder();
  hooks.onJob = undefined;
});
afterEach(() => {
  jest.restoreAllMocks();
  rmSync(root, { recursive: true, force: true });
});

const failedStep = 8;
const path = () => join(root, `checkpoint-${failedStep - 1}`);
const run = (options: Partial<TrainerOptions> = {}) => newTrainer(model, { outputDir: root, ...options });

/** Makes the k-th job (from 1) of a kind fail. */
function failIn(kind: "step" | "evaluate", at: number, error: unknown): void {
  let jobs = 0;
  hooks.onJob = (one) => {
    if (one === kind && ++jobs === at) throw error;
  };
}

/** The results of an uninterrupted run, and of one that is resumed after the failure. */
async function requireSameBits(options: Partial<TrainerOptions> = {}): Promise<void> {
  hooks.onJob = undefined;
  jest.restoreAllMocks();
  const { loggers: _, ...straight } = options;
  const never = newTrainer(model, straight);
  const expected = await outcomeOf(never.trainer);
  const { trainer, adapter } = run(options);
  const { events, summary, error } = await outcomeOf(trainer, { resume: true });
  expect(error).toBeUndefined();
  expect(events[0]).toMatchObject({ type: "start", resumedStep: failedStep - 1 });
  expect(adapter.vectors()).toEqual(never.adapter.vectors());
  expect(summary).toMatchObject({ steps: 10, trainLoss: expected.summary!.trainLoss });
}

const reported = (error: unknown) => expect.stringContaining(`${(error as Error).message}; the last finished step, 7, is in ${path()}: remove`); // biome-ignore format: one line

test.each<[string, unknown, string]>([
  ["a loss that is not finite", new RubricateError("ERR_NOT_FINITE", "The loss is NaN"), "ERR_NOT_FINITE"],
  ["memory that runs out", new RubricateError("ERR_OUT_OF_MEMORY", "No memory"), "ERR_OUT_OF_MEMORY"],
  ["an error of no kind that is known", new TypeError("x is not a function"), "ERR_INTERNAL"],
])("%s leaves the last finished step", async (_, error, code) => {
  failIn("step", failedStep, error);
  const outcome = await outcomeOf(run().trainer);
  expect(outcome.error).toMatchObject({ code, message: reported(error), cause: error });
  expect(outcome.events.at(-1)).toEqual({ type: "checkpoint", step: 7, path: path() });
  expect(readdirSync(root).sort()).toEqual(["checkpoint-7", "log.jsonl", "run.json"]);
  await requireSameBits();
});

test("so does an error of a data worker, also in the step that is read ahead", async () => {
  const broken = new RubricateError("ERR_INTERNAL", "The data worker ended with code 1");
  let source = atOnce(ExampleArray.steps(someExamples(13), "train"));
  const { examples } = source;
  let reads = 0;
  source.examples = async (indices) => {
    if (++reads >= failedStep) throw broken;
    return examples.call(source, indices);
  };
  const { error } = await outcomeOf(run({ train: source as never as Dataset }).trainer);
  expect(error).toMatchObject({ code: "ERR_INTERNAL", message: reported(broken) });
  source = atOnce(ExampleArray.steps(someExamples(13), "train"));
  await requireSameBits({ train: source as never as Dataset });
});

test("so does an evaluation that fails, which is repeated", async () => {
  const options = { eval: someExamples(5, 20), evalEverySteps: 7, evalEveryEpoch: false };
  const error = new RubricateError("ERR_NOT_FINITE", "The evaluation loss is NaN");
  failIn("evaluate", 1, error);
  expect((await outcomeOf(run(options).trainer)).error).toMatchObject({
    code: "ERR_NOT_FINITE",
    message: reported(error),
  });
  await requireSameBits(options);
});

test.each(["jsonl", "tensorboard"] as const)("so does a full disk below the log of %s", async (logger) => {
  const handle = await open(join(root, "any"), "w");
  const prototype = Object.getPrototypeOf(handle);
  await handle.close();
  rmSync(join(root, "any"));
  const { appendFile } = prototype;
  const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
  let writes = 0;
  jest.spyOn(prototype, "appendFile").mockImplementation(function (this: unknown, ...given: unknown[]) {
    // Before the steps, one log writes the start event, the other its version.
    if (++writes > failedStep - 1) return Promise.reject(full);
    return appendFile.apply(this, given);
  });
  const { error, events } = await outcomeOf(run({ loggers: [logger] }).trainer);
  expect(error).toMatchObject({
    code: "ERR_FILE",
    message: reported(new Error("ENOSPC: no space left on device, write")),
  });
  expect(events.at(-1)).toEqual({ type: "checkpoint", step: 7, path: path() });
  await requireSameBits({ loggers: [logger] });
});

test("the newest checkpoint is named if it has the last finished step already", async () => {
  const error = new RubricateError("ERR_NOT_FINITE", "The loss is NaN");
  failIn("step", failedStep, error);
  const { error: failure, events } = await outcomeOf(run({ checkpointEverySteps: 7 }).trainer);
  expect(failure).toMatchObject({ message: reported(error) });
  expect(events.filter(({ type }) => type === "checkpoint")).toHaveLength(1);
});

describe.each([undefined, 3])("if the checkpoint cannot be written, with checkpoints every %s steps,", (every) => {
  const there = every === undefined ? [] : ["checkpoint-3", "checkpoint-6"];
  const earlier = every === undefined ? "there is no earlier checkpoint" : "the newest checkpoint is ROOT/checkpoint-6";
  const full = () => expect.stringMatching(`could not be written: .*ENOSPC.*; ${earlier.replace("ROOT", root)}$`);

  const fullDisk = () =>
    replaceFileOperations((real) => ({
      ...real,
      create: async () => {
        throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
      },
    }));
  afterEach(() => replaceFileOperations(undefined));

  /** Fails the job, and every file that is created from then on. */
  function failWithFullDisk(error: unknown, signal?: AbortController): void {
    let jobs = 0;
    hooks.onJob = (kind) => {
      if (kind !== "step" || ++jobs !== failedStep) return;
      fullDisk();
      signal?.abort();
      throw error;
    };
  }

  test("both errors are reported and no incomplete folder stays", async () => {
    failWithFullDisk(new RubricateError("ERR_NOT_FINITE", "The loss is NaN"));
    const { error } = await outcomeOf(run({ checkpointEverySteps: every }).trainer);
    expect(error).toMatchObject({ code: "ERR_NOT_FINITE", message: full() });
    expect(error!.message).toMatch(/^The loss is NaN; the checkpoint of step 7/);
    expect(readdirSync(root).sort()).toEqual([...there, "log.jsonl", "run.json"]);
  });

  test("a run that was stopped ends with that error", async () => {
    const controller = new AbortController();
    failWithFullDisk(new RubricateError("ERR_ABORTED", "stopped"), controller);
    const { error } = await outcomeOf(run({ checkpointEverySteps: every }).trainer, { signal: controller.signal });
    expect(error).toMatchObject({ code: "ERR_FILE", message: full() });
    expect(readdirSync(root).sort()).toEqual([...there, "log.jsonl", "run.json"]);
  });

  test("a consumer that leaves gets the error", async () => {
    const events = run({ checkpointEverySteps: every }).trainer.run();
    for (let value: TrainEvent | undefined; !(value?.type === "step" && value.step === 7); )
      value = (await events.next()).value as TrainEvent;
    fullDisk();
    await expect(events.return(undefined as never)).rejects.toMatchObject({ code: "ERR_FILE" });
    expect(readdirSync(root).sort()).toEqual([...there, "log.jsonl", "run.json"]);
  });
});

test.each([
  [7, 1, "there is no earlier checkpoint"],
  [3, 2, "the newest checkpoint is ROOT/checkpoint-3"],
])(
  "a due checkpoint that cannot be written is tried once more, and reported once: every %d steps",
  async (every, at, and) => {
    let folders = 0;
    replaceFileOperations((real) => ({
      ...real,
      makeFolder: async (folder) => {
        if (folder.includes(".checkpoint-") && ++folders >= at) throw new Error("EFBIG: file too large, write");
        return real.makeFolder(folder);
      },
    }));
    const { error } = await outcomeOf(run({ checkpointEverySteps: every }).trainer);
    replaceFileOperations(undefined);
    const failed = join(root, `checkpoint-${every * at}`);
    expect(error).toMatchObject({
      code: "ERR_FILE",
      message: `Cannot write ${failed}: EFBIG: file too large, write; ${and.replace("ROOT", root)}`,
    });
    expect(folders).toBe(at + 1);
  },
);

test("stopping the run gives the abort error and a checkpoint", async () => {
  const { error } = await outcomeOf(run().trainer, { signal: abortInJob(failedStep - 1, "step") });
  expect(error).toMatchObject({ code: "ERR_ABORTED", message: expect.not.stringContaining("finished step") });
  await requireSameBits();
});

describe("a consumer that", () => {
  const mine = new Error("mine");

  async function until(events: AsyncGenerator<{ type: string; step?: number }>): Promise<void> {
    for (;;) {
      const { value } = await events.next();
      if (value.type === "step" && value.step === failedStep - 1) return;
    }
  }

  test("throws gets its own error back", async () => {
    const { trainer } = run();
    const consume = async () => {
      for await (const event of trainer.run()) if (event.type === "step" && event.step === 7) throw mine;
    };
    await expect(consume()).rejects.toBe(mine);
    await requireSameBits();
  });

  test("throws into the run gets its own error back", async () => {
    const events = run().trainer.run();
    await until(events as never);
    await expect(events.throw(mine)).rejects.toBe(mine);
    await requireSameBits();
  });

  test("leaves the loop leaves the last finished step", async () => {
    const events = run().trainer.run();
    await until(events as never);
    await events.return(undefined as never);
    expect(readdirSync(root).sort()).toEqual(["checkpoint-7", "log.jsonl", "run.json"]);
    await requireSameBits();
  });

  test("leaves before the first step leaves nothing", async () => {
    const events = run().trainer.run();
    await events.next();
    await events.return(undefined as never);
    expect(readdirSync(root)).toEqual(["log.jsonl", "run.json"]);
  });
});

test("an error before the first step, or without an outputDir, is unchanged", async () => {
  const error = new RubricateError("ERR_NOT_FINITE", "The loss is NaN");
  failIn("step", 1, error);
  expect((await outcomeOf(run().trainer)).error).toBe(error);
  expect(readdirSync(root)).toEqual(["log.jsonl", "run.json"]);
  failIn("step", 3, error);
  expect((await outcomeOf(newTrainer(model).trainer)).error).toBe(error);
});

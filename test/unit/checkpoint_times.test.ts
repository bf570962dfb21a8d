/** When a run writes checkpoints: by the clock, every N steps, and of the last step. The clock changes no bit. */
import { readdirSync, rmSync } from "node:fs";
import { replaceFileOperations } from "../../lib/files/operations";
import type { TrainerOptions } from "../../lib/train/options";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { newTrainer, outcomeOf, timeless } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
let root: string;
/** Minutes on the clock that the runs read. */
let minutes: number;
beforeEach(() => {
  root = temporaryFolder();
  minutes = 0;
  jest.spyOn(performance, "now").mockImplementation(() => minutes * 60_000);
  hooks.onJob = undefined;
});
afterEach(() => {
  jest.restoreAllMocks();
  replaceFileOperations(undefined);
  rmSync(root, { recursive: true, force: true });
});

/** The steps with checkpoints of a run of ten steps, each of which takes so many minutes. */
async function stepsWith(minutesOfStep: number, options: Partial<TrainerOptions> = {}): Promise<number[]> {
  hooks.onJob = (kind) => {
    if (kind === "step") minutes += minutesOfStep;
  };
  const { trainer } = newTrainer(model, { outputDir: root, ...options });
  const { events, error } = await outcomeOf(trainer);
  expect(error).toBeUndefined();
  return events.flatMap((event) => (event.type === "checkpoint" ? [event.step] : []));
}

test.each<[string, number, Partial<TrainerOptions>, number[]]>([
  ["by default a fast run has one of its last step", 0.01, {}, [10]],
  ["by default a slow run has one every ten minutes, and of its last step", 4, {}, [3, 6, 9, 10]],
  ["every step of exactly the interval has one", 10, {}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]],
  ["the interval can be set", 4, { checkpointEveryMinutes: 20 }, [5, 10]],
  ["0 turns it off", 1e6, { checkpointEveryMinutes: 0 }, []],
  [
    "0 leaves those by steps, and that of the last step",
    1e6,
    { checkpointEveryMinutes: 0, checkpointEverySteps: 4 },
    [4, 8, 10],
  ],
  ["one by steps starts the interval again", 4, { checkpointEverySteps: 2 }, [2, 4, 6, 8, 10]],
  ["both kinds are written", 4, { checkpointEverySteps: 5 }, [3, 5, 8, 10]],
])("%s", async (_, minutesOfStep, options, expected) => {
  expect(await stepsWith(minutesOfStep, options)).toEqual(expected);
  expect(readdirSync(root).filter((name) => name.startsWith("checkpoint-"))).toHaveLength(Math.min(2, expected.length));
});

test("the time of a checkpoint itself does not count", async () => {
  hooks.onJob = (kind) => {
    if (kind === "step") minutes += 6;
  };
  replaceFileOperations((real) => ({
    ...real,
    async makeFolder(path) {
      if (path.includes(".checkpoint-")) minutes += 100;
      return real.makeFolder(path);
    },
  }));
  const found: number[] = [];
  for await (const event of newTrainer(model, { outputDir: root }).trainer.run())
    if (event.type === "checkpoint") found.push(event.step);
  expect(found).toEqual([2, 4, 6, 8, 10]);
});

test("a run has the same bits with every interval, and resumes from a checkpoint of another", async () => {
  const plain = newTrainer(model);
  const expected = await outcomeOf(plain.trainer);
  for (const checkpointEveryMinutes of [0, 1, 1e9]) {
    const { trainer, adapter } = newTrainer(model, { outputDir: root, checkpointEveryMinutes, resume: "auto" });
    const stop = new AbortController();
    hooks.onJob = () => {
      minutes += 1;
      if (hooks.steps % 4 === 3) stop.abort();
    };
    await outcomeOf(trainer, { signal: stop.signal });
    hooks.onJob = undefined;
    const last = await outcomeOf(trainer);
    expect(last.summary).toMatchObject({ steps: 10, trainLoss: expected.summary!.trainLoss });
    expect(adapter.vectors()).toEqual(plain.adapter.vectors());
    expect(timeless(expected.events)).toEqual(expect.arrayContaining(timeless(last.events).slice(0, -1)));
  }
});

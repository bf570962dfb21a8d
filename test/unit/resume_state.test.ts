/** Checkpoints with an edited state, and folders with checkpoints of several runs. */
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NoticeEvent } from "../../lib/train/events";
import type { TrainerOptions } from "../../lib/train/options";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { newTrainer, outcomeOf } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
let root: string;
beforeEach(() => {
  root = temporaryFolder();
  hooks.onJob = undefined;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Ten steps, five per epoch, evaluated after steps 4, 5, 8 and 10, with a checkpoint of each. */
const evaluated: Partial<TrainerOptions> = { eval: 0.25, batchSize: 2, evalEverySteps: 4, checkpointEverySteps: 1 };
const options = (changes: object = {}) => ({
  ...evaluated,
  keepCheckpoints: 99,
  outputDir: join(root, "run"),
  ...changes,
});
const run = (changes: object = {}, resume?: boolean | string) =>
  outcomeOf(newTrainer(model, options(changes)).trainer, { resume });
const names = (folder: string) => readdirSync(join(root, folder)).filter((name) => name.startsWith("checkpoint"));
const edit = (path: string, change: (document: Record<string, unknown>) => object) => {
  const file = join(path, "trainer_state.json");
  writeFileSync(file, JSON.stringify(change(JSON.parse(readFileSync(file, "utf8")))));
};

const edits: [object, RegExp][] = [
  [{ step: 0 }, /an integer of at least 1 for state\.step but found 0/],
  [{ step: 6 }, /of another step: expected 7 for state\.step but found 6/],
  [{ step: 1e9, supervisedTokens: 1e9, tokens: 1e9 }, /state\.step/],
  [{ step: 2 ** 53 - 1 }, /state\.supervisedTokens/],
  [{ step: -1 }, /state\.step/],
  [{ epoch: 0 }, /the place after step 7 of epoch 0 for state\.microBatch but found 2/],
  [{ epoch: 2 }, /state\.microBatch/],
  [{ epoch: 1e9 }, /an integer from 0 to 7 for state\.epoch but found 1000000000/],
  [{ epoch: 2 ** 32 }, /state\.epoch/],
  [{ microBatch: 1 }, /state\.microBatch but found 1/],
  [{ microBatch: 1000 }, /state\.microBatch but found 1000/],
  [{ epoch: 0, microBatch: 7 }, /state\.microBatch/],
  [{ microBatch: -1 }, /state\.microBatch/],
  [{ nats: -1e308 }, /a number of at least 0 for state\.nats but found -1e\+308/],
  [{ nats: null }, /state\.nats/],
  [{ supervisedTokens: 0 }, /an integer of at least 7 for state\.supervisedTokens but found 0/],
  [{ supervisedTokens: 20.5 }, /state\.supervisedTokens/],
  [{ tokens: -5 }, /state\.tokens but found -5/],
  [{ tokens: 8 }, /state\.tokens but found 8/],
  [{ evaluatedStep: 8 }, /an integer from 0 to 7 for state\.evaluatedStep but found 8/],
  [{ evaluatedStep: 0 }, /state\.(evaluationsWithoutGain|evalLoss)/],
  [{ evalLoss: "x" }, /state\.evalLoss but found "x"/],
  [{ evalLoss: {} }, /state\.evalLoss/],
  [{ evalLoss: null }, /state\.evalLoss/],
  [{ best: null }, /a step from 1 to 5 with a loss of at most .* for state\.best but found null/],
  [{ best: 4 }, /state\.best but found 4/],
  [{ best: { step: 6, loss: 0 } }, /state\.best/],
  [{ best: { step: 2 ** 53 - 1, loss: 0 } }, /state\.best/],
  [{ best: { step: 4, loss: -1e308 } }, /state\.best/],
  [{ best: { step: 4, loss: 1e9 } }, /state\.best/],
  [{ evaluationsWithoutGain: 2 ** 53 - 1 }, /an integer from 0 to 5 for state\.evaluationsWithoutGain/],
];

test("a state with values that no run writes is refused by path, and skipped with a notice", async () => {
  expect((await run()).summary!.steps).toBe(10);
  for (const step of [8, 9, 10]) rmSync(join(root, "run", `checkpoint-${step}`), { recursive: true });
  const dir = join(root, "run", "checkpoint-7");
  const kept = readFileSync(join(dir, "trainer_state.json"));
  for (const [change, says] of edits) {
    edit(dir, (document) => ({ ...document, state: { ...(document.state as object), ...change } }));
    const steps = hooks.steps;
    const { error } = await run({ outputDir: undefined, checkpointEverySteps: undefined }, dir);
    expect({ change, code: error?.code, message: error?.message, steps: hooks.steps }).toEqual({
      change,
      code: "ERR_CHECKPOINT",
      message: expect.stringMatching(says),
      steps,
    });
    const copy = join(root, "copy");
    cpSync(join(root, "run"), copy, { recursive: true });
    const { events, summary } = await run({ outputDir: copy }, true);
    expect(events[0]).toMatchObject({ type: "start", resumedStep: 6 });
    expect((events[1] as NoticeEvent).message).toMatch(says);
    expect(summary!.steps).toBe(10);
    rmSync(copy, { recursive: true });
    writeFileSync(join(dir, "trainer_state.json"), kept);
  }
  expect((await run({}, dir)).summary!.steps).toBe(10);
});

test("a checkpoint without the best parameters that its run keeps is refused", async () => {
  await run();
  const dir = join(root, "run", "checkpoint-7");
  edit(dir, ({ files, ...document }) => {
    const { "best.safetensors": _, ...others } = files as Record<string, unknown>;
    return { ...document, files: others };
  });
  expect((await run({}, dir)).error).toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringContaining("it has no best.safetensors"),
  });
});

test("a run without evaluation has none in its state", async () => {
  await run({ eval: undefined, evalEverySteps: undefined });
  const dir = join(root, "run", "checkpoint-5");
  edit(dir, (document) => ({ ...document, state: { ...(document.state as object), evaluatedStep: 5, evalLoss: 1 } }));
  const { error } = await run({ eval: undefined, evalEverySteps: undefined }, dir);
  expect(error).toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringMatching(/from 0 to 0 .*evaluatedStep/),
  });
});

test.each([[{ cpuPath: 7 }], [{ matmul: {} }], [{ identity: null }], [{ state: [] }], [{ files: "x" }]])(
  "a document with %j is refused",
  async (change) => {
    await run();
    const dir = join(root, "run", "checkpoint-5");
    edit(dir, (document) => ({ ...document, ...change }));
    const { error } = await run({}, dir);
    expect(error).toMatchObject({ code: "ERR_CHECKPOINT", message: expect.stringContaining("lacks a part") });
  },
);

test.each([[{ packing: { maxTokens: 14 } }], [{ gradientAccumulationSteps: 2 }], [{ groupByLength: true }]])(
  "with %j every position of a run is accepted, and one beyond the epoch is not",
  async (kind) => {
    const { summary } = await run(kind);
    for (const name of names("run")) {
      const { events } = await run({ ...kind, outputDir: join(root, name) }, join(root, "run", name));
      expect([name, events.at(-1)]).toMatchObject([name, { type: "end", steps: summary!.steps }]);
    }
    const dir = join(root, "run", "checkpoint-2");
    for (const microBatch of [1001, 1000]) {
      edit(dir, (document) => ({ ...document, state: { ...(document.state as object), microBatch } }));
      expect((await run(kind, dir)).error).toMatchObject({ code: "ERR_CHECKPOINT" });
    }
  },
);

describe("a folder with another run's checkpoints", () => {
  test("is not for a run that is resumed by path from elsewhere", async () => {
    await run();
    const other = join(root, "other");
    await run({ outputDir: other, seed: 7, maxSteps: 3 });
    const before = readdirSync(other, { recursive: true });
    const log = readFileSync(join(other, "log.jsonl"));
    const { error, events } = await run({ outputDir: other, keepCheckpoints: 1 }, join(root, "run", "checkpoint-2"));
    expect(error).toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringMatching(
        /^Expected no checkpoints of another run in .*other but found .*checkpoint-3: it has/,
      ),
    });
    expect(events).toEqual([]);
    expect(readdirSync(other, { recursive: true })).toEqual(before);
    expect(readFileSync(join(other, "log.jsonl"))).toEqual(log);
  });

  test("keeps them, even if the run keeps few of its own", async () => {
    await run({ seed: 7, maxSteps: 3 });
    await run({ outputDir: join(root, "mine") });
    for (const step of [1, 4, 6])
      cpSync(join(root, "mine", `checkpoint-${step}`), join(root, "run", `checkpoint-${step}`), { recursive: true });
    const { summary } = await run({ keepCheckpoints: 2 }, true);
    expect(summary!.steps).toBe(10);
    // 1 is its own and overwrote nothing; 2 and 3 are the other run's.
    expect(names("run").sort()).toEqual(["checkpoint-10", "checkpoint-2", "checkpoint-3", "checkpoint-9"]);
  });

  test("unreadable checkpoints do not count, and stay", async () => {
    await run();
    rmSync(join(root, "run", "checkpoint-8", "trainer_state.json"));
    await run({ keepCheckpoints: 2 }, true);
    expect(names("run").sort()).toEqual(["checkpoint-10", "checkpoint-8", "checkpoint-9"]);
  });
});

/** A run does not write over its model, and over another run's results only if it is told to. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { RubricateError } from "../../lib/errors";
import type { TrainerOptions } from "../../lib/train/options";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { abortInJob, newTrainer, outcomeOf } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

let model: never;
let root: string;
let out: string;
beforeEach(() => {
  root = temporaryFolder();
  out = join(root, "out");
  model = fakeModel();
  hooks.onJob = undefined;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const start = (options: Partial<TrainerOptions> = {}) => newTrainer(model, { outputDir: out, ...options });
const run = (options: Partial<TrainerOptions> = {}, signal?: AbortSignal) =>
  outcomeOf(start(options).trainer, signal && { signal });
const stoppedInStep = (at: number) => abortInJob(at - 1, "step");
const checkpoints = () => readdirSync(out).filter((name) => name.startsWith("checkpoint-"));
/** All files with their contents. */
const contents = () =>
  readdirSync(out, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => [join(parentPath, name), readFileSync(join(parentPath, name), "utf8")]);
const other = { seed: 7 };

describe("the folder of a model", () => {
  let dir: string;
  beforeEach(() => {
    dir = join(root, "model");
    mkdirSync(dir);
    writeFileSync(join(dir, "config.json"), "{}");
    writeFileSync(join(dir, "model.safetensors"), "weights");
    model = fakeModel({ dir });
  });
  const linked = (target: string) => {
    symlinkSync(target, join(root, "link"));
    return join(root, "link");
  };
  const moved = (name: string) => {
    mkdirSync(join(root, "out", name), { recursive: true });
    const path = join(root, "out", name, "model.safetensors");
    writeFileSync(path, "weights");
    rmSync(join(dir, "model.safetensors"));
    symlinkSync(path, join(dir, "model.safetensors"));
    return join(root, "out");
  };
  const within = (name: string) => {
    const folder = join(root, "out", name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "config.json"), "{}");
    model = fakeModel({ dir: folder });
    return join(root, "out");
  };

  test.each<[string, () => string]>([
    ["itself", () => dir],
    ["by a relative path", () => relative(process.cwd(), dir)],
    ["through a link", () => linked(dir)],
    ["through a link to a file of it", () => moved("")],
    ["with a file of it that is linked from best", () => moved("best")],
    ["whose best is the model", () => within("best")],
    ["whose checkpoint has the model", () => within("checkpoint-3/model")],
  ])("is not an outputDir: %s", async (_, make) => {
    const outputDir = make();
    const before = readdirSync(root, { recursive: true });
    for (const overwrite of [false, true])
      for (const resume of [false, "auto"] as const)
        expect((await run({ outputDir, overwrite, resume })).error).toMatchObject({
          code: "ERR_FILE",
          message: expect.stringMatching(
            /^Expected an outputDir other than the model's folder .*choose another outputDir/,
          ),
        });
    expect(readdirSync(root, { recursive: true })).toEqual(before);
  });

  test("may have outputDirs in it, and may lie in one where the run does not write", async () => {
    expect((await run({ outputDir: join(dir, "out") })).error).toBeUndefined();
    model = fakeModel({ dir });
    expect((await run({ outputDir: root })).error).toBeUndefined();
    expect(readFileSync(join(dir, "model.safetensors"), "utf8")).toBe("weights");
  });
});

describe("a folder with results", () => {
  const adapterIn = async (folder: string) => {
    await RedAdapter.create(model).savePretrained(folder);
  };
  test.each<[string, string, () => Promise<unknown>]>([
    ["a finished adapter", "ERR_FILE", () => adapterIn(out)],
    ["a best adapter", "ERR_FILE", () => adapterIn(join(out, "best"))],
    [
      "a model",
      "ERR_FILE",
      async () => {
        mkdirSync(out);
        writeFileSync(join(out, "config.json"), "{}");
      },
    ],
    ["another run's checkpoints", "ERR_CHECKPOINT", () => run(other)],
    ["the checkpoints of the same run", "ERR_CHECKPOINT", () => run()],
  ])("that are %s is refused with %s, unchanged, and the error names the ways out", async (_, code, make) => {
    await make();
    const before = contents();
    const { error, events } = await run();
    expect(error).toMatchObject({
      code,
      message: expect.stringMatching(
        / but found \S+.*; .*choose another outputDir, or replace them with overwrite: true$/,
      ),
    });
    expect(events).toEqual([]);
    expect(contents()).toEqual(before);
    if (code === "ERR_FILE")
      expect((await run({ resume: "auto" })).error).toMatchObject({
        code,
        message: expect.stringContaining("overwrite"),
      });
    expect(contents()).toEqual(before);
    expect((await run({ overwrite: true })).summary!.steps).toBe(10);
  });

  test("is not refused to its own run, which was killed between its best and its first checkpoint", async () => {
    await run({ checkpointEveryMinutes: 0 });
    await adapterIn(join(out, "best"));
    expect((await run()).error).toMatchObject({ code: "ERR_FILE" });
    expect((await run({ ...other, resume: "auto" })).error).toMatchObject({ code: "ERR_FILE" });
    expect((await run({ resume: "auto" })).summary!.steps).toBe(10);
  });

  test("is not for a run that is resumed by path from elsewhere", async () => {
    const elsewhere = join(root, "elsewhere");
    await run({ outputDir: elsewhere, checkpointEverySteps: 4, keepCheckpoints: 9 });
    await adapterIn(out);
    const resume = join(elsewhere, "checkpoint-4");
    expect((await run({ resume })).error).toMatchObject({ code: "ERR_FILE" });
    expect((await run({ resume, overwrite: true })).summary!.steps).toBe(10);
  });
});

describe("a run that overwrites another one", () => {
  const evaluated = { eval: 0.25, keepBest: true };
  beforeEach(async () => {
    const { trainer, adapter } = start({ ...other, ...evaluated, checkpointEverySteps: 3, keepCheckpoints: 9 });
    await outcomeOf(trainer);
    await adapter.savePretrained(out);
  });
  const results = () => contents().filter(([path]) => !/(log\.jsonl|run\.json)$/.test(path!));

  test("changes none of its results before it has a checkpoint", async () => {
    const before = results();
    const failed = new RubricateError("ERR_NOT_FINITE", "The loss is NaN");
    hooks.onJob = () => {
      throw failed;
    };
    expect((await run({ overwrite: true })).error).toBe(failed);
    hooks.onJob = undefined;
    expect((await run({ overwrite: true, train: [] })).error).toMatchObject({ code: "ERR_DATA" });
    expect(results()).toEqual(before);
    // And the earlier run can be resumed.
    expect((await run({ ...other, ...evaluated, resume: true })).events[0]).toMatchObject({ resumedStep: 8 });
  });

  test("replaces them at its first checkpoint, but the adapter only by its own", async () => {
    const adapter = readFileSync(join(out, "adapter_model.safetensors"));
    await run({ overwrite: true }, stoppedInStep(2));
    expect(checkpoints()).toEqual(["checkpoint-1"]);
    expect(readFileSync(join(out, "adapter_model.safetensors"))).toEqual(adapter);
    expect(existsSync(join(out, "best"))).toBe(true);
    hooks.onJob = undefined;
    const { events, summary } = await run({ resume: true });
    expect([events[0], summary]).toMatchObject([{ resumedStep: 1 }, { steps: 10 }]);
    expect(checkpoints()).toEqual(["checkpoint-1", "checkpoint-10"]);
    expect(existsSync(join(out, "best"))).toBe(false);
    expect(JSON.parse(readFileSync(join(out, "run.json"), "utf8"))).toMatchObject({ overwrites: false });
  });

  test("starts again with resume: auto, if it was killed before its first checkpoint", async () => {
    const generator = start({ overwrite: true, checkpointEveryMinutes: 0 }).trainer.run();
    await generator.next();
    await generator.return(undefined as never);
    expect(checkpoints()).not.toEqual([]);
    const { events, summary } = await run({ resume: "auto" });
    expect([events[0], summary]).toMatchObject([{ resumedStep: 0 }, { steps: 10 }]);
    expect(checkpoints()).toEqual(["checkpoint-10"]);
  });

  test("resumes from its own checkpoint, if both are given", async () => {
    await run({ overwrite: true }, stoppedInStep(4));
    hooks.onJob = undefined;
    expect((await run({ overwrite: true, resume: true })).events[0]).toMatchObject({ resumedStep: 3 });
  });

  test("gives the bits of a run in a new folder", async () => {
    const plain = newTrainer(model);
    await outcomeOf(plain.trainer);
    const { trainer, adapter } = start({ overwrite: true });
    await outcomeOf(trainer);
    expect(adapter.vectors()).toEqual(plain.adapter.vectors());
  });
});

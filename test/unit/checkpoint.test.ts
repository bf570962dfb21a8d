import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import fs from "node:fs/promises";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { mostBytes } from "../../lib/files/safetensors";
import type { TrainEvent } from "../../lib/train/events";
import type { TrainerOptions } from "../../lib/train/options";
import { type Failure, temporaryFolder, withFailureAt } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { abortInJob, newTrainer, outcomeOf, someExamples } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
let root: string;
beforeEach(() => {
  root = temporaryFolder();
  hooks.onJob = undefined;
  hooks.cpuPath = "fake";
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const evaluated: Partial<TrainerOptions> = { eval: 0.3, checkpointEverySteps: 2, learningRate: 0.8 };

/** A run in `root` that was stopped in step 8 of 10. */
async function stopped(options: Partial<TrainerOptions> = {}): Promise<void> {
  const { trainer } = newTrainer(model, { outputDir: root, checkpointEverySteps: 3, ...options });
  const { error } = await outcomeOf(trainer, { signal: abortInJob(7, "step") });
  hooks.onJob = undefined;
  expect(error).toMatchObject({ code: "ERR_ABORTED" });
}

const resume = (options: Partial<TrainerOptions> = {}, how: boolean | string = true) => {
  const { trainer, adapter } = newTrainer(model, { outputDir: root, checkpointEverySteps: 3, ...options });
  return outcomeOf(trainer, { resume: how }).then((outcome) => ({ ...outcome, adapter }));
};

async function uninterrupted(options: Partial<TrainerOptions> = {}) {
  const { trainer, adapter } = newTrainer(model, options);
  await outcomeOf(trainer);
  return adapter.vectors();
}

const notices = (events: readonly TrainEvent[]) =>
  events.flatMap((event) => (event.type === "notice" ? [event.message] : []));

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
  const { summary, adapter } = await resume({ ...evaluated });
  expect(hooks.steps).toBe(steps);
  expect(summary).toMatchObject({ steps: first.summary!.steps, evalLoss: first.summary!.evalLoss });
  expect(adapter.vectors()).toEqual(straight.adapter.vectors());
});

test("a run resumes from a path too, and into another folder", async () => {
  await stopped();
  const path = join(root, "checkpoint-6");
  const { events, adapter } = await resume({ outputDir: join(root, "else") }, path);
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
  await stopped();
  const { error, events } = await resume(options, "auto");
  expect(events).toEqual([]);
  expect(error).toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringMatching(/checkpoint-7 belongs to another run/),
  });
  expect(error!.message).toMatch(message);
});

test("a checkpoint of another base is refused", async () => {
  await stopped();
  const other = fakeModel({ fingerprint: async () => ({ architecture: "a".repeat(64), weights: "d".repeat(64) }) });
  const { trainer } = newTrainer(other, { outputDir: root });
  expect((await outcomeOf(trainer, { resume: true })).error).toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringMatching(/base .*bbbb.* this one .*dddd/),
  });
});

test("a run whose learning rate does not depend on its length may be made longer", async () => {
  const options = { schedule: "constant_with_warmup", warmupSteps: 3 } as const;
  await stopped(options);
  const { summary, adapter } = await resume({ ...options, epochs: 4 });
  expect(summary!.steps).toBe(20);
  expect(adapter.vectors()).toEqual(await uninterrupted({ ...options, epochs: 4 }));
});

test("options that do not affect the result may change", async () => {
  await stopped();
  const { adapter } = await resume({ checkpointEverySteps: 1, keepCheckpoints: 5, loggers: [], recompute: true });
  expect(adapter.vectors()).toEqual(await uninterrupted());
});

test("another instruction set is reported", async () => {
  await stopped();
  hooks.cpuPath = "other";
  expect(notices((await resume()).events)).toEqual([
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
  await stopped();
  const before = readdirSync(root);
  const { error } = await resume({}, false);
  expect(error).toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringMatching(/found .*checkpoint-7; resume/),
  });
  expect(readdirSync(root)).toEqual(before);
});

test("without a checkpoint, true is an error and auto a new run", async () => {
  expect((await resume({}, true)).error).toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringContaining(root),
  });
  expect((await resume({}, join(root, "none"))).error).toMatchObject({ code: "ERR_CHECKPOINT" });
  expect((await resume({ outputDir: undefined, checkpointEverySteps: undefined }, true)).error).toMatchObject({
    code: "ERR_ARGUMENT",
  });
  expect((await resume({}, 7 as never)).error).toMatchObject({ code: "ERR_ARGUMENT" });
  expect((await resume({}, "auto")).summary!.steps).toBe(10);
});

const stateOf = (dir: string) => JSON.parse(readFileSync(join(dir, "trainer_state.json"), "utf8"));
const writeState = (dir: string, change: object) =>
  writeFileSync(join(dir, "trainer_state.json"), JSON.stringify({ ...stateOf(dir), ...change }));

test.each<[string, RegExp, (dir: string) => void]>([
  ["no state", /trainer_state.json cannot be read/, (dir) => rmSync(join(dir, "trainer_state.json"))],
  [
    "a truncated state",
    /trainer_state.json cannot be read/,
    (dir) => truncateSync(join(dir, "trainer_state.json"), 99),
  ],
  ["a state of later times", /format 2, not 1/, (dir) => writeState(dir, { format: 2 })],
  ["a state without its parts", /lacks a part/, (dir) => writeState(dir, { state: {} })],
  [
    "a step that is not a number",
    /lacks a part/,
    (dir) => writeState(dir, { state: { ...stateOf(dir).state, step: "7" } }),
  ],
  [
    "files elsewhere",
    /outside its folder/,
    (dir) => writeState(dir, { files: { "../../x": { bytes: 1, sha256: "" } } }),
  ],
  ...["x.bin", "../x", "best.safetensors", "adapter_config.json", "parameters.safetensors"].map(
    (name): [string, RegExp, (dir: string) => void] => [
      `a file that is too large named ${name}`,
      /a file that no such run writes: "(x\.bin|parameters\.safetensors)"|outside its folder|expected at most \d+ bytes for/,
      (dir) => {
        const path = join(dir, name.replace("/", "-"));
        writeFileSync(path, "");
        truncateSync(path, 2e8);
        writeState(dir, { files: { [name]: { bytes: 2e8, sha256: "0" }, ...stateOf(dir).files } });
        writeState(dir, { files: { ...stateOf(dir).files, [name]: { bytes: 2e8, sha256: "0" } } });
      },
    ],
  ),
  [
    "files without digests",
    /expected at most \d+ bytes for optimizer.safetensors .* found nothing/,
    (dir) => writeState(dir, { files: { ...stateOf(dir).files, "optimizer.safetensors": 7 } }),
  ],
  ["no moments", /optimizer.safetensors/, (dir) => rmSync(join(dir, "optimizer.safetensors"))],
  [
    "moments without a digest",
    /has no optimizer.safetensors/,
    (dir) => {
      const { files } = stateOf(dir);
      delete files["optimizer.safetensors"];
      writeState(dir, { files });
    },
  ],
  ["truncated tensors", /bytes, not/, (dir) => truncateSync(join(dir, "adapter_model.safetensors"), 400)],
  [
    "a flipped bit",
    /not what was written/,
    (dir) => {
      const path = join(dir, "optimizer.safetensors");
      const bytes = readFileSync(path);
      bytes[bytes.length - 3]! ^= 4;
      writeFileSync(path, bytes);
    },
  ],
  [
    "a file in its place",
    /trainer_state.json cannot be read/,
    (dir) => {
      rmSync(dir, { recursive: true });
      writeFileSync(dir, "");
    },
  ],
])("a checkpoint with %s is skipped with a notice, and refused if it is named", async (_, message, damage) => {
  await stopped();
  const dir = join(root, "checkpoint-7");
  damage(dir);
  if (existsSync(join(dir, "trainer_state.json")) || readdirSync(root).includes("checkpoint-7"))
    expect((await resume({ outputDir: join(root, "else") }, dir)).error).toMatchObject({ code: "ERR_CHECKPOINT" });
  const { events, adapter } = await resume();
  expect(events[0]).toMatchObject({ resumedStep: 6 });
  expect(notices(events)).toEqual([expect.stringMatching(message)]);
  expect(adapter.vectors()).toEqual(await uninterrupted());
});

test("a file of a checkpoint may have mostBytes bytes, and no more", async () => {
  await stopped();
  const dir = join(root, "checkpoint-7");
  const path = join(dir, "optimizer.safetensors");
  const { parameterCount } = RedAdapter.create(model);
  const most = mostBytes(2, 2 * parameterCount);
  const bytes = readFileSync(path);
  const header = bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString();
  for (const size of [most, most + 1]) {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(size - 8 - 8 * parameterCount));
    const text = header.padEnd(size - 8 - 8 * parameterCount);
    const padded = Buffer.concat([length, Buffer.from(text), bytes.subarray(-8 * parameterCount)]);
    writeFileSync(path, padded);
    const sha256 = createHash("sha256").update(padded).digest("hex");
    writeState(dir, { files: { ...stateOf(dir).files, "optimizer.safetensors": { bytes: size, sha256 } } });
    const { error, summary } = await resume({ outputDir: join(root, `${size}`) }, dir);
    if (size === most) expect(summary!.steps).toBe(10);
    else expect(error!.message).toMatch(`expected at most ${most} bytes for optimizer.safetensors`);
  }
});

test("an abort ends the reading of a checkpoint, and does not count as damage", async () => {
  await stopped();
  const controller = new AbortController();
  const { open } = fs;
  const opening = jest.spyOn(fs, "open").mockImplementation((path, ...rest) => {
    if (String(path).endsWith("optimizer.safetensors")) controller.abort();
    return open(path, ...rest);
  });
  const { trainer } = newTrainer(model, { outputDir: root });
  const { error } = await outcomeOf(trainer, { resume: true, signal: controller.signal });
  opening.mockRestore();
  expect([error?.code, controller.signal.aborted]).toEqual(["ERR_ABORTED", true]);
});

test("texts of a checkpoint are escaped and truncated in messages", async () => {
  await stopped();
  const dir = join(root, "checkpoint-7");
  const long = `\u001b[31m\nall is well${"x".repeat(100_000)}`;
  const before = stateOf(dir);
  for (const change of [
    { format: long },
    { files: { ...before.files, [`a${"x".repeat(100_000)}`]: 1 } },
    { state: { ...before.state, step: long } },
    { identity: { ...before.identity, schedule: long } },
    { identity: { ...before.identity, [long]: long } },
    { cpuPath: long },
    { matmul: long },
  ]) {
    writeFileSync(join(dir, "trainer_state.json"), JSON.stringify({ ...before, ...change }));
    const { error, events } = await resume({ outputDir: join(root, "else") }, dir);
    for (const message of error ? [error.message] : notices(events)) {
      expect(message.length).toBeLessThan(1000);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are looked for
      expect(message).not.toMatch(/[\u0000-\u001f]/);
    }
    rmSync(join(root, "else"), { recursive: true, force: true });
  }
});

test("if all are damaged, true reports why and auto starts a new run", async () => {
  await stopped();
  for (const step of [6, 7]) rmSync(join(root, `checkpoint-${step}`, "optimizer.safetensors"));
  const { error } = await resume();
  expect(error).toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringMatching(/no usable one; .*checkpoint-7.*checkpoint-6/),
  });
  const { events, adapter } = await resume({ keepCheckpoints: 9 }, "auto");
  expect(events[0]).toMatchObject({ resumedStep: 0 });
  expect(adapter.vectors()).toEqual(await uninterrupted());
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

test("a damaged checkpoint of a later step does not cause good ones to be removed", async () => {
  await stopped({ keepCheckpoints: 1 });
  cpSync(join(root, "checkpoint-7"), join(root, "checkpoint-9"), { recursive: true });
  rmSync(join(root, "checkpoint-9", "optimizer.safetensors"));
  const { trainer } = newTrainer(model, { outputDir: root, checkpointEverySteps: 1, keepCheckpoints: 1 });
  const { events } = await outcomeOf(trainer, { resume: true, signal: abortInJob(1, "step") });
  expect(events.at(-1)).toMatchObject({ type: "checkpoint", step: 8 });
  expect(readdirSync(root).sort()).toEqual(["checkpoint-8", "checkpoint-9", "log.jsonl", "run.json"]);
});

test("folders with other names are not touched", async () => {
  await stopped();
  for (const name of ["checkpoint-x", "checkpoint-007", "checkpoint-99.bak"]) mkdirSync(join(root, name));
  cpSync(join(root, "checkpoint-7"), join(root, "mine"), { recursive: true });
  renameSync(join(root, "checkpoint-7"), join(root, "checkpoint-7.bak"));
  expect((await resume()).events[0]).toMatchObject({ resumedStep: 6 });
  expect(readdirSync(root)).toEqual(
    expect.arrayContaining(["checkpoint-x", "checkpoint-007", "checkpoint-99.bak", "mine"]),
  );
});

/** Runs of a MultiTrainer, with the real core, have the bytes of the same runs by a Trainer. */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { RedAdapter, type RedAdapterOptions } from "../../lib/adapter/red_adapter";
import { Dataset } from "../../lib/data/dataset";
import type { Example } from "../../lib/data/types";
import { embeddedModelDir } from "../../lib/embedded";
import type { RubricateError } from "../../lib/errors";
import { LanguageModel } from "../../lib/model/model";
import type { TrainEvent } from "../../lib/train/events";
import { FairSteps, type Share } from "../../lib/train/fair_steps";
import { type MultiRunOptions, MultiTrainer } from "../../lib/train/multi_trainer";
import { Trainer } from "../../lib/train/trainer";
import { watchedThreads } from "../unit/data_thread_support";
import { temporaryFolder } from "../unit/failing_files";
import { timeless } from "../unit/training_support";

let model: LanguageModel;
let root: string;
beforeAll(async () => {
  model = await LanguageModel.fromPretrained(join(__dirname, "../parity/fixtures/gqa"));
});
beforeEach(() => {
  root = temporaryFolder();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));
afterAll(() => model?.dispose());

/** Examples of 2 to 24 tokens. */
function examples(count: number, seed: number): Example[] {
  return Array.from({ length: count }, (_, at) => {
    const length = 2 + ((at * 7 + seed * 5) % 23);
    return {
      tokenIds: Int32Array.from({ length }, (_, i) => (at * 31 + seed * 13 + i * i * 17) % 128),
      supervised: Uint8Array.from({ length }, (_, i) => (i === 1 || (i + seed) % 3 > 0 ? 1 : 0)),
      line: at + 1,
    };
  });
}

type Case = Omit<MultiRunOptions, "adapter"> & { readonly layout: RedAdapterOptions };

/** A run with options of its own: number of rows, batches, evaluations, schedule, layout. */
function caseOf(at: number): Case {
  const layout: RedAdapterOptions = at % 3 === 2 ? { sites: ["attention"], variant: "ln" } : {};
  const some: Partial<MultiRunOptions>[] = [
    { eval: 0.25, evalEverySteps: 2, keepBest: true, evalEveryEpoch: false },
    { gradientAccumulationSteps: 2, weightDecay: 0.1 },
    { packing: { maxTokens: 40 }, schedule: "cosine", warmupSteps: 2 },
    { eval: examples(5, at + 50), maxGradNorm: 0.05, recompute: at % 2 === 0 },
  ];
  return {
    layout,
    train: examples(5 + ((at * 3) % 8), at),
    maxSteps: 4 + ((at * 5) % 7),
    batchSize: 1 + (at % 3),
    seed: at,
    learningRate: 0.01 * (1 + (at % 4)),
    checkpointEverySteps: 3,
    weight: 1 + (at % 2),
    ...some[at % 4],
  };
}

/** All files below a folder, without times. */
function filesOf(folder: string): Map<string, string> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  const files = names.map((one): [string, string] => {
    const path = join(one.parentPath, one.name);
    const bytes = readFileSync(path);
    if (one.name !== "log.jsonl") return [relative(folder, path), bytes.toString("latin1")];
    const events = bytes.toString().trim().split("\n");
    return [one.name, JSON.stringify(timeless(events.map((line) => ({ ...JSON.parse(line), time: undefined }))))];
  });
  return new Map(files.sort(([a], [b]) => (a < b ? -1 : 1)));
}

interface Result {
  readonly events: object[];
  readonly vectors: Map<string, Float32Array>;
  readonly files: Map<string, string>;
}

async function eventsOf(run: AsyncIterable<TrainEvent>): Promise<TrainEvent[]> {
  const events: TrainEvent[] = [];
  for await (const event of run) events.push(event);
  return events;
}

async function alone({ layout, weight: _, ...options }: Case, outputDir: string): Promise<Result> {
  const adapter = RedAdapter.create(model, layout);
  const events = await eventsOf(new Trainer({ ...options, model, adapter, outputDir }).run());
  return { events: timeless(events), vectors: adapter.vectors(), files: filesOf(outputDir) };
}

/** What chooses the runs of a shared call: of a step or of an evaluation. */
function schedulerOf(trainer: MultiTrainer, kind: "steps" | "evaluations"): unknown {
  const { steps } = trainer as never as { steps: Record<string, { fair: FairSteps }> };
  return steps[kind]!.fair;
}

const errorOf = (promise: Promise<unknown>): Promise<RubricateError> =>
  promise.then(
    () => {
      throw new Error("expected an error");
    },
    (error) => error,
  );

test("runs that join, leave, are cancelled and resumed have the bytes of their runs alone", async () => {
  const cases = Array.from({ length: 16 }, (_, at) => caseOf(at));
  const expected: Result[] = [];
  for (const [at, one] of cases.entries()) expected.push(await alone(one, join(root, `alone-${at}`)));
  const choose = jest.spyOn(FairSteps.prototype, "choose");
  const trainer = new MultiTrainer({ model, maxRows: 96 });
  const together = async ({ layout, ...options }: Case, at: number): Promise<Result> => {
    const outputDir = join(root, `shared-${at}`);
    const adapter = RedAdapter.create(model, layout);
    const events: TrainEvent[] = [];
    const cancelled = at % 4 === 1;
    if (cancelled) {
      const first = trainer.add(`run ${at}`, { ...options, adapter, outputDir });
      for await (const event of first) {
        if (event.type === "step" || event.type === "eval") events.push(event);
        if (event.type === "step" && event.step === 2) break;
      }
      await first.cancel();
      expect((await errorOf(first.done)).code).toBe("ERR_ABORTED");
      events.length = 0; // the log has them all
    }
    const next = cancelled ? RedAdapter.create(model, layout) : adapter;
    const run = trainer.add(`run ${at}`, { ...options, adapter: next, outputDir, resume: cancelled });
    events.push(...(await eventsOf(run)));
    expect(await run.done).toMatchObject({ reason: "max-steps" });
    const files = filesOf(outputDir);
    return { events: timeless(events), vectors: next.vectors(), files };
  };
  const early = cases.slice(0, 10).map(together);
  await early[0];
  const late = cases.slice(10).map((one, at) => together(one, at + 10));
  const results = await Promise.all([...early, ...late]);
  for (const [at, result] of results.entries()) {
    expect(result.vectors).toEqual(expected[at]!.vectors);
    expect([...result.files.keys()]).toEqual([...expected[at]!.files.keys()]);
    for (const [name, text] of result.files)
      expect([at, name, text]).toEqual([at, name, expected[at]!.files.get(name)]);
    if (at % 4 !== 1) expect(result.events).toEqual(expected[at]!.events);
  }
  expect(trainer.runs).toEqual([]);
  const steps = choose.mock.results.flatMap(({ value }, at) =>
    choose.mock.contexts[at] === schedulerOf(trainer, "steps") ? [value as Share[]] : [],
  );
  choose.mockRestore();
  expect(Math.max(...steps.map(({ length }) => length))).toBeGreaterThan(3);
  for (const step of steps) {
    expect(new Set(step.map(({ layout }) => layout)).size).toBe(1);
    if (step.length > 1) expect(step.reduce((sum, { rows }) => sum + rows, 0)).toBeLessThanOrEqual(96);
  }
}, 120_000);

test("evaluations in shared calls have the bytes of those alone, of every run", async () => {
  const cases = [0, 1, 2, 3].map((at) => ({
    layout: {},
    train: examples(6, at),
    eval: examples(30 + at, 60 + at),
    evalEverySteps: 1,
    evalEveryEpoch: false,
    maxSteps: 4,
    batchSize: 2 + (at % 2),
    seed: at,
    learningRate: 0.01 * (1 + at),
    keepBest: true,
  }));
  const expected: Result[] = [];
  for (const [at, one] of cases.entries()) expected.push(await alone(one, join(root, `alone-${at}`)));
  const choose = jest.spyOn(FairSteps.prototype, "choose");
  const trainer = new MultiTrainer({ model, maxRows: 300 });
  const runs = cases.map(({ layout, ...options }, at) => {
    const adapter = RedAdapter.create(model, layout);
    return { adapter, run: trainer.add(`${at}`, { ...options, adapter, outputDir: join(root, `${at}`) }) };
  });
  const events = await Promise.all(runs.map(({ run }) => eventsOf(run)));
  for (const [at, { adapter }] of runs.entries()) {
    expect(timeless(events[at]!)).toEqual(expected[at]!.events);
    expect(adapter.vectors()).toEqual(expected[at]!.vectors);
    expect(filesOf(join(root, `${at}`))).toEqual(expected[at]!.files);
  }
  const calls = choose.mock.results.flatMap(({ value }, at) =>
    choose.mock.contexts[at] === schedulerOf(trainer, "evaluations") ? [(value as Share[]).length] : [],
  );
  choose.mockRestore();
  expect(Math.max(...calls)).toBeGreaterThan(1);
}, 60_000);

test("runs that fail end with their own error, and the others go on", async () => {
  const sound = caseOf(0);
  const expected = await alone(sound, join(root, "alone"));
  const trainer = new MultiTrainer({ model });
  const add = (name: string, { layout, ...options }: Case) => {
    const outputDir = join(root, name);
    const adapter = RedAdapter.create(model, layout);
    return { adapter, run: trainer.add(name, { ...options, adapter, outputDir }) };
  };
  const unlearned = examples(3, 1).map((one) => ({ ...one, supervised: new Uint8Array(one.tokenIds.length) }));
  const broken = [
    ...examples(3, 1),
    { tokenIds: Int32Array.of(1, 5000), supervised: new Uint8Array(2).fill(1), line: 4 },
  ];
  const first = add("sound", sound);
  const notFinite = add("not finite", sound);
  const values = notFinite.adapter.native.values();
  notFinite.adapter.native.setValues(values.fill(Number.NaN, 0, 1));
  const silent = add("silent", { ...sound, train: unlearned });
  const strange = add("strange", { ...sound, train: broken });
  const codes = await Promise.all([notFinite, silent, strange].map(async ({ run }) => (await errorOf(run.done)).code));
  expect(codes).toEqual(["ERR_NOT_FINITE", "ERR_DATA", "ERR_ARGUMENT"]);
  await first.run.done;
  expect(first.adapter.vectors()).toEqual(expected.vectors);
  expect(filesOf(join(root, "sound"))).toEqual(expected.files);
}, 60_000);

test("a data thread that ends ends the runs whose datasets it held, each with that error; the others have their bytes", async () => {
  using own = await LanguageModel.fromPretrained(embeddedModelDir());
  const tokenizer = own.requireTokenizer();
  const rows = (seed: number) =>
    Array.from({ length: 12 }, (_, at) => ({ prompt: `Once ${at}`, completion: ` upon ${seed} a time ${at}` }));
  const settings = { epochs: 3, batchSize: 2, seed: 5, learningRate: 0.01 };
  const expected = RedAdapter.create(own);
  await using alone = await Dataset.fromRows(rows(1), { tokenizer, maxLength: 64 });
  for await (const _ of new Trainer({ ...settings, model: own, adapter: expected, train: alone }).run());
  await alone.dispose();

  const workers = watchedThreads();
  const trainer = new MultiTrainer({ model: own });
  const runs: ReturnType<typeof trainer.add>[] = [];
  const adapters: RedAdapter[] = [];
  const datasets: Dataset[] = [];
  for (const at of [0, 1, 2]) {
    const train = await Dataset.fromRows(rows(at), { tokenizer, maxLength: 64 }); // the first and the third share a thread
    datasets.push(train);
  }
  expect(workers).toHaveLength(2);
  const [first] = datasets;
  const { examples } = first!;
  let reads = 0;
  first!.examples = async (indices) => {
    if (++reads === 3) await workers[0]!.terminate();
    return examples.call(first, indices);
  };
  for (const [at, train] of datasets.entries()) {
    const adapter = RedAdapter.create(own);
    const outputDir = join(root, `${at}`);
    adapters.push(adapter);
    runs.push(trainer.add(`${at}`, { ...settings, adapter, train, outputDir }));
  }
  const errors = [0, 2].map((at) => errorOf(runs[at]!.done));
  for (const error of await Promise.all(errors))
    expect(error).toMatchObject({
      code: "ERR_INTERNAL",
      message: expect.stringContaining("The data worker ended with code 1"),
    });
  await runs[1]!.done;
  expect(adapters[1]!.vectors()).toEqual(expected.vectors());
  jest.restoreAllMocks();
  for (const data of datasets) await data.dispose();
}, 120_000);

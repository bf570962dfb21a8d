/** Entries that a run freezes once they have grown: what stays, checkpoints before and after that moment, several runs at once. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Adapter } from "../../lib/adapter/adapter";
import { createAdapter } from "../../lib/adapter/create";
import { baseMatrix, grownEntries } from "../../lib/adapter/grown_entries";
import { defineMethod } from "../../lib/adapter/method";
import { type SaraOptions, sara } from "../../lib/adapter/methods/sara";
import { PlanBuilder, type PlanFreeze } from "../../lib/adapter/plan";
import { int32Values } from "../../lib/adapter/plan_indices";
import type { RubricateError } from "../../lib/errors";
import { float32Values, int32Tensor, readSafetensors } from "../../lib/files/safetensors";
import type { LanguageModel } from "../../lib/model/model";
import { native } from "../../lib/native";
import { frozenIn } from "../../lib/train/freezing";
import { MultiTrainer } from "../../lib/train/multi_trainer";
import type { TrainerOptions } from "../../lib/train/options";
import { Trainer } from "../../lib/train/trainer";
import { examplesOf, expectedOf, loadFixture } from "../parity/fixtures";

let model: LanguageModel;
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-freezing-"));
  model = await loadFixture("gqa", { dtype: "float32" });
});
afterAll(() => {
  model?.dispose();
  rmSync(home, { recursive: true, force: true });
});

const train = expectedOf("gqa").training.batches.flatMap((step) => step.flatMap(examplesOf));
const usual = { train, maxSteps: 6, batchSize: 4, learningRate: 0.01, weightDecay: 0.1, loggers: [] } as const;
const make = (options: SaraOptions = {}) =>
  createAdapter(model, sara({ threshold: 0.03, sites: ["q", "ffn"], ...options }));

/** Runs to the end, or to a step. */
async function run(adapter: Adapter, options: Partial<TrainerOptions> = {}, stopAfter = Infinity): Promise<void> {
  const controller = new AbortController();
  try {
    const trainer = new Trainer({ model, adapter, ...usual, ...options });
    for await (const event of trainer.run({ signal: controller.signal })) {
      if (event.type === "step" && event.step === stopAfter) controller.abort();
    }
  } catch (error) {
    if ((error as RubricateError).code !== "ERR_ABORTED") throw error;
  }
}

const flat = (adapter: Adapter) => Float32Array.from([...adapter.vectors().values()].flatMap((own) => [...own]));

test.each(["identity", "zero"] as const)(
  "what has grown by half of the steps stays, without moments, with decay to %s",
  async (to) => {
    const outputDir = join(home, `stays-${to}`);
    using adapter = await make();
    const kept = { outputDir, checkpointEverySteps: 1, keepCheckpoints: 10, weightDecayTarget: to } as const;
    await run(adapter, kept);
    const valuesAt = async (step: number) => {
      using loaded = await make();
      const stored = await readSafetensors(join(outputDir, `checkpoint-${step}`, "adapter_model.safetensors"));
      loaded.setVectors(
        new Map([...loaded.vectors().keys()].map((name) => [name, float32Values(stored.get(name)!, name)])),
      );
      return { values: flat(loaded), grown: await grownEntries(model, loaded) };
    };
    const { values: before, grown } = await valuesAt(3);
    expect(grown.length).toBeGreaterThan(50);
    expect(grown.length).toBeLessThan(before.length - 50);
    const own = new Set(grown);
    const after = flat(adapter);
    for (const [place, value] of after.entries())
      expect([place, value === before[place]]).toEqual([place, own.has(place)]);
    const optimizer = await readSafetensors(join(outputDir, "checkpoint-6", "optimizer.safetensors"));
    expect([...int32Values(optimizer.get("frozen")!.data)]).toEqual([...grown]);
    for (const name of ["m", "v"])
      for (const [place, moment] of float32Values(optimizer.get(name)!, name).entries())
        expect([place, moment === 0]).toEqual([place, own.has(place)]);
    expect((await readSafetensors(join(outputDir, "checkpoint-3", "optimizer.safetensors"))).has("frozen")).toBe(false);
  },
);

test("grown entries are those whose adapted magnitude is not below the threshold", async () => {
  using adapter = await make({ sites: ["q"] });
  for (const name of adapter.vectors().keys())
    adapter.setVectors(
      new Map([
        [
          name,
          adapter
            .vectors()
            .get(name)!
            .map((_, at) => (at % 3 === 0 ? 0.04 : 0)),
        ],
      ]),
    );
  const expected: number[] = [];
  let first = 0;
  for (const index of adapter.plan().indices!) {
    const weight = await baseMatrix(model, index);
    const entries = adapter.storedEntries().get(index.name)!;
    for (const [at, entry] of entries.entries())
      if (Math.abs(weight[entry]! + (at % 3 === 0 ? Math.fround(0.04) : 0)) >= 0.03) expected.push(first + at);
    first += entries.length;
  }
  expect(expected.length).toBeGreaterThan(10);
  expect([...(await grownEntries(model, adapter))]).toEqual(expected);
});

test("of a share, entries have grown that are larger than each chosen one was", async () => {
  using adapter = await make({ threshold: null, share: 0.05, sites: ["q"] });
  expect(await grownEntries(model, adapter)).toHaveLength(0);
  const [index] = adapter.plan().indices!;
  const weight = await baseMatrix(model, index!);
  const entries = adapter.storedEntries().get(index!.name)!;
  const largest = [...entries].reduce((most, entry) => Math.max(most, Math.abs(weight[entry]!)), 0);
  const [name] = adapter.vectors().keys();
  const values = Float32Array.from(entries, (entry, at) => (at < 2 ? (at + 1) * largest * 0.999 - weight[entry]! : 0));
  adapter.setVectors(new Map([[name!, values]]));
  expect([...(await grownEntries(model, adapter))]).toEqual([1]);
});

test("a run that stopped before, at or after that moment resumes to the bits of a whole one", async () => {
  using whole = await make();
  await run(whole);
  for (const stopAfter of [2, 3, 4]) {
    const outputDir = join(home, `stop-${stopAfter}`);
    using first = await make();
    await run(first, { outputDir }, stopAfter);
    using resumed = await make();
    await run(resumed, { outputDir, resume: true });
    expect(flat(resumed)).toEqual(flat(whole));
    using split = await make();
    await run(split, { batchSize: 1, gradientAccumulationSteps: 4 });
    expect(flat(split)).toEqual(flat(whole));
  }
});

test("runs of a MultiTrainer freeze at a moment of their own", async () => {
  const lengths = [6, 4, 5];
  const [alone, together] = [
    await Promise.all(lengths.map(() => make())),
    await Promise.all(lengths.map(() => make())),
  ];
  for (const [at, adapter] of alone.entries()) await run(adapter, { maxSteps: lengths[at]! });
  const trainer = new MultiTrainer({ model });
  const runs = together.map((adapter, at) => trainer.add(`${at}`, { adapter, ...usual, maxSteps: lengths[at]! }));
  await Promise.all(runs.map(({ done }) => done));
  await trainer.close();
  for (const [at, adapter] of together.entries()) expect(flat(adapter)).toEqual(flat(alone[at]!));
});

test("0 freezes nothing; a longer run, which would freeze later, does not resume", async () => {
  using free = await make({ reselectAt: 0 });
  expect(free.plan().freeze).toBeUndefined();
  await run(free);
  using other = await make();
  await run(other);
  expect(flat(other)).not.toEqual(flat(free));
  const outputDir = join(home, "longer");
  const options = { outputDir, schedule: "constant", checkpointEverySteps: 1 } as const;
  using adapter = await make();
  await run(adapter, options, 4);
  await expect(run(adapter, { ...options, maxSteps: 8, resume: true })).rejects.toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringMatching(/it has freezeStep 3, this one 4/),
  });
});

test.each([-0.1, 1, Number.NaN, "0.5"])("reselectAt %p is refused", async (reselectAt) => {
  await expect(make({ reselectAt: reselectAt as number })).rejects.toMatchObject({
    code: "ERR_ARGUMENT",
    message: expect.stringMatching(/a number of 0 or more, below 1 for reselectAt/),
  });
});

test.each<[Partial<PlanFreeze>, boolean]>([
  [{ at: 0, magnitude: 1 }, true],
  [{ at: 1, magnitude: 1 }, true],
  [{ at: 0.5, magnitude: 0 }, true],
  [{ at: 0.5 }, true],
  [{ at: 0.5, magnitude: 1 }, false],
])("a plan with freeze %j, with indices: %p, is refused", async (freeze, hasIndices) => {
  const method = defineMethod({
    kind: "own",
    options: [],
    check: () => ({}),
    plan(_, base) {
      const builder = new PlanBuilder();
      const linear = base.linear(0, "q");
      if (hasIndices) builder.site({ ...linear.at, sparse: builder.sparse(linear, 1) });
      else builder.site({ ...linear.at, bias: builder.parameter("bias", [linear.outputs], 0) });
      return { ...builder.plan, freeze: freeze as PlanFreeze };
    },
    choose: () => Int32Array.of(0),
  });
  await expect(createAdapter(model, method)).rejects.toMatchObject({
    code: "ERR_PLAN",
    message: expect.stringMatching(/for freeze of the plan of method own/),
  });
});

test("the optimizer and a checkpoint refuse places that no freezing gives", async () => {
  using adapter = await make();
  const optimizer = new (native().Optimizer)(adapter.native);
  const { parameterCount } = adapter;
  const trainee = { count: parameterCount } as Parameters<typeof frozenIn>[1];
  for (const places of [[3, 3], [5, 2], [-1], [parameterCount]]) {
    expect(() => optimizer.freeze(Int32Array.from(places))).toThrow(/ascending places below \d+ to freeze/);
    const { dtype, shape } = int32Tensor("frozen", Int32Array.from(places));
    const tensor = { dtype, shape, data: new Uint8Array(Int32Array.from(places).buffer) };
    expect(() => frozenIn(new Map([["frozen", tensor]]), trainee)).toThrow(
      /ascending places below \d+, as I32 for frozen/,
    );
  }
  optimizer.freeze(Int32Array.of(0, parameterCount - 1));
  expect([...optimizer.frozen()]).toEqual([0, parameterCount - 1]);
  optimizer.dispose();
});

/** SaRA's rank loss in runs: resuming, micro-batches, several runs at once, seeds; what is refused. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Adapter } from "../../lib/adapter/adapter";
import { createAdapter } from "../../lib/adapter/create";
import { baseEntries, baseMatrix } from "../../lib/adapter/grown_entries";
import { defineMethod } from "../../lib/adapter/method";
import { sara } from "../../lib/adapter/methods/sara";
import { PlanBuilder } from "../../lib/adapter/plan";
import type { LanguageModel } from "../../lib/model/model";
import { native } from "../../lib/native";
import { MultiTrainer } from "../../lib/train/multi_trainer";
import type { TrainerOptions } from "../../lib/train/options";
import { Trainer } from "../../lib/train/trainer";
import { examplesOf, expectedOf, loadFixture } from "../parity/fixtures";

let model: LanguageModel;
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-rank-loss-"));
  model = await loadFixture("gqa", { dtype: "float32" });
});
afterAll(() => {
  model?.dispose();
  rmSync(home, { recursive: true, force: true });
});

const train = expectedOf("gqa").training.batches.flatMap((step) => step.flatMap(examplesOf));
const usual = { train, maxSteps: 6, batchSize: 4, learningRate: 0.01, loggers: [] } as const;
const make = (rankLoss = 0.1) => createAdapter(model, sara({ threshold: 0.03, rankLoss, sites: ["q", "ffn"] }));
const flat = (adapter: Adapter) => Float32Array.from([...adapter.vectors().values()].flatMap((own) => [...own]));

async function trained(options: Partial<TrainerOptions> = {}, rankLoss?: number): Promise<Float32Array> {
  using adapter = await make(rankLoss);
  const events = new Trainer({ model, adapter, ...usual, ...options }).run();
  for (;;) {
    const { done } = await events.next();
    if (done) return flat(adapter);
  }
}

test("it changes what is trained, by the seed, and does not depend on micro-batches", async () => {
  const own = await trained({ shuffle: false });
  expect(await trained({ shuffle: false }, 0)).not.toEqual(own);
  expect(await trained({ shuffle: false, seed: 3 })).not.toEqual(own);
  expect(await trained({ shuffle: false, batchSize: 1, gradientAccumulationSteps: 4 })).toEqual(own);
  expect(await trained({ shuffle: false, seed: 3 }, 0)).toEqual(await trained({ shuffle: false }, 0));
});

test("a run that resumes draws the matrices that a whole one draws", async () => {
  const whole = await trained();
  for (const stopAfter of [1, 2, 4]) {
    const outputDir = join(home, `stop-${stopAfter}`);
    const controller = new AbortController();
    using first = await make();
    const events = new Trainer({ model, adapter: first, ...usual, outputDir }).run({ signal: controller.signal });
    const stopped = (async () => {
      for await (const event of events) if (event.type === "step" && event.step === stopAfter) controller.abort();
    })();
    await expect(stopped).rejects.toMatchObject({ code: "ERR_ABORTED" });
    expect(await trained({ outputDir, resume: true })).toEqual(whole);
  }
});

test("runs of a MultiTrainer have their own", async () => {
  const factors = [0.1, 0, 0.3];
  const alone = await Promise.all(factors.map((factor) => trained({}, factor)));
  const adapters = await Promise.all(factors.map((factor) => make(factor)));
  const trainer = new MultiTrainer({ model });
  const runs = adapters.map((adapter, at) => trainer.add(`${at}`, { adapter, ...usual }));
  await Promise.all(runs.map(({ done }) => done));
  await trainer.close();
  expect(adapters.map(flat)).toEqual(alone);
});

test("it is of the base's entries and the values", async () => {
  using adapter = await make();
  const expected: number[] = [];
  for (const index of adapter.plan().indices!) {
    const weight = await baseMatrix(model, index);
    expected.push(...[...adapter.storedEntries().get(index.name)!].map((entry) => weight[entry]!));
  }
  expect([...(await baseEntries(model, adapter))]).toEqual(expected);
});

test("wrong factors and plans are refused", async () => {
  for (const factor of [-1, Number.NaN, "1" as never])
    await expect(make(factor)).rejects.toMatchObject({
      code: "ERR_ARGUMENT",
      message: expect.stringMatching(/a number from 0 to .* for rankLoss/),
    });
  for (const [nuclear_norm, hasIndices] of [
    [0, true],
    [-1, true],
    [1, false],
  ] as const) {
    const method = defineMethod({
      kind: "own",
      options: [],
      check: () => ({}),
      plan(_, base) {
        const builder = new PlanBuilder();
        const linear = base.linear(0, "q");
        if (hasIndices) builder.site({ ...linear.at, sparse: builder.sparse(linear, 1) });
        else builder.site({ ...linear.at, bias: builder.parameter("bias", [linear.outputs], 0) });
        return { ...builder.plan, nuclear_norm };
      },
      choose: () => Int32Array.of(0),
    });
    await expect(createAdapter(model, method)).rejects.toMatchObject({
      code: "ERR_PLAN",
      message: expect.stringMatching(/a positive number, in a plan with indices, for nuclear_norm/),
    });
  }
  using adapter = await make();
  const optimizer = new (native().Optimizer)(adapter.native);
  const base = new Float32Array(adapter.parameterCount);
  expect(() => optimizer.addNuclearNorm(-1, 0, base)).toThrow(/0 or more for factor/);
  expect(() => optimizer.addNuclearNorm(1, 0, base.subarray(1))).toThrow(/numbers for base/);
  expect(() => optimizer.addNuclearNorm(1, -1, base)).toThrow(/seed/);
  optimizer.dispose();
});

/** Ten optimizer steps against PyTorch's: losses, gradient norms, learning rates, and where the parameters end. */
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { runJob } from "../../lib/job";
import type { LanguageModel } from "../../lib/model/model";
import { type NativeAdapter, type NativeParameters, native } from "../../lib/native";
import { evaluate } from "../../lib/train/evaluate";
import type { StepEvent } from "../../lib/train/events";
import type { TrainerOptions } from "../../lib/train/options";
import { learningRateAt } from "../../lib/train/schedule";
import {
  adapterOf,
  type Curve,
  examplesOf,
  expectedOf,
  loadFixture,
  microBatch,
  relativeError,
  tensorsOf,
  trainedSteps,
  under,
} from "./fixtures";

const fixtures = ["mha", "gqa", "llama3", "bias", "linear_rope"];

describe.each(fixtures)("%s", (fixture) => {
  const expected = expectedOf(fixture);
  let model: LanguageModel;
  let tensors: Map<string, Float32Array>;
  beforeAll(async () => {
    model = await loadFixture(fixture, { dtype: "float32" });
    tensors = await tensorsOf(fixture);
  });
  afterAll(() => model?.dispose());

  const stepsOf = (options: Partial<TrainerOptions>) => trainedSteps(model, expected.training, options);

  function compare(steps: readonly StepEvent[], wanted: Omit<Curve, "learningRates">, tolerance: number): void {
    const rates = expected.training.red.learningRates;
    expect(steps.map(({ learningRate }) => learningRate)).toEqual(rates.map((rate) => expect.closeTo(rate, 15)));
    expect(steps).toHaveLength(10);
    expect(
      relativeError(
        steps.map(({ loss }) => loss),
        wanted.losses,
      ),
    ).toBeLessThan(tolerance);
    expect(
      relativeError(
        steps.map(({ gradNorm }) => gradNorm),
        wanted.gradNorms,
      ),
    ).toBeLessThan(10 * tolerance);
  }

  /** As near to float64 as PyTorch's fp32 is, to twice as far. */
  function near(found: ReadonlyMap<string, Float32Array>, run: string): void {
    for (const [name, fp32] of under(tensors, `${run}.`)) {
      const exact = tensors.get(`float64.${run}.${name}`)!;
      const [ours, theirs] = [relativeError(found.get(name)!, exact), relativeError(fp32, exact)];
      expect([name, ours <= 2 * theirs + 1e-6, ours, theirs]).toEqual([name, true, ours, theirs]);
    }
  }

  test("four sequences a step, whole or in two micro-batches, as PyTorch's", async () => {
    using adapter = RedAdapter.create(model);
    compare(await stepsOf({ adapter }), expected.training.float64Red, 2e-6);
    near(adapter.vectors(), "train.red");
    using split = RedAdapter.create(model);
    await stepsOf({ adapter: split, batchSize: 2, gradientAccumulationSteps: 2 });
    expect(split.vectors()).toEqual(adapter.vectors());
    using packed = RedAdapter.create(model);
    await stepsOf({ adapter: packed, batchSize: 1, gradientAccumulationSteps: 4, recompute: true });
    expect(packed.vectors()).toEqual(adapter.vectors());
  });

  test.each(["initial", "zero"] as const)("with decay to %s", async (target) => {
    using adapter = RedAdapter.create(model);
    adapter.setVectors(under(tensors, "train.decay.start."));
    const wanted = expected.training[`${target}Decay`];
    const weightDecayTarget = target === "zero" ? "zero" : "identity";
    const steps = await stepsOf({ adapter, weightDecay: wanted.weightDecay, weightDecayTarget });
    compare(steps, wanted, 5e-6);
    for (const [name, values] of under(tensors, `train.decay.${target}.`))
      expect([name, relativeError(adapter.vectors().get(name)!, values) < 1e-5]).toEqual([name, true]);
  });

  test("all weights, as PyTorch's", async () => {
    using own = await loadFixture(fixture, { dtype: "float32" });
    compare(await stepsOf({ model: own, adapter: undefined, method: "full" }), expected.training.float64Full, 1e-5);
    const parameters = await runJob(() => own.native.makeTrainable());
    near(new Map(parameters.names.map((name, index) => [name, parameters.value(index)])), "train.full");
  });

  test("evaluate gives the fixture's loss, whatever the batch size", async () => {
    const data = examplesOf(expected.batch);
    const plain = await evaluate(model, data);
    expect(Math.abs(plain.loss / expected.full.float64Loss - 1)).toBeLessThan(2e-6);
    expect(plain).toMatchObject({ tokens: expected.batch.supervisedTokens, perplexity: Math.exp(plain.loss) });
    const one = expected.red[0]!;
    using adapter = adapterOf(model, tensors, one);
    const edited = await evaluate(model, data, { adapter, batchSize: 2 });
    expect(Math.abs(edited.loss / one.float64Loss - 1)).toBeLessThan(2e-6);
    expect((await evaluate(model, data, { adapter, batchSize: 1 })).loss).toBeCloseTo(edited.loss, 12);
  });
});

describe("gqa_bf16, computed in bf16: as near to fp32 as PyTorch's bf16, to half as far again", () => {
  const expected = expectedOf("gqa_bf16");
  const { settings, batches } = expected.training;
  const options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, decayToZero: false };

  /** Ten steps of the core's own; some of its sequences carry no loss, and a Trainer would leave them out. */
  async function lossesOf(model: LanguageModel, parameters: NativeAdapter | NativeParameters): Promise<number[]> {
    const optimizer = new (native().Optimizer)(parameters);
    const slot = "values" in parameters ? 1 : 0;
    const losses: number[] = [];
    for (const [step, stored] of batches.entries()) {
      const learningRate = learningRateAt("linear", settings.lr, step, settings.warmup, settings.steps);
      const tenants = [{ parameters, optimizer, options: { ...options, learningRate, maxGradNorm: settings.clip } }];
      const microBatches = stored.map((batch) => microBatch(batch, slot));
      const request = { tenants, microBatches, recompute: false, update: true };
      const [result] = await runJob(() => model.native.trainStep(request));
      losses.push(result!.loss);
    }
    optimizer.dispose();
    return losses;
  }

  const distance = (found: number[], run: "Red" | "Full") => ({
    ours: relativeError(found, expected.training[`float64${run}`].losses),
    theirs: relativeError(expected.training[`bf16${run}`].losses, expected.training[`float64${run}`].losses),
  });

  test("RED", async () => {
    using model = await loadFixture("gqa_bf16");
    using adapter = RedAdapter.create(model);
    const { ours, theirs } = distance(await lossesOf(model, adapter.native), "Red");
    expect(ours).toBeLessThanOrEqual(1.5 * theirs);
    const tensors = await tensorsOf("gqa_bf16");
    for (const [name, values] of adapter.vectors()) {
      const exact = tensors.get(`float64.train.red.${name}`)!;
      expect(relativeError(values, exact)).toBeLessThanOrEqual(
        1.5 * relativeError(tensors.get(`bf16.train.red.${name}`)!, exact),
      );
    }
  });

  test("all weights, through fp32 masters", async () => {
    using model = await loadFixture("gqa_bf16");
    const parameters = await runJob(() => model.native.makeTrainable());
    const { ours, theirs } = distance(await lossesOf(model, parameters), "Full");
    expect(ours).toBeLessThanOrEqual(1.5 * theirs);
    const tensors = await tensorsOf("gqa_bf16");
    for (const name of under(tensors, "train.full.").keys()) {
      const exact = tensors.get(`float64.train.full.${name}`)!;
      expect(relativeError(parameters.value(parameters.names.indexOf(name)), exact)).toBeLessThanOrEqual(
        1.5 * relativeError(tensors.get(`bf16.train.full.${name}`)!, exact),
      );
    }
  });
});

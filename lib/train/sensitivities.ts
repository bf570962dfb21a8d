import { createAdapter } from "../adapter/create";
import { elementCount } from "../adapter/files";
import { defineMethod } from "../adapter/method";
import { methodBase } from "../adapter/method_adapter";
import { checkedOption } from "../adapter/method_options";
import { addNorms } from "../adapter/norm_plan";
import { PlanBuilder } from "../adapter/plan";
import { type Sensitivities, sensitiveMatrices, sensitiveVectors } from "../adapter/sensitivities";
import { requireModel } from "../brands";
import { microBatchOf } from "../data/batches";
import type { Dataset } from "../data/dataset";
import type { Example } from "../data/types";
import { invalid, RubricateError } from "../errors";
import { Callback, runJob, throwIfAborted } from "../job";
import type { LanguageModel } from "../model/model";
import { type NativeMicroBatch, native } from "../native";
import { integer } from "../option_kinds";
import { booleanOf, checkOptions, functionOf, type OptionNames, signalOf } from "../options";
import { inSlices } from "../steps";
import { type ExampleSource, exampleSource, requireFit } from "./examples";
import { Plan } from "./plan";
import { TopEntries } from "./top_entries";

export interface SensitivityOptions {
  /** The examples to train on. */
  readonly train: Dataset | readonly Example[];
  /** The share of them that a `Trainer` with the same `eval` and `seed` splits off: it is left out here too. Default: none. */
  readonly eval?: number;
  /** How many weights to mark: those with the largest sensitivities. */
  readonly budget: number;
  /** Batches, those of the first steps of a `Trainer` with the same options. Default: 16. */
  readonly batches?: number;
  /** Sequences of a micro-batch. Default: 8. */
  readonly batchSize?: number;
  /** Micro-batches of a batch. Default: 1. */
  readonly gradientAccumulationSteps?: number;
  /** Default: true. */
  readonly shuffle?: boolean;
  /** Of the shuffling: an integer in [0, 2^53). Default: 0. */
  readonly seed?: number;
  /** Memory in MiB for gradients and their sums: all batches are computed once for as many matrices as it holds, at least one. Default: 1024. */
  readonly memoryMib?: number;
  readonly signal?: AbortSignal;
  /** Called with the number of passes over the batches done so far and in total. If it throws, the search ends and rejects with that. */
  readonly onProgress?: (progress: { done: number; total: number }) => void;
}

const optionNames: OptionNames<SensitivityOptions> = {
  ...{ train: true, eval: true, budget: true, batches: true, batchSize: true, gradientAccumulationSteps: true },
  ...{ shuffle: true, seed: true, memoryMib: true, signal: true, onProgress: true },
};

/** Bytes that a weight takes: the gradient of a batch, and the sum. */
const bytesOfAWeight = 8;
const counts = integer(1);

function checked(options: SensitivityOptions) {
  const {
    budget,
    batches,
    batchSize,
    gradientAccumulationSteps,
    shuffle,
    seed = 0,
    memoryMib = 1024,
    ...given
  } = checkOptions(options, optionNames, "sensitivities");
  if (!Number.isSafeInteger(seed) || seed < 0) throw invalid("seed", "an integer in [0, 2^53)", seed);
  if (!(typeof memoryMib === "number" && memoryMib > 0)) throw invalid("memoryMib", "a number above 0", memoryMib);
  const share = given.eval;
  if (share !== undefined && !(typeof share === "number" && share > 0 && share < 1))
    throw invalid("eval", "a number between 0 and 1", share);
  return {
    train: given.train,
    share,
    budget: checkedOption("budget", counts, budget),
    batches: checkedOption("batches", counts, batches ?? 16),
    memoryMib,
    run: {
      batchSize: checkedOption("batchSize", counts, batchSize ?? 8),
      gradientAccumulationSteps: checkedOption("gradientAccumulationSteps", counts, gradientAccumulationSteps ?? 1),
      shuffle: booleanOf("shuffle", shuffle, true),
      seed,
    },
    signal: signalOf(given.signal),
    onProgress: functionOf("onProgress", given.onProgress),
  };
}

/**
 * Finds the weights that data is most sensitive to, for `spt`: those with the largest sums, over batches, of the squares of their gradients
 * (He et al., arXiv 2303.08566). These are the weights of the linear layers of all blocks, their biases, and the norms; of equal sums the first
 * count, matrices before biases before norms. The model is not changed.
 * @throws RubricateError ERR_ARGUMENT, also for a budget above the number of weights with a gradient; ERR_DATA, ERR_CONTEXT_LENGTH,
 * ERR_NOT_FINITE, ERR_OUT_OF_MEMORY, ERR_ABORTED, ERR_DISPOSED
 */
export async function sensitivities(model: LanguageModel, options: SensitivityOptions): Promise<Sensitivities> {
  requireModel(model);
  const given = checked(options);
  const { budget, signal } = given;
  let source = await exampleSource(given.train, "train", model.architecture.vocabulary);
  if (given.share !== undefined) source = (await source.splitInSlices(given.share, given.run.seed)).train;
  requireFit(source, model.contextLength, "train", "the model's context");
  const base = methodBase(model);
  const matrices = sensitiveMatrices(base);
  const vectors = sensitiveVectors(base);
  const total = [...matrices, ...vectors].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  if (budget > total) throw invalid("budget", `at most ${total}, the weights that spt can train,`, budget);
  const groups = groupsOf(matrices, (given.memoryMib * 2 ** 20) / bytesOfAWeight);
  const progress = new Callback(given.onProgress);
  const top = new TopEntries(budget);
  return progress.during(async () => {
    const steps = await stepsOf(model, source, given);
    let first = 0;
    for (const [at, group] of groups.entries()) {
      throwIfAborted(signal);
      const sites = group.map((matrix) => matrix.at);
      const sums = await runJob(() => model.native.squaredGradients(sites, steps), signal, progress);
      for (const sum of sums) await inSlices(top.add(first++, sum), signal);
      progress.tell({ done: at + 1, total: groups.length + 1 });
      progress.throwIfFailed();
    }
    const sums = await vectorSums(model, steps, signal);
    for (const { name } of vectors) await inSlices(top.add(first++, sums.get(name)!), signal);
    progress.tell({ done: groups.length + 1, total: groups.length + 1 });
    const names = [...matrices, ...vectors].map(({ name }) => name);
    return { budget, marked: await inSlices(top.marked(names), signal) };
  });
}

/** Neighbouring matrices that have at most so many weights together, at least one. */
function groupsOf<T extends { readonly shape: readonly number[] }>(matrices: readonly T[], most: number): T[][] {
  const groups: T[][] = [];
  let free = 0;
  for (const matrix of matrices) {
    const size = elementCount(matrix.shape);
    if (groups.length === 0 || size > free) {
      groups.push([]);
      free = most;
    }
    groups.at(-1)!.push(matrix);
    free -= size;
  }
  return groups;
}

/** The micro-batches of the first steps of a run. */
async function stepsOf(
  model: LanguageModel,
  source: ExampleSource,
  { batches, run }: Pick<ReturnType<typeof checked>, "batches" | "run">,
): Promise<NativeMicroBatch[][]> {
  const plan = new Plan(source, { ...run, groupByLength: false, packing: undefined, maxSteps: batches, epochs: 1 });
  const steps: NativeMicroBatch[][] = [];
  let cursor = { epoch: 0, microBatch: 0 };
  for (let step = 0; step < batches; step++) {
    const { indices, after } = await plan.next(cursor);
    cursor = after;
    const microBatches: NativeMicroBatch[] = [];
    for (const own of indices)
      microBatches.push(microBatchOf(await source.examples(own), 0, model.architecture.vocabulary));
    steps.push(microBatches);
  }
  return steps;
}

/** An adapter that changes nothing, whose gradients are those of the base's biases and norms. */
const probe = defineMethod<object, object>({
  kind: "vectors",
  options: [],
  check: () => ({}),
  plan(_, base) {
    const builder = new PlanBuilder();
    const biases = new Set(sensitiveVectors(base).map(({ name }) => name));
    for (const { name, shape, at } of sensitiveMatrices(base)) {
      const bias = name.replace(/weight$/, "bias");
      if (biases.has(bias)) builder.site({ ...at, bias: builder.undecayed(bias, [shape[0]], 0) });
    }
    addNorms(builder, base.architecture);
    return builder.plan;
  },
});

/** The sums of the vectors, which are small, by name. */
async function vectorSums(
  model: LanguageModel,
  steps: readonly (readonly NativeMicroBatch[])[],
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, Float32Array>> {
  using adapter = await createAdapter(model, probe);
  const sums = new Map([...adapter.vectors()].map(([name, { length }]) => [name, new Float32Array(length)]));
  const optimizer = new (native().Optimizer)(adapter.native);
  try {
    const unused = {
      learningRate: 0,
      beta1: 0,
      beta2: 0,
      epsilon: 1,
      weightDecay: 0,
      decayToZero: false,
      maxGradNorm: 0,
    };
    for (const step of steps) {
      const microBatches = step.map((batch) => ({ ...batch, slots: batch.slots!.map(() => 1) }));
      const tenants = [{ parameters: adapter.native, optimizer, options: unused }];
      await runJob(() => model.native.trainStep({ tenants, microBatches, recompute: false, update: false }), signal);
      for (const [name, gradient] of adapter.gradients()) {
        const sum = sums.get(name)!;
        for (const [at, one] of gradient.entries()) sum[at]! += one * one;
      }
    }
  } finally {
    optimizer.dispose();
  }
  for (const [name, sum] of sums)
    if (!sum.every(Number.isFinite))
      throw new RubricateError("ERR_NOT_FINITE", `The squared gradient of ${name} is not finite`);
  return sums;
}

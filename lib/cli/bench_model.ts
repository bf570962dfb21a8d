/** Benchmarks of a model: a training step, prefill, decoding, and decoding that switches adapters at every token. */
import { RedAdapter } from "../adapter/red_adapter";
import { greedy } from "../generate/sampling_options";
import { runJob } from "../job";
import type { LanguageModel } from "../model/model";
import { native } from "../native";
import { type BenchCase, disposeAll } from "./bench_cases";

type ModelCase = BenchCase<[model: LanguageModel]>;

const idsFor = (count: number, { vocabularySize }: LanguageModel) =>
  Int32Array.from({ length: count }, (_, at) => (7 * at + 3) % vocabularySize);

/** Sequences of equal length; all tokens except the first are targets. */
function microBatch(sequences: number, length: number, model: LanguageModel) {
  const tokenIds = idsFor(sequences * length, model);
  return {
    tokenIds,
    sequenceStarts: Int32Array.from({ length: sequences + 1 }, (_, at) => at * length),
    targets: tokenIds.map((_, at) => (at % length === length - 1 ? -1 : tokenIds[at + 1]!)),
    slots: new Int32Array(sequences).fill(1),
  };
}

/** An optimizer step of RED after the feed-forward of every layer. */
export function trainingStep(sequences: number, length: number): ModelCase {
  return {
    group: "training step",
    name: `${sequences} sequences of ${length} tokens`,
    unit: "tokens/s",
    work: sequences * length,
    start(model) {
      const adapter = RedAdapter.create(model);
      const optimizer = new (native().Optimizer)(adapter.native);
      const options = {
        learningRate: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weightDecay: 0,
        decayToZero: false,
        maxGradNorm: 1,
      };
      const tenants = [{ parameters: adapter.native, optimizer, options }];
      const request = { tenants, microBatches: [microBatch(sequences, length, model)], recompute: false, update: true };
      return { run: () => runJob(() => model.native.trainStep(request)), end: () => disposeAll([optimizer, adapter]) };
    },
  };
}

/** The logits of a prompt's last token. */
export function prefill(length: number): ModelCase {
  return {
    group: "prefill",
    name: `${length} tokens`,
    unit: "tokens/s",
    work: length,
    start(model) {
      const tokenIds = idsFor(length, model);
      const batch = { tokenIds, sequenceStarts: Int32Array.of(0, length), slots: Int32Array.of(0) };
      return { run: () => runJob(() => model.native.logits(batch, [], Int32Array.of(length - 1))), end() {} };
    },
  };
}

/** A generation on the model's engine, as `generate` runs it, but without text and without tokens that end it. */
async function generated(model: LanguageModel, tokenIds: Int32Array, maxNewTokens: number, adapter: RedAdapter | null) {
  const version = adapter && (await runJob(() => model.native.publish(adapter.native)));
  const stream = await model.engine.submit({
    ...{ tokenIds, version, sampling: greedy, maxNewTokens, stopIds: new Int32Array() },
    ...{ tenant: 0, weight: 1, topLogProbs: -1, scoreFrom: -1, deadlineMs: 0 },
  });
  version?.dispose();
  while ((await stream.next()) !== undefined) stream.taken();
}

/**
 * A sequence of the base or of one adapter; two sequences, each of an adapter of its own, which share steps. At most 64
 * tokens each: of a longer one the engine would find the first keys and values of the run before.
 */
export function decoding(promptTokens: number, newTokens: number, adapters: 0 | 1 | 2): ModelCase {
  const sequences = Math.max(adapters, 1);
  return {
    group: adapters > 1 ? "adapter switch" : "decoding",
    name: `${newTokens} tokens after ${promptTokens}, ${["base only", "one adapter", "two sequences, an adapter each"][adapters]}`,
    unit: "tokens/s",
    work: sequences * newTokens,
    start(model) {
      const taken = Array.from({ length: adapters }, () => RedAdapter.create(model));
      const prompt = idsFor(promptTokens, model);
      return {
        run: () =>
          Promise.all(
            Array.from({ length: sequences }, (_, at) => generated(model, prompt, newTokens, taken[at] ?? null)),
          ),
        end: () => disposeAll(taken),
      };
    },
  };
}

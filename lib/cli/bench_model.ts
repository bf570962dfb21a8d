/** Benchmarks of a model: a training step, prefill, decoding, and decoding that switches adapters at every token. */
import { RedAdapter } from "../adapter/red_adapter";
import { runJob } from "../job";
import type { LlamaModel } from "../model/model";
import { native } from "../native";
import { type BenchCase, disposeAll } from "./bench_cases";

type ModelCase = BenchCase<[model: LlamaModel]>;

const idsFor = (count: number, { vocabularySize }: LlamaModel) =>
  Int32Array.from({ length: count }, (_, at) => (7 * at + 3) % vocabularySize);

/** Sequences of equal length; all tokens except the first are targets. */
function microBatch(sequences: number, length: number, model: LlamaModel) {
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

const greedy = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  logitBias: null,
  seed: 0,
};

/** Each token uses the next of `adapters` adapters, cyclically; 0: only the base. */
export function decoding(promptTokens: number, newTokens: number, adapters: 0 | 1 | 2): ModelCase {
  return {
    group: adapters > 1 ? "adapter switch" : "decoding",
    name: `${newTokens} tokens after ${promptTokens}, ${["base only", "one adapter", "two adapters in turn"][adapters]}`,
    unit: "tokens/s",
    work: newTokens,
    start(model) {
      const taken = Array.from({ length: adapters }, () => RedAdapter.create(model));
      const prompt = idsFor(promptTokens, model);
      return {
        async run() {
          const decoder = model.native.createDecoder();
          const sequence = decoder.addSequence();
          let tokenIds = prompt;
          for (let at = 0; at < newTokens; at++) {
            const adapter = adapters > 0 ? taken[at % adapters]!.native : null;
            const request = { sequence, tokenIds, adapter, sampling: greedy };
            tokenIds = Int32Array.from(await runJob(() => decoder.step([request], 256)));
          }
          decoder.dispose();
        },
        end: () => disposeAll(taken),
      };
    },
  };
}

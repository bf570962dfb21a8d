/**
 * Models with random weights at work: a training step, decoding, and decoding where every token has another adapter.
 * Cases as in op_cases.mjs; `models` gives a folder for a shape and dtype.
 */
import { native, rubricate } from "./package.mjs";

const { LlamaModel, RedAdapter } = rubricate;

const ids = (count, vocabulary) => Int32Array.from({ length: count }, (_, i) => (7 * i + 3) % vocabulary);

const optimizer = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  decayToZero: false,
  maxGradNorm: 1,
};

/** Sequences of equal length, all of whose tokens but the first are targets. */
function microBatch(sequences, length, vocabulary) {
  const tokenIds = ids(sequences * length, vocabulary);
  return {
    tokenIds,
    sequenceStarts: Int32Array.from({ length: sequences + 1 }, (_, i) => i * length),
    targets: tokenIds.map((_, i) => (i % length === length - 1 ? -1 : tokenIds[i + 1])),
    slots: new Int32Array(sequences).fill(1),
  };
}

function trainStep(models, shape, dtype, sequences, length, slow) {
  return {
    group: "training step",
    name: `${shape}, ${dtype}, ${sequences} sequences of ${length} tokens`,
    unit: "tokens/s",
    work: sequences * length,
    slow,
    async start() {
      const model = await LlamaModel.fromPretrained(models(shape, dtype));
      const adapter = RedAdapter.create(model);
      const state = new native.Optimizer(adapter.native);
      const microBatches = [microBatch(sequences, length, model.vocabularySize)];
      const tenants = [{ parameters: adapter.native, optimizer: state, options: optimizer }];
      const request = { tenants, microBatches, recompute: false, update: true };
      return {
        run: () => model.native.trainStep(request).promise,
        end() {
          state.dispose();
          adapter.dispose();
          model.dispose();
        },
      };
    },
  };
}

const promptTokens = 16;
const newTokens = 32;
const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

/** `adapters` of which each token takes the next in turn; none: the base alone. */
function decoding(models, shape, dtype, adapters, slow) {
  const names = ["base alone", "one adapter", "two adapters in turn"];
  return {
    group: adapters > 1 ? "adapter switch" : "decoding",
    name: `${shape}, ${dtype}, ${newTokens} tokens after ${promptTokens}, ${names[adapters]}`,
    unit: "tokens/s",
    work: newTokens,
    slow,
    async start() {
      const model = await LlamaModel.fromPretrained(models(shape, dtype));
      const taken = Array.from({ length: adapters }, () => RedAdapter.create(model));
      const prompt = ids(promptTokens, model.vocabularySize);
      return {
        async run() {
          const decoder = model.native.createDecoder();
          const sequence = decoder.addSequence();
          let tokenIds = prompt;
          for (let i = 0; i < newTokens; i++) {
            const adapter = adapters > 0 ? taken[i % adapters].native : null;
            tokenIds = await decoder.step([{ sequence, tokenIds, adapter, sampling: greedy }], 256).promise;
          }
          decoder.dispose();
        },
        end() {
          for (const adapter of taken) adapter.dispose();
          model.dispose();
        },
      };
    },
  };
}

export function modelCases(models) {
  const dtypes = ["float32", "bfloat16"];
  const decodings = (adapters) =>
    dtypes.flatMap((dtype) => [
      decoding(models, "embedded", dtype, adapters, false),
      decoding(models, "15m", dtype, adapters, true),
    ]);
  return [
    ...dtypes.flatMap((dtype) => [
      trainStep(models, "embedded", dtype, 8, 64, false),
      trainStep(models, "15m", dtype, 4, 256, true),
    ]),
    ...[0, 1, 2].flatMap(decodings),
  ];
}

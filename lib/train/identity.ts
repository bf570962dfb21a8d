import type { Settings } from "./options";

/** What a run is: its continuation must agree in every field. */
export type RunIdentity = Readonly<Record<string, unknown>>;

/** What of the settings a continuation must share. */
export function identityOf(settings: Settings): RunIdentity {
  const { method, learningRate, schedule, epochs, maxSteps, batchSize, gradientAccumulationSteps } = settings;
  const { packing, groupByLength, shuffle, weightDecay, weightDecayTarget, beta1, beta2, epsilon } = settings;
  const { maxGradNorm, seed, evalEverySteps, evalEveryEpoch, earlyStopping, keepBest, adapter } = settings;
  return {
    method,
    adapter: adapter?.config ?? null,
    learningRate,
    schedule,
    epochs: maxSteps === undefined ? epochs : null,
    maxSteps: maxSteps ?? null,
    batchSize: packing ? null : batchSize,
    packing: packing ?? null,
    gradientAccumulationSteps,
    groupByLength,
    shuffle,
    seed,
    weightDecay,
    weightDecayTarget,
    beta1,
    beta2,
    epsilon,
    maxGradNorm,
    evalEverySteps: evalEverySteps ?? null,
    evalEveryEpoch,
    earlyStopping: earlyStopping ?? null,
    keepBest,
  };
}

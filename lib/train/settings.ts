import { resolve } from "node:path";
import { requireAdapter, requireModel } from "../brands";
import { invalid } from "../errors";
import { adapterHandle } from "../model/checks";
import { checkOptions, type OptionNames } from "../options";
import { checkRunOptions } from "./option_checks";
import type { Settings, TrainerOptions } from "./options";

const optionNames: OptionNames<TrainerOptions> = {
  model: true,
  adapter: true,
  method: true,
  train: true,
  eval: true,
  outputDir: true,
  learningRate: true,
  schedule: true,
  warmupSteps: true,
  warmupRatio: true,
  epochs: true,
  maxSteps: true,
  batchSize: true,
  gradientAccumulationSteps: true,
  packing: true,
  groupByLength: true,
  shuffle: true,
  weightDecay: true,
  weightDecayTarget: true,
  beta1: true,
  beta2: true,
  epsilon: true,
  maxGradNorm: true,
  seed: true,
  maxLength: true,
  evalEverySteps: true,
  evalEveryEpoch: true,
  earlyStopping: true,
  keepBest: true,
  checkpointEverySteps: true,
  keepCheckpoints: true,
  recompute: true,
  loggers: true,
  resume: true,
};

/** @throws RubricateError ERR_ARGUMENT naming the option; ERR_FOREIGN, ERR_DISPOSED for the adapter */
export function checkedSettings(given: TrainerOptions): Settings {
  const options = checkOptions(given, optionNames, "Trainer");
  const { model, adapter } = options;
  requireModel(model);
  const { method = "red" } = options;
  if (method !== "red" && method !== "full") throw invalid("method", '"red" or "full"', method);
  if (method === "red") {
    requireAdapter(adapter);
    adapterHandle(adapter, model);
  } else if (adapter !== undefined) throw invalid("adapter", 'none with method "full"', adapter);
  checkRunOptions(options);
  const evaluates = options.eval !== undefined;
  return {
    ...options,
    method,
    learningRate: options.learningRate ?? 1e-3,
    schedule: options.schedule ?? "linear",
    epochs: options.epochs ?? 3,
    batchSize: options.batchSize ?? 8,
    gradientAccumulationSteps: options.gradientAccumulationSteps ?? 1,
    packing: packingOf(options.packing, model.contextLength),
    groupByLength: options.groupByLength ?? false,
    shuffle: options.shuffle ?? true,
    weightDecay: options.weightDecay ?? 0,
    weightDecayTarget: options.weightDecayTarget ?? "identity",
    beta1: options.beta1 ?? 0.9,
    beta2: options.beta2 ?? 0.999,
    epsilon: options.epsilon ?? 1e-8,
    maxGradNorm: options.maxGradNorm ?? 1,
    seed: options.seed ?? 42,
    maxLength: Math.min(options.maxLength ?? model.contextLength, model.contextLength),
    evalEveryEpoch: options.evalEveryEpoch ?? evaluates,
    keepBest: options.keepBest ?? evaluates,
    keepCheckpoints: options.keepCheckpoints ?? 2,
    recompute: options.recompute ?? false,
    loggers: options.loggers ?? (options.outputDir === undefined ? [] : ["jsonl"]),
    resume: resolvedResume(options.resume ?? false),
    // Now: the working directory may change before the run begins, and during it.
    ...(options.outputDir === undefined ? {} : { outputDir: resolve(options.outputDir) }),
  };
}

/** A checkpoint by its absolute path; true, false and "auto" stay as they are. */
export function resolvedResume(resume: boolean | string): boolean | string {
  return typeof resume !== "string" || resume === "" || resume === "auto" ? resume : resolve(resume);
}

function packingOf(packing: TrainerOptions["packing"], contextLength: number): { maxTokens: number } | undefined {
  if (packing === undefined || packing === false) return undefined;
  return { maxTokens: packing === true ? contextLength : packing.maxTokens };
}

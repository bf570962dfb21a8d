import { resolve } from "node:path";
import { adapterHandle, type RedAdapter } from "../adapter/red_adapter";
import { requireAdapter, requireModel } from "../brands";
import type { Dataset } from "../data/dataset";
import type { Example } from "../data/types";
import { invalid } from "../errors";
import type { LlamaModel } from "../model/model";
import { checkOptions, type OptionNames } from "../options";
import { checkRunOptions } from "./option_checks";
import type { Schedule } from "./schedule";

export type LoggerName = "jsonl" | "tensorboard";

/** What a run is made of. */
export interface TrainerOptions {
  readonly model: LlamaModel;
  /** What is trained with method "red". */
  readonly adapter?: RedAdapter;
  /** "red" trains the adapter, "full" all weights of the model. Default: "red" where an adapter is given. */
  readonly method?: "red" | "full";
  /** Of an array a run takes a copy as it begins. */
  readonly train: Dataset | readonly Example[];
  /** Examples to evaluate with, or the share of `train` to set aside for it, in (0, 1), parted by the seed. */
  readonly eval?: Dataset | readonly Example[] | number;
  /** Folder for checkpoints, logs and `best`: the adapter, or with method "full" the model, of the lowest evaluation loss. */
  readonly outputDir?: string;
  /** The highest of the schedule. Default: 1e-3. */
  readonly learningRate?: number;
  /** As in transformers. Default: "linear". */
  readonly schedule?: Schedule;
  /** Optimizer steps over which the learning rate rises from 0. */
  readonly warmupSteps?: number;
  /** The same as a share of all steps, rounded up. Default: 0. */
  readonly warmupRatio?: number;
  /** Passes over the data. Default: 3. */
  readonly epochs?: number;
  /** Optimizer steps; takes the place of `epochs`, as in transformers. */
  readonly maxSteps?: number;
  /** Sequences of a micro-batch; of no account with packing. Default: 8. */
  readonly batchSize?: number;
  /** Micro-batches of an optimizer step. The last step of an epoch takes what is left. Default: 1. */
  readonly gradientAccumulationSteps?: number;
  /** Micro-batches of as many whole sequences as have `maxTokens` (true: the model's context) tokens together. */
  readonly packing?: boolean | { readonly maxTokens: number };
  /** Micro-batches of sequences of about the same length. Default: false. */
  readonly groupByLength?: boolean;
  /** A new order each epoch. Default: true. */
  readonly shuffle?: boolean;
  /** Decoupled, as AdamW's. Default: 0. */
  readonly weightDecay?: number;
  /** What decay pulls scales to: "identity" to 1 (default), "zero" to 0, as the reference implementation does. */
  readonly weightDecayTarget?: "identity" | "zero";
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  /** The gradient is scaled down to this norm; 0: never. Default: 1. */
  readonly maxGradNorm?: number;
  /** Of orders and splits, integer in [0, 2^53). Default: 42. */
  readonly seed?: number;
  /** Examples with more tokens are refused with ERR_CONTEXT_LENGTH. Default: the model's context. */
  readonly maxLength?: number;
  readonly evalEverySteps?: number;
  /** Default: true where `eval` is given. */
  readonly evalEveryEpoch?: boolean;
  /** Stops after `patience` evaluations in a row of which none was lower by more than `minDelta` (default 0). */
  readonly earlyStopping?: { readonly patience: number; readonly minDelta?: number };
  /**
   * The run leaves the parameters of the lowest evaluation loss, as load_best_model_at_end does in transformers; until then a
   * copy of them stays in memory, in fp32. With an `outputDir` they are written into its `best` each time they are found, too.
   * Default: true where `eval` is given.
   */
  readonly keepBest?: boolean;
  readonly checkpointEverySteps?: number;
  /** Checkpoints that stay; older ones go. Default: 2. */
  readonly keepCheckpoints?: number;
  /**
   * Blocks keep their input alone and run again in the backward: less memory, a third to a half more time, the same bits. "auto":
   * in steps of which a micro-batch would store more than half of the free memory, that is of what the process may still take
   * as the run begins, less the model's mapped weights. Default: false.
   */
  readonly recompute?: boolean | "auto";
  /** Default: ["jsonl"] where `outputDir` is given. */
  readonly loggers?: readonly LoggerName[];
  /** See `Trainer.run`. */
  readonly resume?: boolean | "auto" | string;
}

type Defaulted =
  | "learningRate"
  | "schedule"
  | "epochs"
  | "batchSize"
  | "gradientAccumulationSteps"
  | "groupByLength"
  | "shuffle"
  | "weightDecay"
  | "weightDecayTarget"
  | "beta1"
  | "beta2"
  | "epsilon"
  | "maxGradNorm"
  | "seed"
  | "evalEveryEpoch"
  | "keepBest"
  | "keepCheckpoints"
  | "loggers"
  | "maxLength"
  | "method";

/** Options with their defaults, checked. */
export type Settings = Omit<TrainerOptions, Defaulted | "packing" | "recompute" | "resume"> &
  Required<Pick<TrainerOptions, Defaulted>> & {
    readonly packing: { readonly maxTokens: number } | undefined;
    readonly recompute: boolean | "auto";
    readonly resume: boolean | string;
  };

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
    requireAdapter(adapter as RedAdapter);
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

/** With the absolute path of a checkpoint that is named; what is no path stays as it is. */
export function resolvedResume(resume: boolean | string): boolean | string {
  return typeof resume !== "string" || resume === "" || resume === "auto" ? resume : resolve(resume);
}

function packingOf(packing: TrainerOptions["packing"], contextLength: number): { maxTokens: number } | undefined {
  if (packing === undefined || packing === false) return undefined;
  return { maxTokens: packing === true ? contextLength : packing.maxTokens };
}

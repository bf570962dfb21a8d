/**
 * The options of a run, each declared once. From this table come the types, defaults and checks of `Trainer`, what a
 * checkpoint stores of them, the flags of `rubricate train`, and both documents. Relations between options are in
 * option_checks.ts. The doc comments are those of `TrainerOptions`; the order is that of a checkpoint's identity.
 */
import {
  belowOne,
  boolean,
  booleanOr,
  booleanOrPath,
  booleanOrRecord,
  choice,
  integer,
  list,
  nonNegativeFloat32,
  number,
  numberOr,
  optional,
  path,
  positiveFloat32,
  record,
} from "../option_kinds";
import { defaultLearningRate, defaultMethod, type TrainingMethod, trainingMethods } from "./learning_rates";
import { type Option, option, type RunFacts } from "./option";
import { type Schedule, schedules } from "./schedule";

export type LoggerName = "jsonl" | "tensorboard";

const count = integer(1);
const withEvaluation = ({ evaluates }: RunFacts) => evaluates;

export const trainingOptions = {
  /** Folder for checkpoints, logs and `best`: the adapter, or with method "full" the model, of the lowest evaluation loss. */
  outputDir: option(path("DIR"), {
    default: undefined,
    identity: false,
    flags: { out: { help: "output folder" } },
  }),
  /** true, "auto" or a checkpoint's path: resumes a run, see `Trainer.run`. Default: false. */
  resume: option(booleanOrPath("auto|DIR", 'true, false, "auto" or the path of a checkpoint'), {
    default: false,
    identity: false,
    flags: {
      resume: {
        help: "resumes from the newest checkpoint in --out; =auto: if there is one; =DIR: from that checkpoint",
        alone: true,
      },
    },
  }),
  /**
   * Starts the run even if `outputDir` has the results of another one: its adapter, its `best`, its checkpoints, or with
   * method "full" its model. They stay until the run has a checkpoint or a result in their place. With `resume`, the run
   * still resumes from its own checkpoints. The model that is trained on is never overwritten. Default: false.
   */
  overwrite: option(boolean, {
    default: false,
    identity: false,
    flags: { overwrite: { help: "replaces the results of another run in --out", alone: true } },
  }),
  /** The method of the adapter, such as "red", or "full": trains all weights of the model. Default: that of the adapter. */
  method: option(choice(trainingMethods), {
    default: ({ method }) => method as TrainingMethod, // one of one's own is not among the names
    identity: true,
    flags: {
      method: {
        help: "trains an adapter of this method (docs/methods.md), or all weights of the model",
        default: defaultMethod,
      },
    },
  }),
  /**
   * The highest learning rate of the schedule. "sweep": a short search on `eval` finds it before the run, see
   * docs/training.md. Default: 0.1 for RED at ffn, 0.03 for RED at other sites, 0.005 for LoRA, 0.06 for (IA)3, 0.001
   * with method "full"; less for models wider than 200.
   */
  learningRate: option(numberOr(nonNegativeFloat32, "sweep"), {
    default: defaultLearningRate,
    identity: true,
    flags: {
      learningRate: {
        help: "the highest learning rate of the schedule; sweep: the one that a short search on --eval finds",
        default:
          "0.1 for RED at ffn, 0.03 at other sites, 0.005 for LoRA, 0.06 for (IA)3, 0.001 with --method full; less for models wider than 200",
      },
    },
  }),
  /** As in transformers. Default: "linear". */
  schedule: option(choice<Schedule>(schedules), {
    default: "linear",
    identity: true,
    flags: { schedule: { help: "how the learning rate falls" } },
  }),
  /** Optimizer steps during which the learning rate rises linearly from 0. */
  warmupSteps: option(integer(0), {
    default: undefined,
    identity: false, // the identity has the resulting steps of warmupSteps or warmupRatio
    flags: { warmupSteps: { help: "steps over which the learning rate rises" } },
  }),
  /** The same as a share of all steps, in [0, 1], rounded up; 0 if neither is given. */
  warmupRatio: option(number(0, 1), {
    default: undefined,
    identity: false,
    flags: { warmupRatio: { help: "the same as a share of all steps", default: "0" } },
  }),
  /** Passes over the data. Default: 3. */
  epochs: option(count, {
    default: 3,
    identity: { unless: "maxSteps" },
    flags: { epochs: { help: "passes over the data" } },
  }),
  /** Optimizer steps; replaces `epochs`, as in transformers. */
  maxSteps: option(count, {
    default: undefined,
    identity: true,
    flags: { maxSteps: { help: "optimizer steps, instead of --epochs" } },
  }),
  /** Sequences of a micro-batch; ignored with packing. Default: 8. */
  batchSize: option(count, {
    default: 8,
    identity: { unless: "packing" },
    flags: { batchSize: { help: "sequences of a micro-batch" } },
  }),
  /**
   * Fills micro-batches with whole sequences, up to `maxTokens` tokens together; true: up to the model's context. Default:
   * false.
   */
  packing: option(booleanOrRecord(record<{ readonly maxTokens: number }>({ maxTokens: count })), {
    default: false,
    identity: true,
    flags: {
      packing: {
        help: "fills micro-batches with whole sequences up to this many tokens; without a value: the model's context",
        placeholder: "TOKENS",
        field: "maxTokens",
        alone: true,
      },
    },
  }),
  /** Micro-batches of an optimizer step. The last step of an epoch takes those that remain. Default: 1. */
  gradientAccumulationSteps: option(count, {
    default: 1,
    identity: true,
    flags: { gradientAccumulationSteps: { help: "micro-batches of a step" } },
  }),
  /** Makes micro-batches of sequences of about the same length. Default: false. */
  groupByLength: option(boolean, {
    default: false,
    identity: true,
    flags: { groupByLength: { help: "makes micro-batches of sequences of about the same length", alone: true } },
  }),
  /** Shuffles the examples in each epoch. Default: true. */
  shuffle: option(boolean, {
    default: true,
    identity: true,
    flags: { noShuffle: { help: "keeps the order of the data", alone: false } },
  }),
  /** Seed of orders and splits. Default: 42. */
  seed: option(integer(0, Number.MAX_SAFE_INTEGER, "an integer from 0 to 2^53 - 1"), {
    default: 42,
    identity: true,
    flags: { seed: { help: "the same seed gives the same result" } },
  }),
  /** Decoupled weight decay, as in AdamW. Default: 0. */
  weightDecay: option(nonNegativeFloat32, {
    default: 0,
    identity: true,
    flags: { weightDecay: { help: "decoupled weight decay" } },
  }),
  /** What decay pulls scales to: "identity" to 1, "zero" to 0, as the reference implementation does. Default: "identity". */
  weightDecayTarget: option(choice(["identity", "zero"]), {
    default: "identity",
    identity: true,
    flags: { weightDecayTarget: { help: "what weight decay pulls scales to: 1, or 0 as in the reference" } },
  }),
  /** Decay rate of AdamW's first moment. Default: 0.9. */
  beta1: option(belowOne, {
    default: 0.9,
    identity: true,
    flags: { beta1: { help: "decay rate of AdamW's first moment, below 1" } },
  }),
  /** Decay rate of AdamW's second moment. Default: 0.999. */
  beta2: option(belowOne, {
    default: 0.999,
    identity: true,
    flags: { beta2: { help: "decay rate of AdamW's second moment, below 1" } },
  }),
  /** Added to the denominator of AdamW's update. Default: 1e-8. */
  epsilon: option(positiveFloat32, {
    default: 1e-8,
    identity: true,
    flags: { epsilon: { help: "added to the denominator of AdamW's update, above 0" } },
  }),
  /** Maximum norm of the gradients: larger ones are scaled down to it; 0: no clipping. Default: 1. */
  maxGradNorm: option(nonNegativeFloat32, {
    default: 1,
    identity: true,
    flags: {
      maxGradNorm: { help: "maximum norm of the gradients: larger ones are scaled down to it; 0: no clipping" },
    },
  }),
  /** Refuses examples with more tokens with ERR_CONTEXT_LENGTH. Default: the model's context. */
  maxLength: option(count, {
    default: ({ contextLength }) => contextLength,
    identity: false, // it changes no example
    flags: {}, // the command line truncates rows when it reads the data
  }),
  /** Number of optimizer steps between evaluations. Needs `eval`. */
  evalEverySteps: option(count, {
    default: undefined,
    identity: true,
    flags: { evalEverySteps: { help: "evaluates every N steps" } },
  }),
  /** Evaluates at the end of each epoch. Default: whether `eval` is given. */
  evalEveryEpoch: option(boolean, {
    default: withEvaluation,
    identity: true,
    flags: { noEvalEveryEpoch: { help: "does not evaluate at the end of each epoch", alone: false } },
  }),
  /**
   * Evaluates before the first step, like eval_on_start in transformers: the base line, an `eval` event of step 0. It changes nothing
   * of the run: it is neither the best evaluation nor one that `earlyStopping` counts. Needs `eval`. Default: false.
   */
  evalOnStart: option(boolean, {
    default: false,
    identity: false, // it changes no result
    flags: { evalOnStart: { help: "evaluates before the first step too", alone: true } },
  }),
  /**
   * Stops after `patience` consecutive evaluations without a loss lower than the best by more than `minDelta` (default 0).
   * Needs `eval`.
   */
  earlyStopping: option(
    record<{ readonly patience: number; readonly minDelta?: number }>({
      patience: count,
      minDelta: optional(number(0)),
    }),
    {
      default: undefined,
      identity: true,
      flags: {
        earlyStopping: { help: "stops after this many consecutive evaluations without improvement", field: "patience" },
        earlyStoppingMinDelta: {
          help: "minimum decrease of the loss that counts as an improvement",
          field: "minDelta",
          default: "0",
        },
      },
    },
  ),
  /**
   * The run ends with the parameters of the lowest evaluation loss, like load_best_model_at_end in transformers; until then
   * a copy of them stays in memory, in fp32. With an `outputDir` they are also written into its `best` folder at each new
   * lowest loss. Default: whether `eval` is given.
   */
  keepBest: option(boolean, {
    default: withEvaluation,
    identity: true,
    flags: {
      noKeepBest: { help: "keeps the last parameters, not those of the lowest evaluation loss", alone: false },
    },
  }),
  /**
   * Minutes between checkpoints, counted from the last one, whatever was its reason; a checkpoint is written after the step
   * during which they have passed. 0: none by time. With an `outputDir` the last step has a checkpoint too, unless this is 0
   * and `checkpointEverySteps` is not given. Only the clock decides when a checkpoint is written, and a checkpoint changes no
   * bit of the training. Default: 10.
   */
  checkpointEveryMinutes: option(number(0), {
    default: 10,
    identity: false,
    flags: {
      checkpointEveryMinutes: { help: "writes a checkpoint every X minutes, and one of the last step; 0: none" },
    },
  }),
  /**
   * Number of optimizer steps between checkpoints, in addition to those of `checkpointEveryMinutes`; the last step has one
   * too. Needs `outputDir`.
   */
  checkpointEverySteps: option(count, {
    default: undefined,
    identity: false,
    flags: { checkpointEverySteps: { help: "writes a checkpoint every N steps" } },
  }),
  /** Number of checkpoints to keep; older ones are removed. Default: 2. */
  keepCheckpoints: option(count, {
    default: 2,
    identity: false,
    flags: { keepCheckpoints: { help: "number of checkpoints to keep" } },
  }),
  /**
   * Activation checkpointing: each block stores only its input and is recomputed in the backward pass. It takes less
   * memory, a third to a half more time, and gives bit-identical results. "auto" turns it on for steps with a micro-batch
   * whose activations would take more than half of the memory that the process could still use when the run began, less the
   * model's mapped weights. Default: false.
   */
  recompute: option(booleanOr("auto"), {
    default: false,
    identity: false,
    flags: {
      recompute: {
        help: "recomputes blocks in the backward pass: less memory, more time; auto: if memory is short",
        alone: true,
      },
    },
  }),
  /** Logs in `outputDir`. Default: ["jsonl"] if `outputDir` is given. */
  loggers: option(list<LoggerName>(["jsonl", "tensorboard"]), {
    default: ({ writes }) => (writes ? ["jsonl"] : []),
    identity: false,
    flags: {
      loggers: { help: "logs in --out, comma-separated: some of jsonl,tensorboard", default: "jsonl" },
    },
  }),
};

type Table = typeof trainingOptions;

export type OptionName = keyof Table;

/** The options of a caller. */
export type TrainingOptions = {
  readonly [K in keyof Table]?: Table[K] extends Option<infer T, infer _D, infer _F> ? T : never;
};

/** The options with their defaults. */
export type TrainingSettings = {
  readonly [K in keyof Table]: Table[K] extends Option<infer T, infer D, infer _F> ? T | D : never;
};

/** The names of the flags that set options. */
export type TrainingFlagName = {
  [K in keyof Table]: Table[K] extends Option<infer _T, infer _D, infer F> ? F : never;
}[keyof Table];

/** The table as entries. */
export const optionEntries = Object.entries(trainingOptions) as readonly (readonly [
  OptionName,
  Option<unknown, undefined>,
])[];

import type { LearningRateSource } from "./options";

/** The events of a run. Losses are mean nats per supervised token. */
export type TrainEvent = TrialEvent | StartEvent | StepEvent | EvalEvent | CheckpointEvent | NoticeEvent | EndEvent;

/** A learning rate that a sweep has tried, before the start of the run. */
export interface TrialEvent {
  readonly type: "trial";
  readonly learningRate: number;
  /** Optimizer steps of the trial. */
  readonly steps: number;
  /** On the evaluation data, or a part of them; null if the training was not finite. */
  readonly evalLoss: number | null;
}

export interface StartEvent {
  readonly type: "start";
  readonly totalSteps: number;
  /** The highest of the schedule. */
  readonly learningRate: number;
  /** Whether the caller gave it, it is the default for the method and sites, or a sweep found it. */
  readonly learningRateFrom: LearningRateSource;
  /** Usable rows. */
  readonly trainRows: number;
  readonly evalRows: number;
  /** Rows that cannot be used. */
  readonly skippedRows: number;
  readonly trainableParameters: number;
  /** Steps made before by the run that this one resumes; 0: a new run. */
  readonly resumedStep: number;
}

export interface StepEvent {
  readonly type: "step";
  /** From 1. */
  readonly step: number;
  readonly totalSteps: number;
  /** Passes over the data so far, with a fraction. */
  readonly epoch: number;
  readonly loss: number;
  readonly learningRate: number;
  /** Before clipping. */
  readonly gradNorm: number;
  /** All tokens per second, supervised or not, smoothed over the last steps. */
  readonly tokensPerSecond: number;
  readonly tokens: number;
  readonly supervisedTokens: number;
  /** Share of the supervised tokens that had the largest logit. */
  readonly accuracy: number;
  /** Peak of the process so far. */
  readonly peakMemoryMib: number;
  readonly secondsLeft: number;
}

export interface EvalEvent {
  readonly type: "eval";
  /** 0: before the first step (`evalOnStart`). */
  readonly step: number;
  readonly loss: number;
  /** exp(loss) */
  readonly perplexity: number;
  readonly accuracy: number;
  /** Number of supervised tokens. */
  readonly tokens: number;
  /** Whether it is the lowest loss so far, of those after a step. */
  readonly best: boolean;
}

export interface CheckpointEvent {
  readonly type: "checkpoint";
  readonly step: number;
  readonly path: string;
}

/** A message for people that does not stop the run. */
export interface NoticeEvent {
  readonly type: "notice";
  readonly message: string;
}

export interface TrainSummary {
  /** Optimizer steps made, including those before the run was resumed. */
  readonly steps: number;
  /** Mean over all supervised tokens of all steps, each with the parameters at its step; null if no step was made. */
  readonly trainLoss: number | null;
  /** With the final parameters; null without evaluation. */
  readonly evalLoss: number | null;
  /** Of this call of `run` or `train`. */
  readonly seconds: number;
  readonly tokensPerSecond: number;
  /** Peak of the process, without what the process that started it had. */
  readonly peakMemoryMib: number;
  /**
   * SHA-256, in hexadecimal, of the micro-batches of all steps in their order: token ids, supervised ones, sequences. Runs with
   * the same value were trained on the same batches, whatever they trained. null for a resumed run.
   */
  readonly batches: string | null;
  readonly reason: "done" | "max-steps" | "early-stopping";
}

export interface EndEvent extends TrainSummary {
  readonly type: "end";
}

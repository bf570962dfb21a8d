/** Inputs and results of a training step or an evaluation. */
import type { NativeOptimizer, NativeOptimizerOptions } from "./optimizer";
import type { NativeAdapter, NativeParameters } from "./parameters";

/**
 * Concatenated sequences, without padding. "Packing" means several sequences in one micro-batch; each attends only to
 * itself. Typed arrays are copied before the call returns.
 */
export interface NativeBatch {
  /** Token ids of all sequences, [tokens]. */
  readonly tokenIds: Int32Array;
  /** First token of each sequence, and the number of tokens at the end, [sequences + 1]. */
  readonly sequenceStarts: Int32Array;
  /** Slot of each sequence: 0 is the base, i + 1 the i-th adapter of the call. Missing: all 0. */
  readonly slots?: Int32Array;
}

export interface NativeMicroBatch extends NativeBatch {
  /** Target of each position (the id of the next token of its sequence), or -1 for positions without loss, [tokens]. */
  readonly targets: Int32Array;
}

/** What a step trains: an adapter with its optimizer, or the model's own weights (then it is the only tenant). */
interface NativeTenant {
  readonly parameters: NativeAdapter | NativeParameters;
  readonly optimizer: NativeOptimizer;
  readonly options: NativeOptimizerOptions;
}

export interface NativeTrainRequest {
  readonly tenants: readonly NativeTenant[];
  /** Sequences of slot i + 1 belong to tenant i; when the model's own weights train, all slots are 0. */
  readonly microBatches: readonly NativeMicroBatch[];
  readonly recompute: boolean;
  /** false: compute gradients and change nothing else. */
  readonly update: boolean;
}

export interface NativeTenantResult {
  /** Mean nats per supervised token of the step. */
  readonly loss: number;
  readonly supervisedTokens: number;
  readonly correctTokens: number;
  /** Before clipping. */
  readonly gradNorm: number;
}

export interface NativeSums {
  /** By slot: summed nats, supervised tokens, and tokens whose largest logit was the target. */
  readonly nats: Float64Array;
  readonly supervisedTokens: Float64Array;
  readonly correctTokens: Float64Array;
}

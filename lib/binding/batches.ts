/** Inputs and results of a training step or an evaluation. */
import type { RubricateError } from "../errors";
import type { NativeJob } from "../job";
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
  /** Adapters, each once (one with layer norms only with those of its own sites and layers); or the model's own weights. */
  readonly tenants: readonly NativeTenant[];
  /**
   * Sequences of slot i + 1 belong to tenant i; when the model's own weights train, all slots are 0. A tenant's sequences
   * are in the order in which its gradient is summed. Nothing else about the order or the split changes its result.
   */
  readonly microBatches: readonly NativeMicroBatch[];
  /**
   * Most tokens of a micro-batch: the core splits the sequences again, in their order; one that is longer goes alone.
   * undefined: the micro-batches as they are. Adapters only. While a brief job waits as the step begins, a step of
   * adapters on the CPU has at most 256 tokens a micro-batch.
   */
  readonly maxRows?: number | undefined;
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

/**
 * What a step made of one tenant. With an error (ERR_DATA: no supervised tokens; ERR_NOT_FINITE; ERR_ABORTED: cancelTenant;
 * ERR_ARGUMENT, ERR_CONTEXT_LENGTH: a wrong micro-batch, which has sequences of this tenant alone) the tenant was not updated,
 * and its numbers mean nothing. The others were, with the bits of a step without it.
 */
export interface NativeTenantOutcome extends NativeTenantResult {
  readonly error: RubricateError | undefined;
}

/**
 * A step's outcomes, by tenant. It rejects, and nothing has changed, with what concerns all tenants (ERR_OUT_OF_MEMORY,
 * ERR_ABORTED, ERR_FILE, ERR_DEVICE_LOST), and with the error of an only tenant.
 */
export interface NativeTrainJob extends NativeJob<NativeTenantOutcome[]> {
  /** Leaves tenant `index` out of the step's update, unless that has begun. Harmless once the step has ended. */
  cancelTenant(index: number): void;
}

/** A slot's sums depend only on its own sequences: those of an adapter with a NaN are NaN, the others are not. */
export interface NativeSums {
  /** By slot: summed nats, supervised tokens, and tokens whose largest logit was the target. */
  readonly nats: Float64Array;
  readonly supervisedTokens: Float64Array;
  readonly correctTokens: Float64Array;
}

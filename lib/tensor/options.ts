/** Options of the ops. */
import type { OptionNames } from "../options";
import type { Tensor } from "./tensor";

/** AdamW's settings for `ops.adamwStep`; torch.optim.AdamW's defaults, without weight decay. */
export interface AdamWOptions {
  readonly learningRate: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly weightDecay?: number;
  /** Value that weight decay pulls towards: 0 (the default), or 1 for a scale. */
  readonly decayTarget?: number;
  /** Multiplies the gradient: a clip factor. Default 1. */
  readonly gradScale?: number;
}

export const adamWNames: OptionNames<AdamWOptions> = {
  learningRate: true,
  beta1: true,
  beta2: true,
  epsilon: true,
  weightDecay: true,
  decayTarget: true,
  gradScale: true,
};

/** Rows of each sequence and its adapter slot. Without it, all rows are one sequence that uses slot 1. */
export interface Rows {
  /** First row of each sequence, then the number of rows, [sequences + 1]. */
  readonly starts: Int32Array;
  /** Slot of each sequence, [sequences]: 0 is no edit, i + 1 uses element i of the vectors. */
  readonly slots: Int32Array;
}

export const rowsNames: OptionNames<Rows> = { starts: true, slots: true };

/** The edit of `ops.editAddNorm`, as in `ops.redEdit`. */
export interface SublayerEdit {
  readonly scales: readonly (Tensor | null)[];
  readonly biases: readonly (Tensor | null)[];
  readonly rows?: Rows;
}

export const editNames: OptionNames<SublayerEdit> = { scales: true, biases: true, rows: true };

/** The norm of `ops.editAddNorm`. */
export interface SublayerNorm {
  readonly weight: Tensor;
  /** Default: 1e-5. */
  readonly epsilon?: number;
}

export const normNames: OptionNames<SublayerNorm> = { weight: true, epsilon: true };

export interface AttentionOptions {
  readonly heads: number;
  /** Default: as many as heads. */
  readonly kvHeads?: number;
  /** Default: 1 / sqrt(head_dim). */
  readonly scale?: number;
  /** First row of each sequence, then the number of rows, [sequences + 1]. Default: one sequence. */
  readonly starts?: Int32Array;
}

export const attentionNames: OptionNames<AttentionOptions> = { heads: true, kvHeads: true, scale: true, starts: true };

/** The rows of `ops.headCrossEntropy`, ascending, with their targets and weights. */
export interface HeadLoss {
  readonly rows: Int32Array;
  readonly targets: Int32Array;
  readonly weights: Float32Array;
}

export const lossNames: OptionNames<HeadLoss> = { rows: true, targets: true, weights: true };

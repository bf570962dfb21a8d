/** The handle of AdamW, and its options. */
import type { NativeJob } from "../job";

export interface NativeOptimizerOptions {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** true: weight decay pulls every parameter to 0, as in the reference implementation; false: scales to 1. */
  readonly decayToZero: boolean;
  /** 0: no clipping. */
  readonly maxGradNorm: number;
}

export interface NativeOptimizer {
  readonly step: number;
  /** Allocates the moments, all zero, on a thread. Without it they are allocated synchronously on first use. */
  prepare(): NativeJob<undefined>;
  /**
   * Copies of the first and second moments of all parameters, concatenated, fp32: `count` of them from `start`, by default
   * all. ERR_BUSY while a job uses the optimizer.
   */
  moments(start?: number, count?: number): { m: Float32Array; v: Float32Array };
  /** Sets the moments from `start`, by default all. */
  setMoments(step: number, m: Float32Array, v: Float32Array, start?: number): void;
  /** Places of the elements that are no longer trained, ascending, among the concatenated values of an adapter. */
  frozen(): Int32Array;
  /**
   * Freezes these elements and no others: a step leaves their values as they are, takes their gradient as 0, and their moments
   * are 0. ERR_ARGUMENT for places that do not ascend or are out of range, and for a model's own weights.
   */
  freeze(places: Int32Array): void;
  /**
   * Adds `factor` times the nuclear norm of one sparse update's adapted entries to the loss of each step. `base`: what the base adds to
   * each value of the adapter. Which update: a random number of the seed and the step. ERR_ARGUMENT, ERR_SHAPE.
   */
  addNuclearNorm(factor: number, seed: number, base: Float32Array): void;
  dispose(): void;
}

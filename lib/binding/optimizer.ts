/** The handle of AdamW, and its options. */
import type { NativeJob } from "../job";

export interface NativeOptimizerOptions {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** true: decay pulls everything to 0, as the reference implementation does; false: a scale to 1. */
  readonly decayToZero: boolean;
  /** 0: no clipping. */
  readonly maxGradNorm: number;
}

export interface NativeOptimizer {
  readonly step: number;
  /** Makes the moments, all zero, on a thread. Without it they are made at once when they are first needed. */
  prepare(): NativeJob<undefined>;
  /**
   * First and second moments of all parameters end to end, fp32, copied: `count` of them from `start` on, else all. ERR_BUSY
   * while a job uses the optimizer.
   */
  moments(start?: number, count?: number): { m: Float32Array; v: Float32Array };
  /** Sets those from `start` on, else all. */
  setMoments(step: number, m: Float32Array, v: Float32Array, start?: number): void;
  dispose(): void;
}

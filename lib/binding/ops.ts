import type { NativeOptimizerOptions } from "./optimizer";
import type { NativeDtype, NativeTape, NativeTensor } from "./tensor";

type T = NativeTensor;

/** Every op with its backward, synchronous, on the calling thread. Contracts: native/ops/NAME/NAME.h. */
export interface NativeOps {
  linear(tape: NativeTape, x: T, weight: T, bias?: T): T;
  rmsNorm(tape: NativeTape, x: T, weight: T, epsilon: number): T;
  /** starts: [sequences + 1] rows; slots: [sequences]; scales and biases by slot - 1. */
  redEdit(
    tape: NativeTape,
    h: T,
    scales: readonly (T | null)[],
    biases: readonly (T | null)[],
    starts: Int32Array,
    slots: Int32Array,
  ): T;
  layerNorm(tape: NativeTape, x: T, weight: T, bias: T, epsilon: number): T;
  editAddNorm(
    tape: NativeTape,
    h: T,
    residual: T,
    scales: readonly (T | null)[],
    biases: readonly (T | null)[],
    starts: Int32Array,
    slots: Int32Array,
    normWeight: T | null,
    epsilon: number,
  ): [sum: T, normed: T | null];
  swiglu(tape: NativeTape, gate: T, up: T): T;
  rope(tape: NativeTape, x: T, heads: number, positions: Int32Array, invFreq: Float32Array): T;
  attention(tape: NativeTape, q: T, k: T, v: T, heads: number, kvHeads: number, scale: number, starts: Int32Array): T;
  embedding(tape: NativeTape, tokenIds: Int32Array, weight: T): T;
  headCrossEntropy(tape: NativeTape, x: T, head: T, rows: Int32Array, targets: Int32Array, weights: Float32Array): T;
  crossEntropy(tape: NativeTape, logits: T, targets: Int32Array): T;
  add(tape: NativeTape, a: T, b: T): T;
  multiply(tape: NativeTape, a: T, b: T): T;
  scaleBy(tape: NativeTape, a: T, factor: number): T;
  silu(tape: NativeTape, a: T): T;
  sum(tape: NativeTape, a: T): T;
  meanSquaredError(tape: NativeTape, a: T, target: T): T;
  cast(tape: NativeTape, a: T, dtype: NativeDtype): T;
  /** In place on parameter, m and v; see ops/adamw. */
  adamwStep(
    parameter: T,
    grad: T,
    m: T,
    v: T,
    step: number,
    options: NativeOptimizerOptions,
    decayTarget: number,
    gradScale: number,
  ): void;
  gradientNorm(grads: readonly T[]): number;
}

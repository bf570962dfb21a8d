import type { NativeOptimizerOptions } from "./optimizer";
import type { NativeDtype, NativeTape, NativeTensor } from "./tensor";

type T = NativeTensor;

/** Rows h [T, d] and the edit of each sequence: starts [sequences + 1]; slots [sequences]; vectors [d] by slot - 1. */
interface NativeEdit {
  readonly h: T;
  readonly scales: readonly (T | null)[];
  readonly biases: readonly (T | null)[];
  readonly starts: Int32Array;
  readonly slots: Int32Array;
}

/** Every op with its backward, synchronous, on the calling thread. Contracts: native/ops/NAME/NAME.h. */
export interface NativeOps {
  linear(tape: NativeTape, x: T, weight: T, bias?: T): T;
  rmsNorm(tape: NativeTape, x: T, weight: T, epsilon: number): T;
  redEdit(tape: NativeTape, args: NativeEdit): T;
  layerNorm(tape: NativeTape, x: T, weight: T, bias: T, epsilon: number): T;
  editAddNorm(
    tape: NativeTape,
    args: NativeEdit & { readonly residual: T; readonly normWeight: T | null; readonly epsilon: number },
  ): [sum: T, normed: T | null];
  swiglu(tape: NativeTape, gate: T, up: T): T;
  rope(tape: NativeTape, x: T, heads: number, positions: Int32Array, invFreq: Float32Array): T;
  attention(
    tape: NativeTape,
    args: {
      readonly q: T;
      readonly k: T;
      readonly v: T;
      readonly heads: number;
      readonly kvHeads: number;
      readonly scale: number;
      readonly starts: Int32Array;
    },
  ): T;
  embedding(tape: NativeTape, tokenIds: Int32Array, weight: T): T;
  headCrossEntropy(
    tape: NativeTape,
    args: {
      readonly x: T;
      readonly head: T;
      readonly rows: Int32Array;
      readonly targets: Int32Array;
      readonly weights: Float32Array;
    },
  ): T;
  crossEntropy(tape: NativeTape, logits: T, targets: Int32Array): T;
  add(tape: NativeTape, a: T, b: T): T;
  multiply(tape: NativeTape, a: T, b: T): T;
  scaleBy(tape: NativeTape, a: T, factor: number): T;
  silu(tape: NativeTape, a: T): T;
  sum(tape: NativeTape, a: T): T;
  meanSquaredError(tape: NativeTape, a: T, target: T): T;
  cast(tape: NativeTape, a: T, dtype: NativeDtype): T;
  /** In place on parameter, m and v; see ops/adamw. */
  adamwStep(args: {
    readonly parameter: T;
    readonly grad: T;
    readonly m: T;
    readonly v: T;
    readonly step: number;
    readonly options: NativeOptimizerOptions;
    readonly decayTarget: number;
    readonly gradScale: number;
  }): void;
  gradientNorm(grads: readonly T[]): number;
}

/** Benchmark cases: `rubricate bench` runs each at one size, a checkout's bench/ at many. */
import { Tape, Tensor } from "../tensor/tensor";

/** A case that allocates its inputs when it starts. */
export interface BenchCase<Needs extends unknown[] = []> {
  readonly group: string;
  readonly name: string;
  /** Work of one run in `unit` times seconds: 10^9 bytes or operations, or a count. */
  readonly work: number;
  readonly unit: "GB/s" | "GFLOP/s" | "tokens/s" | "calls/s";
  /** Calls in a run, of which times are given. Default: 1. */
  readonly calls?: number;
  /** What bounds the rate of a case in GB/s or GFLOP/s: a plain read, or multiply-adds of a dtype. */
  readonly peak?: "read" | BenchDtype;
  start(...needs: Needs): Started;
}

export interface Started {
  run(): unknown;
  /** Frees its memory. */
  end(): void;
}

export type BenchDtype = "float32" | "bfloat16";

/** Deterministic numbers in [-1, 1). */
function someNumbers(count: number): Float32Array {
  const numbers = new Float32Array(count);
  let state = 1;
  for (let at = 0; at < count; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    numbers[at] = state / 2 ** 31 - 1;
  }
  return numbers;
}

export function tensor(shape: readonly number[], dtype: BenchDtype = "float32", requiresGrad = false): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  return Tensor.from(someNumbers(count), shape, dtype, { requiresGrad });
}

export function disposeAll(values: readonly { dispose(): void }[]): void {
  for (const value of values) value.dispose();
}

/** A case whose run records `work` on a new tape; the value that `work` returns is disposed of with it. */
export function onTape(
  description: Omit<BenchCase, "start">,
  inputs: () => Tensor[],
  work: (tape: Tape, inputs: Tensor[]) => Tensor,
): BenchCase {
  return {
    ...description,
    start() {
      const made = inputs();
      return {
        run() {
          const tape = new Tape();
          const value = work(tape, made);
          tape.dispose();
          value.dispose();
        },
        end: () => disposeAll(made),
      };
    },
  };
}

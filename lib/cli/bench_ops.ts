/** Benchmarks of single ops, called through the public `ops`: with checks, allocations, and the tape's bookkeeping. */
import { ops } from "../tensor/ops";
import { Tape, Tensor } from "../tensor/tensor";
import { type BenchCase, type BenchDtype, disposeAll, onTape, type Started, tensor } from "./bench_cases";

const bytesOf = { float32: 4, bfloat16: 2 };
const short = { float32: "f32", bfloat16: "bf16" };

/**
 * Forward reads and writes T d elements; backward reads h and dy, and writes dh if h has a gradient: parameters are fp32,
 * so a bf16 h has none here.
 */
export function redEdit(rows: number, width: number, dtype: BenchDtype, backward: boolean): BenchCase {
  const whole = backward && dtype === "float32";
  const elements = rows * width * (whole ? 5 : backward ? 4 : 2);
  const what = !backward ? "forward" : whole ? "forward and backward" : "forward and backward to the vectors";
  const description = {
    group: "RED edit",
    name: `${what}, ${short[dtype]} [${rows}, ${width}]`,
    unit: "GB/s" as const,
    work: (elements * bytesOf[dtype]) / 1e9,
    peak: "read" as const,
  };
  const inputs = () => [
    tensor([rows, width], dtype, whole),
    tensor([width], "float32", backward),
    tensor([width], "float32", backward),
    tensor([rows, width], dtype),
  ];
  return onTape(description, inputs, (tape, [h, scale, bias, seed]) => {
    const edited = ops.redEdit(tape, h!, [scale!], [bias!]);
    if (backward) tape.backward(edited, seed);
    return edited;
  });
}

/** [rows, k] x [k, n], by `linear`. */
export function matmul(rows: number, k: number, n: number, dtype: BenchDtype): BenchCase {
  const description = {
    group: "matmul",
    name: `${short[dtype]} [${rows}, ${k}] x [${k}, ${n}]`,
    unit: "GFLOP/s" as const,
    work: (2 * rows * k * n) / 1e9,
    peak: dtype,
  };
  const inputs = () => [tensor([rows, k], dtype), tensor([n, k], dtype)];
  return onTape(description, inputs, (tape, [x, weight]) => ops.linear(tape, x!, weight!));
}

/** Causal: T (T + 1) / 2 pairs, each 4 head_dim operations forward and 10 head_dim backward, which recomputes the scores. */
export function attention(
  rows: number,
  heads: number,
  kvHeads: number,
  headDim: number,
  dtype: BenchDtype,
  backward: boolean,
): BenchCase {
  const operations = (backward ? 14 : 4) * headDim * heads * ((rows * (rows + 1)) / 2);
  const description = {
    group: "attention",
    name:
      `${backward ? "forward and backward" : "forward"}, ${short[dtype]}, ${rows} tokens, ` +
      `${heads} heads (${kvHeads} of keys) of ${headDim}`,
    unit: "GFLOP/s" as const,
    work: operations / 1e9,
    peak: dtype,
  };
  const inputs = () => [
    tensor([rows, heads * headDim], dtype, backward),
    tensor([rows, kvHeads * headDim], dtype, backward),
    tensor([rows, kvHeads * headDim], dtype, backward),
    tensor([rows, heads * headDim], dtype),
  ];
  return onTape(description, inputs, (tape, [q, k, v, seed]) => {
    const mixed = ops.attention(tape, q!, k!, v!, { heads, kvHeads });
    if (backward) tape.backward(mixed, seed);
    return mixed;
  });
}

/** Calls of one run: a single one is too short for the clock. */
const calls = 100;

/** Calls with almost no work. */
function overhead(name: string, start: () => Started): BenchCase {
  return { group: "call overhead", name, unit: "calls/s", work: calls, calls, start };
}

export function callOverheads(): BenchCase[] {
  return [
    overhead("ops.add of one number, result disposed of", () => {
      const [a, b, tape] = [tensor([1]), tensor([1]), new Tape()];
      return {
        run() {
          for (let i = 0; i < calls; i++) ops.add(tape, a, b).dispose();
        },
        end: () => disposeAll([a, b, tape]),
      };
    }),
    overhead("Tensor.from of one number, disposed of", () => {
      const data = Float32Array.of(1);
      return {
        run() {
          for (let i = 0; i < calls; i++) Tensor.from(data, [1]).dispose();
        },
        end() {},
      };
    }),
    overhead("data() of one number", () => {
      const value = tensor([1]);
      return {
        run() {
          for (let i = 0; i < calls; i++) value.data();
        },
        end: () => value.dispose(),
      };
    }),
  ];
}

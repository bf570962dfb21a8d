/**
 * The ops by themselves, as the public `ops` run them: with their checks, their allocations, and the tape's bookkeeping.
 *
 * A case: {group, name, unit, work, slow, start}. `start` makes what it needs and gives {run, end}; `work` is what one run
 * does, in `unit` seconds; slow ones are left out by --quick.
 */
import { rubricate } from "./package.mjs";

const { ops, Tape, Tensor } = rubricate;

/** Numbers in [-1, 1), always the same ones. */
function someNumbers(count) {
  const numbers = new Float32Array(count);
  let state = 1;
  for (let at = 0; at < count; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    numbers[at] = state / 2 ** 31 - 1;
  }
  return numbers;
}

function tensor(shape, dtype = "float32", requiresGrad = false) {
  const count = shape.reduce((product, size) => product * size, 1);
  return Tensor.from(someNumbers(count), shape, dtype, { requiresGrad });
}

/** A case whose run records `work` on a tape of its own; the values that `work` returns go with it. */
function onTape(description, inputs, work) {
  return {
    ...description,
    start() {
      const made = inputs();
      return {
        run() {
          const tape = new Tape();
          const value = work(tape, ...made);
          tape.dispose();
          value.dispose();
        },
        end: () => made.forEach((one) => void one.dispose()),
      };
    },
  };
}

const bytesOf = { float32: 4, bfloat16: 2 };
const short = { float32: "f32", bfloat16: "bf16" };

/**
 * Forward reads and writes T d elements; backward reads h and dy, and writes dh where h has a gradient: parameters are
 * fp32, so a bf16 h has none here.
 */
function redEdit(rows, width, dtype, backward) {
  const whole = backward && dtype === "float32";
  const elements = rows * width * (whole ? 5 : backward ? 4 : 2);
  const what = !backward ? "forward" : whole ? "forward and backward" : "forward and backward to the vectors";
  const description = {
    group: "RED edit",
    name: `${what}, ${short[dtype]} [${rows}, ${width}]`,
    unit: "GB/s",
    work: (elements * bytesOf[dtype]) / 1e9,
    slow: rows * width > 2 ** 20,
  };
  const inputs = () => [
    tensor([rows, width], dtype, whole),
    tensor([width], "float32", backward),
    tensor([width], "float32", backward),
    tensor([rows, width], dtype),
  ];
  return onTape(description, inputs, (tape, h, scale, bias, seed) => {
    const edited = ops.redEdit(tape, h, [scale], [bias]);
    if (backward) tape.backward(edited, seed);
    return edited;
  });
}

function matmul(rows, k, n, dtype) {
  const description = {
    group: "matmul",
    name: `${short[dtype]} [${rows}, ${k}] x [${k}, ${n}]`,
    unit: "GFLOP/s",
    work: (2 * rows * k * n) / 1e9,
    slow: rows * k * n > 2 ** 28,
  };
  const inputs = () => [tensor([rows, k], dtype), tensor([n, k], dtype)];
  return onTape(description, inputs, (tape, x, weight) => ops.linear(tape, x, weight));
}

/** Causal: T (T + 1) / 2 pairs, 4 head_dim operations each forward, and 10 more where scores are formed anew backward. */
function attention(rows, heads, kvHeads, headDim, dtype, backward) {
  const operations = (backward ? 14 : 4) * headDim * heads * ((rows * (rows + 1)) / 2);
  const description = {
    group: "attention",
    name:
      `${backward ? "forward and backward" : "forward"}, ${short[dtype]}, ${rows} tokens, ` +
      `${heads} heads (${kvHeads} of keys) of ${headDim}`,
    unit: "GFLOP/s",
    work: operations / 1e9,
    slow: operations > 1e9,
  };
  const inputs = () => [
    tensor([rows, heads * headDim], dtype, backward),
    tensor([rows, kvHeads * headDim], dtype, backward),
    tensor([rows, kvHeads * headDim], dtype, backward),
    tensor([rows, heads * headDim], dtype),
  ];
  return onTape(description, inputs, (tape, q, k, v, seed) => {
    const mixed = ops.attention(tape, q, k, v, { heads, kvHeads });
    if (backward) tape.backward(mixed, seed);
    return mixed;
  });
}

const calls = 100;

/** What a call costs that has next to nothing to do. */
function callOverhead(name, start) {
  return { group: "call overhead", name, unit: "calls/s", work: calls, slow: false, start };
}

function overheadCases() {
  return [
    callOverhead("ops.add of one number, result disposed of", () => {
      const [a, b, tape] = [tensor([1]), tensor([1]), new Tape()];
      return {
        run() {
          for (let i = 0; i < calls; i++) ops.add(tape, a, b).dispose();
        },
        end: () => [a, b, tape].forEach((one) => void one.dispose()),
      };
    }),
    callOverhead("Tensor.from of one number, disposed of", () => {
      const data = Float32Array.of(1);
      return {
        run() {
          for (let i = 0; i < calls; i++) Tensor.from(data, [1]).dispose();
        },
        end() {},
      };
    }),
    callOverhead("data() of one number", () => {
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

/** Rows and widths of the embedded model, of 15M, of 110M and of 7B. */
export function opCases() {
  const edits = [
    [512, 192],
    [1024, 288],
    [1024, 768],
    [512, 4096],
  ];
  const products = [
    [512, 192, 640],
    [1024, 288, 768],
    [512, 768, 2048],
    [128, 4096, 11008],
  ];
  const attentions = [
    [256, 6, 2, 32],
    [256, 6, 6, 48],
    [1024, 12, 12, 64],
  ];
  const dtypes = ["float32", "bfloat16"];
  const both = [false, true];
  return [
    ...edits.flatMap((size) => dtypes.flatMap((dtype) => both.map((backward) => redEdit(...size, dtype, backward)))),
    ...products.flatMap((size) => dtypes.map((dtype) => matmul(...size, dtype))),
    ...attentions.flatMap((size) => [
      attention(...size, "float32", false),
      attention(...size, "float32", true),
      attention(...size, "bfloat16", false), // parameters are fp32: no gradient of bf16 values here
    ]),
    ...overheadCases(),
  ];
}

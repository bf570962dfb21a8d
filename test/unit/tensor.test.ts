import { ops, RubricateError, Tape, Tensor } from "../../lib/index";

/** The code of the error that `run` throws. */
function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof RubricateError) return error.code;
    throw error;
  }
  return "no error";
}

/** Numbers in [-1, 1), the same on every run. */
function noise(length: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

test("forty lines train a RED edit on a frozen network of two layers", () => {
  const [rows, inputs, hidden, outputs] = [64, 8, 16, 4];
  const x = Tensor.from(noise(rows * inputs, 1), [rows, inputs]);
  const first = Tensor.from(noise(hidden * inputs, 2), [hidden, inputs]);
  const second = Tensor.from(noise(outputs * hidden, 3), [outputs, hidden]);
  const forward = (tape: Tape, scale: Tensor, bias: Tensor) => {
    const inner = ops.silu(tape, ops.linear(tape, x, first));
    return ops.linear(tape, ops.redEdit(tape, inner, [scale], [bias]), second);
  };
  // The target: the edit of a teacher.
  using quiet = new Tape();
  const wanted = [Tensor.from(noise(hidden, 4), [hidden]), Tensor.from(noise(hidden, 5), [hidden])] as const;
  const target = forward(quiet, ...wanted);

  const scale = Tensor.from(new Float32Array(hidden).fill(1), [hidden], "float32", { requiresGrad: true });
  const bias = Tensor.from(new Float32Array(hidden), [hidden], "float32", { requiresGrad: true });
  const state = [scale, bias].map((parameter) => ({
    parameter,
    m: Tensor.from(new Float32Array(hidden), [hidden]),
    v: Tensor.from(new Float32Array(hidden), [hidden]),
  }));
  const losses: number[] = [];
  for (let step = 1; step <= 600; step++) {
    using tape = new Tape();
    const loss = ops.meanSquaredError(tape, forward(tape, scale, bias), target);
    tape.backward(loss);
    for (const { parameter, m, v } of state) {
      ops.adamwStep(parameter, parameter.grad()!, m, v, step, { learningRate: 0.02 });
      parameter.zeroGrad();
    }
    losses.push(loss.data()[0]!);
  }
  expect(losses[0]).toBeGreaterThan(0.1);
  expect(losses[599]).toBeLessThan(losses[0]! / 1000);
  expect(first.requiresGrad).toBe(false);
});

test("the gradient of an edit equals finite differences", () => {
  const [rows, width] = [5, 7];
  const h = Tensor.from(noise(rows * width, 6), [rows, width]);
  const target = Tensor.from(noise(rows * width, 7), [rows, width]);
  const start = noise(width, 8);
  const lossAt = (values: number[], requiresGrad: boolean) => {
    const tape = new Tape();
    const scale = Tensor.from(values, [width], "float32", { requiresGrad });
    const loss = ops.meanSquaredError(tape, ops.redEdit(tape, h, [scale], [null]), target);
    if (requiresGrad) tape.backward(loss);
    return { loss: loss.data()[0]!, gradient: scale.grad()?.data() };
  };
  const { gradient } = lossAt(start, true);
  for (let i = 0; i < width; i++) {
    const moved = (by: number) =>
      lossAt(
        start.map((value, j) => value + (i === j ? by : 0)),
        false,
      ).loss;
    expect(gradient![i]).toBeCloseTo((moved(0.05) - moved(-0.05)) / 0.1, 4);
  }
});

describe("wrong use", () => {
  const matrix = () => Tensor.from(noise(6, 9), [2, 3]);
  test.each<[string, string, () => unknown]>([
    ["elements that do not fit the shape", "ERR_SHAPE", () => Tensor.from([1, 2, 3], [2, 2])],
    ["a shape that is none", "ERR_ARGUMENT", () => Tensor.from([1], [-1])],
    ["an unknown dtype", "ERR_ARGUMENT", () => Tensor.from([1], [1], "float8" as never)],
    ["data that are not numbers", "ERR_ARGUMENT", () => Tensor.from(["a"] as never, [1])],
    ["widths that do not match", "ERR_SHAPE", () => ops.linear(new Tape(), matrix(), Tensor.from(noise(4, 1), [1, 4]))],
    ["no tensor at all", "ERR_ARGUMENT", () => ops.silu(new Tape(), {} as never)],
    ["no tape", "ERR_ARGUMENT", () => ops.silu({} as never, matrix())],
    ["a token id outside the table", "ERR_ARGUMENT", () => ops.embedding(new Tape(), Int32Array.of(2), matrix())],
    ["a backward of something that nothing recorded", "ERR_FOREIGN", () => new Tape().backward(Tensor.from([1], [1]))],
    [
      "a value of another tape",
      "ERR_FOREIGN",
      () => {
        const value = ops.silu(new Tape(), Tensor.from([1, 2], [1, 2], "float32", { requiresGrad: true }));
        ops.silu(new Tape(), value);
      },
    ],
    [
      "a disposed tensor",
      "ERR_DISPOSED",
      () => {
        const tensor = matrix();
        tensor.dispose();
        tensor.data();
      },
    ],
    [
      "a disposed tape",
      "ERR_DISPOSED",
      () => {
        const tape = new Tape();
        tape.dispose();
        ops.silu(tape, matrix());
      },
    ],
  ])("%s is %s", (_, code, run) => {
    expect(codeOf(run)).toBe(code);
  });

  test("disposing twice is harmless", () => {
    const tensor = matrix();
    tensor.dispose();
    tensor.dispose();
  });
});

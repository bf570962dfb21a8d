/** A branch of linear steps as two matrices and a vector: y += B (A x) + offset. */
import { RubricateError } from "../errors";
import type { PlanStep } from "./plan";
import type { PlanValues } from "./plan_values";

/** A [rank, inputs] and B [outputs, rank], by rows. */
export interface LowRankParts {
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly rank: number;
}

export interface MergedBranch extends LowRankParts {
  /** [outputs]; undefined: 0. */
  readonly offset: Float32Array | undefined;
}

interface Matrix {
  readonly rows: number;
  readonly cols: number;
  readonly values: Float64Array;
}

/** The matrix of a step; of blocks with zeros between them. */
function matrixOf(step: PlanStep & { op: "linear" | "block_linear" }, known: PlanValues): Matrix {
  const { shape, values } = "constant" in step ? known.constant(step.constant) : known.of(step.weight);
  if (shape.length === 2) return { rows: shape[0]!, cols: shape[1]!, values: Float64Array.from(values) };
  const [blocks, outputs, inputs] = shape as [number, number, number];
  const [rows, cols] = [blocks * outputs, blocks * inputs];
  const all = new Float64Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    const from = row * inputs;
    all.set(values.subarray(from, from + inputs), row * cols + Math.floor(row / outputs) * inputs);
  }
  return { rows, cols, values: all };
}

/** x y. */
function product(x: Matrix, y: Matrix): Matrix {
  const values = new Float64Array(x.rows * y.cols);
  for (let row = 0; row < x.rows; row++)
    for (let at = 0; at < x.cols; at++) {
      const times = x.values[row * x.cols + at]!;
      if (times === 0) continue;
      for (let col = 0; col < y.cols; col++) values[row * y.cols + col]! += times * y.values[at * y.cols + col]!;
    }
  return { rows: x.rows, cols: y.cols, values };
}

function scaleRows({ rows, cols, values }: Matrix, by: (row: number) => number): void {
  for (let row = 0; row < rows; row++) for (let col = 0; col < cols; col++) values[row * cols + col]! *= by(row);
}

function identity(size: number): Matrix {
  const values = new Float64Array(size * size);
  for (let at = 0; at < size; at++) values[at * size + at] = 1;
  return { rows: size, cols: size, values };
}

/** The steps so far: (matrices, the last first) x + offset. */
class Running {
  private first: Matrix | undefined;
  private rest: Matrix | undefined;
  private offset: Matrix | undefined;

  multiply(matrix: Matrix): void {
    if (!this.first) this.first = matrix;
    else this.rest = this.rest ? product(matrix, this.rest) : matrix;
    if (this.offset) this.offset = product(matrix, this.offset);
  }

  scale(by: (row: number) => number): void {
    scaleRows((this.rest ?? this.first)!, by);
    if (this.offset) scaleRows(this.offset, by);
  }

  add(bias: Float32Array): void {
    this.offset ??= { rows: bias.length, cols: 1, values: new Float64Array(bias.length) };
    for (const [at, value] of bias.entries()) this.offset.values[at]! += value;
  }

  get hasMatrix(): boolean {
    return this.first !== undefined;
  }

  result(): MergedBranch {
    const a = this.first!;
    const b = this.rest ?? identity(a.rows);
    const offset = this.offset && Float32Array.from(this.offset.values);
    return { a: Float32Array.from(a.values), b: Float32Array.from(b.values), rank: a.rows, offset };
  }
}

/** What merging says about a step that it cannot express. */
export function notLinear(where: string, step: string): RubricateError {
  return new RubricateError(
    "ERR_MERGE",
    `Expected only linear steps to merge but ${where} has ${step}, which no weight and bias can express; keep base and ` +
      "adapter apart",
  );
}

/**
 * A branch as it changes its linear layer.
 * @param where for messages
 * @throws RubricateError ERR_MERGE naming the step, for one that is not linear or that is not merged
 */
export function mergedBranch(steps: readonly PlanStep[], values: PlanValues, where: string): MergedBranch {
  const running = new Running();
  for (const step of steps) {
    if (step.op === "activation") throw notLinear(where, `an activation (${step.kind})`);
    if (step.op === "linear" || step.op === "block_linear") {
      running.multiply(matrixOf(step, values));
      continue;
    }
    if (step.op === "residual" || !running.hasMatrix)
      throw new RubricateError(
        "ERR_MERGE",
        `Expected a branch to merge that begins with a matrix and has no residual but the step ${step.op} of ${where} is ` +
          "another; keep base and adapter apart",
      );
    if (step.op === "scale") running.scale(() => step.by);
    else {
      const { scale, bias } = step as Extract<PlanStep, { op: "affine" }>;
      if (scale !== undefined) running.scale((row) => values.of(scale).values[row]!);
      if (bias !== undefined) running.add(values.of(bias).values);
    }
  }
  return running.result();
}

/** Two updates of the same layer as one. `factor`: of the first. */
export function joinedUpdates(one: LowRankParts & { readonly factor: number }, other: LowRankParts): LowRankParts {
  const rank = one.rank + other.rank;
  const a = new Float32Array(one.a.length + other.a.length);
  a.set(one.a);
  a.set(other.a, one.a.length);
  const outputs = one.b.length / one.rank;
  const b = new Float32Array(outputs * rank);
  for (let row = 0; row < outputs; row++) {
    for (let at = 0; at < one.rank; at++) b[row * rank + at] = one.factor * one.b[row * one.rank + at]!;
    b.set(other.b.subarray(row * other.rank, (row + 1) * other.rank), row * rank + one.rank);
  }
  return { a, b, rank };
}

import { isInstance } from "./brands";
import { invalid, RubricateError } from "./errors";
import { limits } from "./limits";
import { type NativeOps, type NativeTape, type NativeTensor, native } from "./native";
import { booleanOf, checkOptions, isMissing, listOf, readArgument } from "./options";
import {
  type AdamWOptions,
  type AttentionOptions,
  adamWNames,
  attentionNames,
  editNames,
  type HeadLoss,
  lossNames,
  normNames,
  type Rows,
  rowsNames,
  type SublayerEdit,
  type SublayerNorm,
  type TensorOptions,
  tensorNames,
} from "./tensor_options";

export type {
  AdamWOptions,
  AttentionOptions,
  HeadLoss,
  Rows,
  SublayerEdit,
  SublayerNorm,
  TensorOptions,
} from "./tensor_options";

export type FloatDtype = "float32" | "bfloat16" | "float16";
export type Dtype = FloatDtype | "int32";

const handles = new WeakMap<Tensor, NativeTensor>();

function handleOf(tensor: Tensor, name: string): NativeTensor {
  if (!isInstance(tensor, Tensor)) throw invalid(name, "a Tensor", tensor);
  const handle = handles.get(tensor);
  if (!handle) throw new RubricateError("ERR_DISPOSED", `Expected a tensor in use for ${name} but it was disposed of`);
  return handle;
}

/** Makes a Tensor of a native handle. */
let wrap: (handle: NativeTensor) => Tensor;

/**
 * A dense, row-major array of the native core; immutable but for `set`. Its memory is freed by `dispose()` (or `using`),
 * at the latest by the garbage collector.
 */
export class Tensor {
  private constructor(handle: NativeTensor) {
    handles.set(this, handle);
  }

  static {
    wrap = (handle) => new Tensor(handle);
  }

  /**
   * A tensor with a copy of `data`, rounded to `dtype` (to nearest even).
   * @param data as many elements as the shape has; an array of numbers, a Float32Array, or an Int32Array for int32
   * @throws RubricateError ERR_ARGUMENT, ERR_SHAPE, ERR_DTYPE, ERR_OUT_OF_MEMORY
   */
  static from(
    data: Float32Array | Int32Array | readonly number[],
    shape: readonly number[],
    dtype: Dtype = "float32",
    options: TensorOptions = {},
  ): Tensor {
    const { requiresGrad } = checkOptions(options, tensorNames, "Tensor.from");
    const isParameter = booleanOf("requiresGrad", requiresGrad, false);
    const sizes = checkedShape(shape);
    const values = elements(data, dtype);
    return wrap(readArgument("dtype", "a dtype", () => native().Tensor.from(values, sizes, dtype, isParameter)));
  }

  get shape(): readonly number[] {
    return handleOf(this, "tensor").shape;
  }

  get dtype(): Dtype {
    return handleOf(this, "tensor").dtype;
  }

  /** Whether a backward reaches this value. */
  get requiresGrad(): boolean {
    return handleOf(this, "tensor").requiresGrad;
  }

  /** A copy of the elements: Float32Array for every floating-point dtype, Int32Array for int32. */
  data(): Float32Array | Int32Array {
    return handleOf(this, "tensor").data();
  }

  /** The gradient that backward has added up for this parameter (fp32, same shape), or null before any. */
  grad(): Tensor | null {
    const handle = handleOf(this, "tensor").grad();
    return handle && wrap(handle);
  }

  /** Sets the gradient of a parameter to zero. */
  zeroGrad(): void {
    handleOf(this, "tensor").zeroGrad();
  }

  /** Overwrites the elements. @throws RubricateError ERR_SHAPE where the number of elements differs */
  set(data: Float32Array | Int32Array | readonly number[]): void {
    handleOf(this, "tensor").set(elements(data, this.dtype));
  }

  dispose(): void {
    handles.get(this)?.dispose();
    handles.delete(this);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function checkedShape(shape: readonly number[]): number[] {
  const what = "an array of integers of 0 or more";
  const sizes = listOf("shape", what, shape);
  if (!sizes.every((size) => Number.isSafeInteger(size) && size >= 0)) throw invalid("shape", what, shape);
  // Zeros count as 1, so that the order of the sizes does not matter.
  const elementCount = sizes.reduce((product, size) => product * Math.max(size, 1), 1);
  if (sizes.length > limits.tensorDimensions || elementCount > limits.tensorElements)
    throw new RubricateError(
      "ERR_SHAPE",
      `Expected at most ${limits.tensorDimensions} dimensions and fewer than 2^44 elements for shape but received ` +
        `${sizes.length} dimensions and ${elementCount} elements`,
    );
  return sizes;
}

function elements(data: Float32Array | Int32Array | readonly number[], dtype: Dtype): Float32Array | Int32Array {
  if (isInstance(data, Float32Array) || isInstance(data, Int32Array)) return data;
  const what = "a Float32Array, an Int32Array or an array of numbers";
  const list = listOf("data", what, data as readonly number[]);
  const isElement = dtype === "int32" ? isInt32 : isNumber;
  const at = list.findIndex((value) => !isElement(value));
  if (at >= 0) throw invalid(`data[${at}]`, dtype === "int32" ? "a 32-bit integer" : "a number", list[at]);
  return dtype === "int32" ? Int32Array.from(list) : Float32Array.from(list);
}

const isNumber = (value: unknown): value is number => typeof value === "number";
const isInt32 = (value: unknown): value is number => isNumber(value) && (value | 0) === value;

const tapes = new WeakMap<Tape, NativeTape>();

function tapeOf(tape: Tape): NativeTape {
  if (!isInstance(tape, Tape)) throw invalid("tape", "a Tape", tape);
  const handle = tapes.get(tape);
  if (!handle) throw new RubricateError("ERR_DISPOSED", "Expected a tape in use but it was disposed of");
  return handle;
}

/** Records ops and runs them backward. Ops none of whose inputs needs a gradient are not recorded. */
export class Tape {
  constructor() {
    tapes.set(this, new (native().Tape)());
  }

  /**
   * Adds the gradients of `loss` to every parameter that it depends on, and empties the tape.
   * @param seed gradient of what is asked for with respect to `loss`, of its shape and dtype; 1 where it is missing
   * @throws RubricateError ERR_FOREIGN where this tape did not record `loss`, ERR_SHAPE where it is no scalar and has no seed
   */
  backward(loss: Tensor, seed?: Tensor): void {
    tapeOf(this).backward(handleOf(loss, "loss"), isMissing(seed) ? undefined : handleOf(seed, "seed"));
  }

  /** Forgets what was recorded. */
  clear(): void {
    tapeOf(this).clear();
  }

  /** Number of recorded ops. */
  get recorded(): number {
    return tapeOf(this).recorded;
  }

  dispose(): void {
    tapes.get(this)?.dispose();
    tapes.delete(this);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function optionalHandles(tensors: readonly (Tensor | null)[], name: string): (NativeTensor | null)[] {
  return listOf(name, "an array of tensors or null", tensors).map((tensor, i) =>
    tensor === null ? null : handleOf(tensor, `${name}[${i}]`),
  );
}

let guardedOps: NativeOps | undefined;

/** The native ops. What an argument's getters throw, as the core describes it, is a RubricateError here too. */
function coreOps(): NativeOps {
  guardedOps ??= Object.fromEntries(
    Object.entries(native().ops as unknown as Record<string, (...args: unknown[]) => unknown>).map(([name, op]) => [
      name,
      (...args: unknown[]) => readArgument(`ops.${name}`, "arguments that can be read", () => op(...args)),
    ]),
  ) as unknown as NativeOps;
  return guardedOps;
}

/**
 * The core's ops, on the calling thread. All take float32 or bfloat16 values, compute in fp32 and round once; each throws
 * ERR_SHAPE, ERR_DTYPE, ERR_FOREIGN (a value of another tape), ERR_DISPOSED or ERR_ARGUMENT. T is a number of rows. The
 * formulas stand in native/ops/NAME/NAME.h.
 */
export const ops = {
  /** x [T, k] times weight [n, k] transposed, plus bias [n]: [T, n]. */
  linear(tape: Tape, x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
    return wrap(
      coreOps().linear(
        tapeOf(tape),
        handleOf(x, "x"),
        handleOf(weight, "weight"),
        isMissing(bias) ? undefined : handleOf(bias, "bias"),
      ),
    );
  },

  /** x [T, d] / sqrt(mean(x^2) + epsilon) * weight [d]. */
  rmsNorm(tape: Tape, x: Tensor, weight: Tensor, epsilon = 1e-5): Tensor {
    return wrap(coreOps().rmsNorm(tapeOf(tape), handleOf(x, "x"), handleOf(weight, "weight"), epsilonOf(epsilon)));
  },

  /** RED: scale * h + bias, h [T, d], with each sequence's own vectors [d]; null stands for 1 and 0. */
  redEdit(
    tape: Tape,
    h: Tensor,
    scales: readonly (Tensor | null)[],
    biases: readonly (Tensor | null)[],
    rows?: Rows,
  ): Tensor {
    const { starts, slots } = rowsOf(rows, h, "redEdit");
    const scaleHandles = optionalHandles(scales, "scales");
    return wrap(
      coreOps().redEdit(tapeOf(tape), handleOf(h, "h"), scaleHandles, optionalHandles(biases, "biases"), starts, slots),
    );
  },

  /** (x - mean) / sqrt(var + epsilon) * weight [d] + bias [d]. */
  layerNorm(tape: Tape, x: Tensor, weight: Tensor, bias: Tensor, epsilon = 1e-5): Tensor {
    return wrap(
      coreOps().layerNorm(
        tapeOf(tape),
        handleOf(x, "x"),
        handleOf(weight, "weight"),
        handleOf(bias, "bias"),
        epsilonOf(epsilon),
      ),
    );
  },

  /** residual + (scale * h + bias), and its RMSNorm where there is a weight: what closes a sub-layer, in one pass. */
  closeSublayer(
    tape: Tape,
    h: Tensor,
    residual: Tensor,
    edit: SublayerEdit,
    norm?: SublayerNorm,
  ): { sum: Tensor; normed: Tensor | null } {
    const { scales, biases, rows } = checkOptions(edit, editNames, "closeSublayer");
    const { weight, epsilon = 1e-5 } = isMissing(norm) ? {} : checkOptions(norm, normNames, "closeSublayer");
    const { starts, slots } = rowsOf(rows, h, "closeSublayer");
    const [sum, normed] = coreOps().closeSublayer(
      tapeOf(tape),
      handleOf(h, "h"),
      handleOf(residual, "residual"),
      optionalHandles(scales, "scales"),
      optionalHandles(biases, "biases"),
      starts,
      slots,
      isMissing(norm) ? null : handleOf(weight as Tensor, "norm.weight"),
      epsilonOf(epsilon),
    );
    return { sum: wrap(sum), normed: normed && wrap(normed) };
  },

  /** silu(gate) * up, [T, f] each. */
  swiglu(tape: Tape, gate: Tensor, up: Tensor): Tensor {
    return wrap(coreOps().swiglu(tapeOf(tape), handleOf(gate, "gate"), handleOf(up, "up")));
  },

  /** Rotary position embedding of x [T, heads * head_dim], as transformers lays it out; positions [T], invFreq [head_dim / 2]. */
  rope(tape: Tape, x: Tensor, heads: number, positions: Int32Array, invFreq: Float32Array): Tensor {
    return wrap(coreOps().rope(tapeOf(tape), handleOf(x, "x"), heads, positions, invFreq));
  },

  /** Causal attention: q [T, heads * head_dim], k and v [T, kvHeads * head_dim]; starts [sequences + 1]; scale defaults to 1 / sqrt(head_dim). */
  attention(tape: Tape, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
    const { heads, ...rest } = checkOptions(options, attentionNames, "attention");
    if (!Number.isSafeInteger(heads) || heads <= 0) throw invalid("heads", "a positive integer", heads);
    const queries = handleOf(q, "q");
    const { kvHeads = heads, scale = 1 / Math.sqrt((queries.shape[1] ?? 0) / heads) } = rest;
    const starts = rest.starts ?? oneSequence(q).starts;
    return wrap(
      coreOps().attention(tapeOf(tape), queries, handleOf(k, "k"), handleOf(v, "v"), heads, kvHeads, scale, starts),
    );
  },

  /** Rows of weight [vocabulary, d] by id: [tokens, d]. */
  embedding(tape: Tape, tokenIds: Int32Array, weight: Tensor): Tensor {
    return wrap(coreOps().embedding(tapeOf(tape), tokenIds, handleOf(weight, "weight")));
  },

  /**
   * Sum over the given rows of weight * cross-entropy of x [T, d] times head [vocabulary, d] transposed, in chunks: the
   * logits never exist whole. rows ascending; weights such as 1 / rows. float32 [1].
   */
  headCrossEntropy(tape: Tape, x: Tensor, head: Tensor, loss: HeadLoss): Tensor {
    const { rows, targets, weights } = checkOptions(loss, lossNames, "headCrossEntropy");
    return wrap(
      coreOps().headCrossEntropy(tapeOf(tape), handleOf(x, "x"), handleOf(head, "head"), rows, targets, weights),
    );
  },

  /** Mean cross-entropy of logits [R, classes] (float32) and targets [R]: float32 [1]. */
  crossEntropy(tape: Tape, logits: Tensor, targets: Int32Array): Tensor {
    return wrap(coreOps().crossEntropy(tapeOf(tape), handleOf(logits, "logits"), targets));
  },

  add(tape: Tape, a: Tensor, b: Tensor): Tensor {
    return wrap(coreOps().add(tapeOf(tape), handleOf(a, "a"), handleOf(b, "b")));
  },

  multiply(tape: Tape, a: Tensor, b: Tensor): Tensor {
    return wrap(coreOps().multiply(tapeOf(tape), handleOf(a, "a"), handleOf(b, "b")));
  },

  scaleBy(tape: Tape, a: Tensor, factor: number): Tensor {
    return wrap(coreOps().scaleBy(tapeOf(tape), handleOf(a, "a"), factor));
  },

  silu(tape: Tape, a: Tensor): Tensor {
    return wrap(coreOps().silu(tapeOf(tape), handleOf(a, "a")));
  },

  /** Sum of all elements: float32 [1]. */
  sum(tape: Tape, a: Tensor): Tensor {
    return wrap(coreOps().sum(tapeOf(tape), handleOf(a, "a")));
  },

  /** Mean of (a - target)^2: float32 [1]. */
  meanSquaredError(tape: Tape, a: Tensor, target: Tensor): Tensor {
    return wrap(coreOps().meanSquaredError(tapeOf(tape), handleOf(a, "a"), handleOf(target, "target")));
  },

  cast(tape: Tape, a: Tensor, dtype: FloatDtype): Tensor {
    return wrap(coreOps().cast(tapeOf(tape), handleOf(a, "a"), dtype));
  },

  /** One AdamW update of a float32 parameter, in place, with its moments m and v; step counts from 1. */
  adamwStep(parameter: Tensor, grad: Tensor, m: Tensor, v: Tensor, step: number, options: AdamWOptions): void {
    const given = checkOptions(options, adamWNames, "adamwStep");
    const { learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 } = given;
    const { decayTarget, gradScale } = given;
    for (const [name, value] of Object.entries({ learningRate, epsilon, weightDecay, decayTarget, gradScale }))
      if (typeof value === "number" && !Number.isFinite(Math.fround(value)))
        throw invalid(name, "a finite float32 number", value);
    const settings = { learningRate, beta1, beta2, epsilon, weightDecay, decayToZero: false, maxGradNorm: 0 };
    coreOps().adamwStep(
      handleOf(parameter, "parameter"),
      handleOf(grad, "grad"),
      handleOf(m, "m"),
      handleOf(v, "v"),
      step,
      settings,
      decayTarget ?? 0,
      gradScale ?? 1,
    );
  },

  /** Euclidean norm of all elements of all tensors (float32). */
  gradientNorm(grads: readonly Tensor[]): number {
    const list = listOf("grads", "an array of tensors", grads);
    return coreOps().gradientNorm(list.map((grad, i) => handleOf(grad, `grads[${i}]`)));
  },
} as const;

/** A norm's: below 0 it would give the square root of a negative number. */
function epsilonOf(epsilon: number): number {
  if (typeof epsilon !== "number" || !(epsilon >= 0 && Number.isFinite(Math.fround(epsilon))))
    throw invalid("epsilon", "a finite number of at least 0", epsilon);
  return epsilon;
}

function rowsOf(rows: Rows | undefined, x: Tensor, what: string): Rows {
  return isMissing(rows) ? oneSequence(x) : checkOptions(rows, rowsNames, what);
}

function oneSequence(x: Tensor): Rows {
  const rows = isInstance(x, Tensor) ? (x.shape[0] ?? 0) : 0;
  return { starts: Int32Array.of(0, rows), slots: Int32Array.of(1) };
}

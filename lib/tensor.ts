import { invalid, RubricateError } from "./errors";
import { type NativeTape, type NativeTensor, native } from "./native";

export type FloatDtype = "float32" | "bfloat16" | "float16";
export type Dtype = FloatDtype | "int32";

const handles = new WeakMap<Tensor, NativeTensor>();

function handleOf(tensor: Tensor, name: string): NativeTensor {
  if (!(tensor instanceof Tensor)) throw invalid(name, "a Tensor", tensor);
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
   * @param options requiresGrad: a parameter, whose fp32 gradient a tape's backward adds to
   * @throws RubricateError ERR_ARGUMENT, ERR_SHAPE, ERR_DTYPE, ERR_OUT_OF_MEMORY
   */
  static from(
    data: Float32Array | Int32Array | readonly number[],
    shape: readonly number[],
    dtype: Dtype = "float32",
    options: { requiresGrad?: boolean } = {},
  ): Tensor {
    if (!Array.isArray(shape) || !shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
      throw invalid("shape", "an array of integers of 0 or more", shape);
    }
    return wrap(native().Tensor.from(elements(data, dtype), shape, dtype, options.requiresGrad ?? false));
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

function elements(data: Float32Array | Int32Array | readonly number[], dtype: Dtype): Float32Array | Int32Array {
  if (data instanceof Float32Array || data instanceof Int32Array) return data;
  if (!Array.isArray(data) || !data.every((x) => typeof x === "number")) {
    throw invalid("data", "a Float32Array, an Int32Array or an array of numbers", data);
  }
  return dtype === "int32" ? Int32Array.from(data) : Float32Array.from(data);
}

const tapes = new WeakMap<Tape, NativeTape>();

function tapeOf(tape: Tape): NativeTape {
  if (!(tape instanceof Tape)) throw invalid("tape", "a Tape", tape);
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
    tapeOf(this).backward(handleOf(loss, "loss"), seed && handleOf(seed, "seed"));
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

/** AdamW's settings for `ops.adamwStep`; torch.optim.AdamW's defaults, without weight decay. */
export interface AdamWOptions {
  readonly learningRate: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly weightDecay?: number;
  /** What weight decay pulls towards: 0 (the default), or 1 for a scale. */
  readonly decayTarget?: number;
  /** Multiplies the gradient: a clip factor. Default 1. */
  readonly gradScale?: number;
}

function optionalHandles(tensors: readonly (Tensor | null)[], name: string): (NativeTensor | null)[] {
  if (!Array.isArray(tensors)) throw invalid(name, "an array of tensors or null", tensors);
  return tensors.map((tensor, i) => (tensor === null ? null : handleOf(tensor, `${name}[${i}]`)));
}

/** Rows of each sequence and its adapter slot; one sequence without a choice means that all rows use slot 1. */
export interface Rows {
  /** First row of each sequence, then the number of rows, [sequences + 1]. */
  readonly starts: Int32Array;
  /** Slot of each sequence, [sequences]: 0 is no edit, i + 1 uses element i of the vectors. */
  readonly slots: Int32Array;
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
      native().ops.linear(tapeOf(tape), handleOf(x, "x"), handleOf(weight, "weight"), bias && handleOf(bias, "bias")),
    );
  },

  /** x [T, d] / sqrt(mean(x^2) + epsilon) * weight [d]. */
  rmsNorm(tape: Tape, x: Tensor, weight: Tensor, epsilon = 1e-5): Tensor {
    return wrap(native().ops.rmsNorm(tapeOf(tape), handleOf(x, "x"), handleOf(weight, "weight"), epsilon));
  },

  /** RED: scale * h + bias, h [T, d], with each sequence's own vectors [d]; null stands for 1 and 0. */
  redEdit(
    tape: Tape,
    h: Tensor,
    scales: readonly (Tensor | null)[],
    biases: readonly (Tensor | null)[],
    rows?: Rows,
  ): Tensor {
    const { starts, slots } = rows ?? oneSequence(h);
    const scaleHandles = optionalHandles(scales, "scales");
    return wrap(
      native().ops.redEdit(
        tapeOf(tape),
        handleOf(h, "h"),
        scaleHandles,
        optionalHandles(biases, "biases"),
        starts,
        slots,
      ),
    );
  },

  /** (x - mean) / sqrt(var + epsilon) * weight [d] + bias [d]. */
  layerNorm(tape: Tape, x: Tensor, weight: Tensor, bias: Tensor, epsilon = 1e-5): Tensor {
    return wrap(
      native().ops.layerNorm(
        tapeOf(tape),
        handleOf(x, "x"),
        handleOf(weight, "weight"),
        handleOf(bias, "bias"),
        epsilon,
      ),
    );
  },

  /** residual + (scale * h + bias), and its RMSNorm where there is a weight: what closes a sub-layer, in one pass. */
  closeSublayer(
    tape: Tape,
    h: Tensor,
    residual: Tensor,
    edit: { scales: readonly (Tensor | null)[]; biases: readonly (Tensor | null)[]; rows?: Rows },
    norm?: { weight: Tensor; epsilon?: number },
  ): { sum: Tensor; normed: Tensor | null } {
    const { starts, slots } = edit.rows ?? oneSequence(h);
    const [sum, normed] = native().ops.closeSublayer(
      tapeOf(tape),
      handleOf(h, "h"),
      handleOf(residual, "residual"),
      optionalHandles(edit.scales, "scales"),
      optionalHandles(edit.biases, "biases"),
      starts,
      slots,
      norm ? handleOf(norm.weight, "norm.weight") : null,
      norm?.epsilon ?? 1e-5,
    );
    return { sum: wrap(sum), normed: normed && wrap(normed) };
  },

  /** silu(gate) * up, [T, f] each. */
  swiglu(tape: Tape, gate: Tensor, up: Tensor): Tensor {
    return wrap(native().ops.swiglu(tapeOf(tape), handleOf(gate, "gate"), handleOf(up, "up")));
  },

  /** Rotary position embedding of x [T, heads * head_dim], as transformers lays it out; positions [T], invFreq [head_dim / 2]. */
  rope(tape: Tape, x: Tensor, heads: number, positions: Int32Array, invFreq: Float32Array): Tensor {
    return wrap(native().ops.rope(tapeOf(tape), handleOf(x, "x"), heads, positions, invFreq));
  },

  /** Causal attention: q [T, heads * head_dim], k and v [T, kvHeads * head_dim]; starts [sequences + 1]; scale defaults to 1 / sqrt(head_dim). */
  attention(
    tape: Tape,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options: { heads: number; kvHeads?: number; scale?: number; starts?: Int32Array },
  ): Tensor {
    const { heads, kvHeads = heads } = options;
    const scale = options.scale ?? 1 / Math.sqrt((q.shape[1] ?? 0) / heads);
    const starts = options.starts ?? oneSequence(q).starts;
    return wrap(
      native().ops.attention(
        tapeOf(tape),
        handleOf(q, "q"),
        handleOf(k, "k"),
        handleOf(v, "v"),
        heads,
        kvHeads,
        scale,
        starts,
      ),
    );
  },

  /** Rows of weight [vocabulary, d] by id: [tokens, d]. */
  embedding(tape: Tape, tokenIds: Int32Array, weight: Tensor): Tensor {
    return wrap(native().ops.embedding(tapeOf(tape), tokenIds, handleOf(weight, "weight")));
  },

  /**
   * Sum over the given rows of weight * cross-entropy of x [T, d] times head [vocabulary, d] transposed, in chunks: the
   * logits never exist whole. rows ascending; weights such as 1 / rows. float32 [1].
   */
  headCrossEntropy(
    tape: Tape,
    x: Tensor,
    head: Tensor,
    loss: { rows: Int32Array; targets: Int32Array; weights: Float32Array },
  ): Tensor {
    return wrap(
      native().ops.headCrossEntropy(
        tapeOf(tape),
        handleOf(x, "x"),
        handleOf(head, "head"),
        loss.rows,
        loss.targets,
        loss.weights,
      ),
    );
  },

  /** Mean cross-entropy of logits [R, classes] (float32) and targets [R]: float32 [1]. */
  crossEntropy(tape: Tape, logits: Tensor, targets: Int32Array): Tensor {
    return wrap(native().ops.crossEntropy(tapeOf(tape), handleOf(logits, "logits"), targets));
  },

  add(tape: Tape, a: Tensor, b: Tensor): Tensor {
    return wrap(native().ops.add(tapeOf(tape), handleOf(a, "a"), handleOf(b, "b")));
  },

  multiply(tape: Tape, a: Tensor, b: Tensor): Tensor {
    return wrap(native().ops.multiply(tapeOf(tape), handleOf(a, "a"), handleOf(b, "b")));
  },

  scaleBy(tape: Tape, a: Tensor, factor: number): Tensor {
    return wrap(native().ops.scaleBy(tapeOf(tape), handleOf(a, "a"), factor));
  },

  silu(tape: Tape, a: Tensor): Tensor {
    return wrap(native().ops.silu(tapeOf(tape), handleOf(a, "a")));
  },

  /** Sum of all elements: float32 [1]. */
  sum(tape: Tape, a: Tensor): Tensor {
    return wrap(native().ops.sum(tapeOf(tape), handleOf(a, "a")));
  },

  /** Mean of (a - target)^2: float32 [1]. */
  meanSquaredError(tape: Tape, a: Tensor, target: Tensor): Tensor {
    return wrap(native().ops.meanSquaredError(tapeOf(tape), handleOf(a, "a"), handleOf(target, "target")));
  },

  cast(tape: Tape, a: Tensor, dtype: FloatDtype): Tensor {
    return wrap(native().ops.cast(tapeOf(tape), handleOf(a, "a"), dtype));
  },

  /** One AdamW update of a float32 parameter, in place, with its moments m and v; step counts from 1. */
  adamwStep(parameter: Tensor, grad: Tensor, m: Tensor, v: Tensor, step: number, options: AdamWOptions): void {
    const { learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 } = options;
    const settings = { learningRate, beta1, beta2, epsilon, weightDecay, decayToZero: false, maxGradNorm: 0 };
    native().ops.adamwStep(
      handleOf(parameter, "parameter"),
      handleOf(grad, "grad"),
      handleOf(m, "m"),
      handleOf(v, "v"),
      step,
      settings,
      options.decayTarget ?? 0,
      options.gradScale ?? 1,
    );
  },

  /** Euclidean norm of all elements of all tensors (float32). */
  gradientNorm(grads: readonly Tensor[]): number {
    return native().ops.gradientNorm(grads.map((grad, i) => handleOf(grad, `grads[${i}]`)));
  },
} as const;

function oneSequence(x: Tensor): Rows {
  const rows = x instanceof Tensor ? (x.shape[0] ?? 0) : 0;
  return { starts: Int32Array.of(0, rows), slots: Int32Array.of(1) };
}

import { isInstance } from "../brands";
import { invalid } from "../errors";
import { type NativeOps, type NativeTensor, native } from "../native";
import { checkOptions, isMissing, listOf, readArgument } from "../options";
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
} from "./options";
import { type FloatDtype, handleOf, type Tape, Tensor, tapeOf, wrap } from "./tensor";

export type {
  AdamWOptions,
  AttentionOptions,
  HeadLoss,
  Rows,
  SublayerEdit,
  SublayerNorm,
} from "./options";

function optionalHandles(tensors: readonly (Tensor | null)[], name: string): (NativeTensor | null)[] {
  return listOf(name, "an array of tensors or null", tensors).map((tensor, i) =>
    tensor === null ? null : handleOf(tensor, `${name}[${i}]`),
  );
}

let guardedOps: NativeOps | undefined;

/** The native ops. An error thrown by an argument's getters becomes a RubricateError. */
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
 * The core's ops, run on the calling thread. All accept float32 or bfloat16 values, compute in fp32 and round once; each
 * throws ERR_SHAPE, ERR_DTYPE, ERR_FOREIGN (a value of another tape), ERR_DISPOSED or ERR_ARGUMENT. T is the number of
 * rows. native/ops/NAME/NAME.h has the formulas.
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

  /** RED: scale * h + bias, h [T, d], with each sequence's own vectors [d]; null means 1 for scale and 0 for bias. */
  redEdit(
    tape: Tape,
    h: Tensor,
    scales: readonly (Tensor | null)[],
    biases: readonly (Tensor | null)[],
    rows?: Rows,
  ): Tensor {
    const { starts, slots } = rowsOf(rows, h, "redEdit");
    return wrap(
      coreOps().redEdit(tapeOf(tape), {
        h: handleOf(h, "h"),
        scales: optionalHandles(scales, "scales"),
        biases: optionalHandles(biases, "biases"),
        starts,
        slots,
      }),
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

  /**
   * The end of a transformer's sub-layer in one pass: sum = residual + (scale * h + bias), and normed = RMSNorm(sum) if
   * there is a norm. h, residual, sum and normed are [T, d].
   */
  editAddNorm(
    tape: Tape,
    h: Tensor,
    residual: Tensor,
    edit: SublayerEdit,
    norm?: SublayerNorm,
  ): { sum: Tensor; normed: Tensor | null } {
    const { scales, biases, rows } = checkOptions(edit, editNames, "editAddNorm");
    const { weight, epsilon = 1e-5 } = isMissing(norm) ? {} : checkOptions(norm, normNames, "editAddNorm");
    const { starts, slots } = rowsOf(rows, h, "editAddNorm");
    const [sum, normed] = coreOps().editAddNorm(tapeOf(tape), {
      h: handleOf(h, "h"),
      residual: handleOf(residual, "residual"),
      scales: optionalHandles(scales, "scales"),
      biases: optionalHandles(biases, "biases"),
      starts,
      slots,
      normWeight: isMissing(norm) ? null : handleOf(weight as Tensor, "norm.weight"),
      epsilon: epsilonOf(epsilon),
    });
    return { sum: wrap(sum), normed: normed && wrap(normed) };
  },

  /** silu(gate) * up, [T, f] each. */
  swiglu(tape: Tape, gate: Tensor, up: Tensor): Tensor {
    return wrap(coreOps().swiglu(tapeOf(tape), handleOf(gate, "gate"), handleOf(up, "up")));
  },

  /** Rotary position embedding of x [T, heads * head_dim], in transformers' layout; positions [T], invFreq [head_dim / 2]. */
  rope(tape: Tape, x: Tensor, heads: number, positions: Int32Array, invFreq: Float32Array): Tensor {
    return wrap(coreOps().rope(tapeOf(tape), handleOf(x, "x"), heads, positions, invFreq));
  },

  /**
   * Causal attention: q [T, heads * head_dim], k and v [T, kvHeads * head_dim]; starts [sequences + 1]; scale defaults to 1
   * / sqrt(head_dim).
   */
  attention(tape: Tape, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
    const { heads, ...rest } = checkOptions(options, attentionNames, "attention");
    if (!Number.isSafeInteger(heads) || heads <= 0) throw invalid("heads", "a positive integer", heads);
    const queries = handleOf(q, "q");
    const { kvHeads = heads, scale = 1 / Math.sqrt((queries.shape[1] ?? 0) / heads) } = rest;
    return wrap(
      coreOps().attention(tapeOf(tape), {
        q: queries,
        k: handleOf(k, "k"),
        v: handleOf(v, "v"),
        heads,
        kvHeads,
        scale,
        starts: rest.starts ?? oneSequence(q).starts,
      }),
    );
  },

  /** Rows of weight [vocabulary, d] by id: [tokens, d]. */
  embedding(tape: Tape, tokenIds: Int32Array, weight: Tensor): Tensor {
    return wrap(coreOps().embedding(tapeOf(tape), tokenIds, handleOf(weight, "weight")));
  },

  /**
   * Sum over the given rows of weight * cross-entropy of x [T, d] times head [vocabulary, d] transposed, in chunks: the
   * full logits are never materialised. rows ascending; weights such as 1 / rows. float32 [1].
   */
  headCrossEntropy(tape: Tape, x: Tensor, head: Tensor, loss: HeadLoss): Tensor {
    const { rows, targets, weights } = checkOptions(loss, lossNames, "headCrossEntropy");
    const args = { x: handleOf(x, "x"), head: handleOf(head, "head"), rows, targets, weights };
    return wrap(coreOps().headCrossEntropy(tapeOf(tape), args));
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
    coreOps().adamwStep({
      parameter: handleOf(parameter, "parameter"),
      grad: handleOf(grad, "grad"),
      m: handleOf(m, "m"),
      v: handleOf(v, "v"),
      step,
      options: settings,
      decayTarget: decayTarget ?? 0,
      gradScale: gradScale ?? 1,
    });
  },

  /** Euclidean norm of all elements of all tensors (float32). */
  gradientNorm(grads: readonly Tensor[]): number {
    const list = listOf("grads", "an array of tensors", grads);
    return coreOps().gradientNorm(list.map((grad, i) => handleOf(grad, `grads[${i}]`)));
  },
} as const;

/** Checks a norm's epsilon: a negative one could give the square root of a negative number. */
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

import { isFloat32Array, isInt32Array } from "node:util/types";
import { isInstance } from "../brands";
import { markCopy } from "../copies";
import { invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import { type NativeTape, type NativeTensor, native } from "../native";
import { booleanOf, checkOptions, isMissing, listOf, type OptionNames, readArgument } from "../options";

export type FloatDtype = "float32" | "bfloat16" | "float16";
export type Dtype = FloatDtype | "int32";

export interface TensorOptions {
  /** Whether it is a parameter, to whose fp32 gradient a tape's backward pass adds. Default: false. */
  readonly requiresGrad?: boolean;
}

const tensorNames: OptionNames<TensorOptions> = { requiresGrad: true };

const handles = new WeakMap<Tensor, NativeTensor>();

/** @throws RubricateError ERR_ARGUMENT, ERR_DISPOSED @internal */
export function handleOf(tensor: Tensor, name: string): NativeTensor {
  if (!isInstance(tensor, Tensor)) throw invalid(name, "a Tensor", tensor);
  const handle = handles.get(tensor);
  if (!handle) throw new RubricateError("ERR_DISPOSED", `Expected a tensor in use for ${name} but it was disposed of`);
  return handle;
}

let construct: (handle: NativeTensor) => Tensor;

/** Makes a Tensor of a native handle. @internal */
export function wrap(handle: NativeTensor): Tensor {
  return construct(handle);
}

/**
 * A dense, row-major array of the native core; immutable except by `set`. Its memory is freed by `dispose()` (or `using`),
 * at the latest by the garbage collector.
 */
export class Tensor {
  private constructor(handle: NativeTensor) {
    handles.set(this, handle);
  }

  static {
    construct = (handle) => new Tensor(handle);
    markCopy(Tensor);
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

  /** Whether the backward pass reaches this value. */
  get requiresGrad(): boolean {
    return handleOf(this, "tensor").requiresGrad;
  }

  /** A copy of the elements: Float32Array for every floating-point dtype, Int32Array for int32. */
  data(): Float32Array | Int32Array {
    return handleOf(this, "tensor").data();
  }

  /** The accumulated gradient of this parameter (fp32, same shape), or null before the first backward pass. */
  grad(): Tensor | null {
    const handle = handleOf(this, "tensor").grad();
    return handle && wrap(handle);
  }

  /** Sets the gradient of a parameter to zero. */
  zeroGrad(): void {
    handleOf(this, "tensor").zeroGrad();
  }

  /** Overwrites the elements. @throws RubricateError ERR_SHAPE if the number of elements differs */
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
  // Accepts arrays of any realm: those of a test runner or an application shell are not instances of this realm's classes.
  if (isFloat32Array(data) || isInt32Array(data)) return data;
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

/** @throws RubricateError ERR_ARGUMENT, ERR_DISPOSED @internal */
export function tapeOf(tape: Tape): NativeTape {
  if (!isInstance(tape, Tape)) throw invalid("tape", "a Tape", tape);
  const handle = tapes.get(tape);
  if (!handle) throw new RubricateError("ERR_DISPOSED", "Expected a tape in use but it was disposed of");
  return handle;
}

/** Records ops and runs them backward. Ops none of whose inputs needs a gradient are not recorded. */
export class Tape {
  static {
    markCopy(Tape);
  }

  constructor() {
    tapes.set(this, new (native().Tape)());
  }

  /**
   * Adds the gradients of `loss` to every parameter that it depends on, and empties the tape.
   * @param seed gradient with respect to `loss`, of its shape and dtype; 1 if it is missing
   * @throws RubricateError ERR_FOREIGN if this tape did not record `loss`, ERR_SHAPE if it is not a scalar and has no seed
   */
  backward(loss: Tensor, seed?: Tensor): void {
    tapeOf(this).backward(handleOf(loss, "loss"), isMissing(seed) ? undefined : handleOf(seed, "seed"));
  }

  /** Clears the recorded ops. */
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

/** The handles of tensors and tapes. */

export type NativeDtype = "float32" | "bfloat16" | "float16" | "int32";

/** A tensor, or a value on a tape. */
export interface NativeTensor {
  readonly shape: readonly number[];
  readonly dtype: NativeDtype;
  readonly requiresGrad: boolean;
  /** A copy: Float32Array for every floating-point dtype, Int32Array for int32. */
  data(): Float32Array | Int32Array;
  /** The fp32 gradient of a parameter as a new tensor, or null before any backward. */
  grad(): NativeTensor | null;
  zeroGrad(): void;
  /** Overwrites the elements (converted to the dtype); for parameters between steps. */
  set(data: Float32Array | Int32Array): void;
  dispose(): void;
}

export interface NativeTape {
  /** Runs backward from `loss`; `seed` has its shape and dtype, and may be missing for a scalar. */
  backward(loss: NativeTensor, seed?: NativeTensor): void;
  clear(): void;
  readonly recorded: number;
  dispose(): void;
}

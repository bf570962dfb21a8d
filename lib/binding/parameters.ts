/** Handles of trainable parameters: the vectors of an adapter, or the weights of a model. */
import type { NativeJob } from "../job";

/** A linear layer of a block. */
export type NativeLinearSite = "q_proj" | "k_proj" | "v_proj" | "o_proj" | "gate_proj" | "up_proj" | "down_proj";
/** A norm of the model, by what it feeds; the final one is the first of one layer more. */
export type NativeNormSite = "input_layernorm" | "post_attention_layernorm";
export type NativeSite = NativeLinearSite | NativeNormSite;

/** The parameters of an adapter, in the order of its plan. */
export interface NativeAdapter {
  /** Canonical names such as "layers.0.mlp.down_proj.scale", and the shape of each. */
  readonly names: readonly string[];
  readonly shapes: readonly (readonly number[])[];
  /** Copies of the indices of its plan's sparse updates, which adapters of equal plans share. */
  indices(): Int32Array[];
  /**
   * Copies of all values, concatenated, fp32. ERR_BUSY while a job trains the adapter; gradients() too.
   * @param into takes the copies and is returned; default: a new array
   */
  values(into?: Float32Array): Float32Array;
  /** Gradients of the last backward, before clipping; same layout. */
  gradients(): Float32Array;
  /** ERR_BUSY while a job uses the adapter. */
  setValues(values: Float32Array): void;
  dispose(): void;
}

/** The weights of a model as parameters. */
export interface NativeParameters {
  readonly names: readonly string[];
  readonly shapes: readonly (readonly number[])[];
  /** The fp32 master of parameter i, copied. ERR_BUSY while a job uses the model; gradient() too. */
  value(index: number): Float32Array;
  gradient(index: number): Float32Array;
  /** `count` numbers, from `start`, of the fp32 master of parameter i, copied on the model's thread. */
  readValue(index: number, start: number, count: number): NativeJob<Float32Array>;
  /** Stages the next numbers of a new value of parameter i (copied); commitValue applies them all together. */
  stageValue(index: number, piece: Float32Array): void;
  /** Replaces parameter i with the staged value, on the model's thread. ERR_SHAPE if that is not complete. */
  commitValue(index: number): NativeJob<undefined>;
}

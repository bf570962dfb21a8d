/** The handle of a model. */
import type { NativeJob } from "../job";
import type { NativeBatch, NativeMicroBatch, NativeSums, NativeTenantResult, NativeTrainRequest } from "./batches";
import type { NativeDecoder } from "./decoder";
import type { MatrixProduct } from "./devices";
import type { NativeAdapter, NativeParameters } from "./parameters";
import type { NativeDtype } from "./tensor";

/** What a model is loaded from. */
export interface NativeModelSpec {
  /** Canonical JSON of the architecture, as native/architecture/architecture.h reads it. */
  readonly architecture: string;
  /** Absolute paths of the safetensors files. */
  readonly files: readonly string[];
  /** The checkpoint's tensor names by canonical name, where they are not `prefix` and that. */
  readonly names: Readonly<Record<string, string>>;
  /** "" where it is left out. */
  readonly prefix?: string;
  /** Checkpoint tensor names that may be there and are not needed; any other extra tensor is ERR_TENSOR_UNEXPECTED. */
  readonly ignored: readonly string[];
  /** Dtype of the computation; undefined: bfloat16 where the first matrix is stored so, else float32. */
  readonly compute?: "float32" | "bfloat16";
  /** Number of the CUDA device to compute on; undefined: the CPU. */
  readonly device?: number;
  /** Called on this thread with the bytes of tensors taken in so far and in all; coalesced. */
  readonly onProgress?: (loadedBytes: number, totalBytes: number) => void;
}

/** What a model holds, in bytes; a model on a CUDA device holds it there. */
export interface ModelMemory {
  /** Weights used in place in their mapped files; shared with other loads of the same files. None on a CUDA device. */
  readonly mapped: number;
  /** In memory of this model's own: weights, and the table of the rotary embedding, which grows with the longest sequence. */
  readonly owned: number;
  /** Tensors of running jobs, their peak, and memory kept for the next job. */
  readonly workspace: number;
  readonly workspacePeak: number;
  readonly workspaceCached: number;
  /**
   * Of the model's CUDA device: what this process uses there and keeps for reuse, the most that the two came to, what they
   * are limited to (0: not at all; see `setDeviceMemoryLimit`), all of its memory, and what is free of it. undefined on the
   * CPU.
   */
  readonly device?: {
    readonly used: number;
    readonly cached: number;
    readonly peak: number;
    readonly limit: number;
    readonly total: number;
    readonly free: number;
  };
}

export interface NativeModel {
  readonly compute: "float32" | "bfloat16";
  /** Jobs that run or wait. */
  readonly pendingJobs: number;
  /** Logits of `rows` (all where it is undefined), fp32 [rows, vocabulary]. */
  logits(batch: NativeBatch, adapters: readonly (NativeAdapter | null)[], rows?: Int32Array): NativeJob<Float32Array>;
  trainStep(request: NativeTrainRequest): NativeJob<NativeTenantResult[]>;
  evaluate(
    microBatches: readonly NativeMicroBatch[],
    adapters: readonly (NativeAdapter | null)[],
  ): NativeJob<NativeSums>;
  /** Makes the weights trainable: private copies with fp32 masters and gradients. */
  makeTrainable(): NativeJob<NativeParameters>;
  createDecoder(): NativeDecoder;
  /** A tensor in its stored dtype, by canonical name. */
  readTensor(name: string): NativeJob<{ dtype: NativeDtype; shape: number[]; data: Uint8Array }>;
  /**
   * What the weights' fingerprint is made of: for each tensor by sorted canonical name, its name, its shape, and 64 of its
   * elements at fixed places as fp32, in a byte form that does not depend on sharding.
   */
  fingerprintBytes(): NativeJob<Uint8Array>;
  memory(): ModelMemory;
  /** What its CUDA device has multiplied in this process, by all models there; empty on the CPU. */
  products(): MatrixProduct[];
  /** Ends all jobs (they reject with ERR_ABORTED) and frees the memory. Further calls are ERR_DISPOSED. */
  dispose(): void;
}

/** The handle of a model. */
import type { NativeJob } from "../job";
import type { NativeBatch, NativeMicroBatch, NativeSums, NativeTrainJob, NativeTrainRequest } from "./batches";
import type { MatmulRecord } from "./devices";
import type { NativeEngine, NativeEngineOptions, NativeOutputs, NativeVersion } from "./engine";
import type { NativeAdapter, NativeParameters, NativeSite } from "./parameters";
import type { NativeDtype } from "./tensor";

/** Arguments of loading a model. */
export interface NativeModelSpec {
  /** Canonical JSON of the architecture, as native/architecture/architecture.h reads it. */
  readonly architecture: string;
  /** Absolute paths of the safetensors files. */
  readonly files: readonly string[];
  /**
   * Where canonical tensors lie that are not stored whole under `prefix` + canonical name. "{}" in a name, of both, stands
   * for the number of a layer.
   */
  readonly stored: Readonly<Record<string, NativeStoredTensor>>;
  /** Prefix of the checkpoint's tensor names. Default: "". */
  readonly prefix?: string;
  /** Checkpoint tensors that are allowed but not needed; any other extra tensor is ERR_TENSOR_UNEXPECTED. "{}" as in `stored`. */
  readonly ignored: readonly string[];
  /** Dtype of the computation; undefined: bfloat16 if the first matrix is stored in it, else float32. */
  readonly compute?: "float32" | "bfloat16";
  /** Number of the CUDA device to compute on; undefined: the CPU. */
  readonly device?: number;
  /** Called on this thread with the bytes of tensors loaded so far and in total; calls are coalesced. */
  readonly onProgress?: (loadedBytes: number, totalBytes: number) => void;
}

/** Where a checkpoint stores a canonical tensor (native/model/checkpoint.h). */
export interface NativeStoredTensor {
  readonly name: string;
  readonly begin?: number;
  readonly total?: number;
  readonly transposed?: boolean;
}

/** Memory of a model in bytes; for a model on a CUDA device, on that device. */
export interface ModelMemory {
  /** Weights used in place in their mapped files; shared with other loads of the same files. None on a CUDA device. */
  readonly mapped: number;
  /** Memory owned by this model: weights, and the RoPE table, which grows with the longest sequence. */
  readonly owned: number;
  /**
   * Pages of keys and values: those that its engine has allocated so far, whether requests use them or not; `Engine.stats` has
   * how many they use. At most the engine's `cacheBytes`. 0 before its first request, and once its engine was closed, which
   * without an `Engine` happens ten seconds after the last request.
   */
  readonly keysAndValues: number;
  /** Tensors of running jobs, their peak, and memory kept for the next job. */
  readonly workspace: number;
  readonly workspacePeak: number;
  readonly workspaceCached: number;
  /**
   * The model's CUDA device: bytes that this process uses there and keeps for reuse, the peak of their sum, its limit (0:
   * none; see `setDeviceMemoryLimit`), and the device's total and free memory; free is what the driver said last, less what this process
   * has allocated since. undefined on the CPU.
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

/** A canonical tensor of a merged model. */
export interface NativeMergedPart {
  /** undefined: zeros, of a bias that the model does not have. */
  readonly name?: string | undefined;
  readonly shape: readonly number[];
  /** What changes it; undefined: it keeps its values. */
  readonly change?: NativeMergedChange | undefined;
}

/** The site of an adapter's version that is merged into a weight or a bias (native/adapter/merge.h). */
export interface NativeMergedChange {
  readonly version: NativeVersion;
  readonly layer: number;
  readonly site: NativeSite;
  /** Whether the tensor is the bias; false: the weight. */
  readonly bias: boolean;
}

/** A tensor's elements, row-major. */
export interface NativeContents {
  readonly dtype: NativeDtype;
  readonly shape: number[];
  readonly data: Uint8Array;
}

export interface NativeModel {
  readonly compute: "float32" | "bfloat16";
  /** Jobs that run or wait. */
  readonly pendingJobs: number;
  /** Logits of `rows` (all if it is undefined), fp32 [rows, vocabulary]. */
  logits(batch: NativeBatch, adapters: readonly (NativeAdapter | null)[], rows?: Int32Array): NativeJob<Float32Array>;
  trainStep(request: NativeTrainRequest): NativeTrainJob;
  /** maxRows: as for a training step. */
  evaluate(
    microBatches: readonly NativeMicroBatch[],
    adapters: readonly (NativeAdapter | null)[],
    maxRows?: number,
  ): NativeJob<NativeSums>;
  /** Makes the weights trainable: private copies with fp32 masters and gradients. */
  makeTrainable(): NativeJob<NativeParameters>;
  /** ERR_STATE if the model has an engine. */
  createEngine(options: NativeEngineOptions, onOutputs: NativeOutputs): NativeEngine;
  /**
   * The adapter's present vectors. While a job of this model trains the adapter, they are copied between two of its ops, so
   * that they are of one update; ERR_BUSY if another model trains it. If nothing trains it, they are copied once, until they
   * change.
   */
  publish(adapter: NativeAdapter): NativeJob<NativeVersion>;
  /** Stored dtype and shape of each tensor, by canonical name. */
  tensorSpecs(): Record<string, { readonly dtype: NativeDtype; readonly shape: readonly number[] }>;
  /**
   * Tensors in their stored dtype, by canonical name: those of several names one below the other, and a matrix transposed
   * where that is how the checkpoint stores it.
   */
  readTensor(names: readonly string[], transposed?: boolean): NativeJob<NativeContents>;
  /**
   * The tensors of a merged model, computed in fp32 and rounded once to `dtype`; put together as by `readTensor`. Tensors without a
   * change keep their bytes.
   */
  mergedTensor(parts: readonly NativeMergedPart[], dtype: NativeDtype, transposed: boolean): NativeJob<NativeContents>;
  /**
   * The squares of the gradients of these matrices, summed over the steps (lists of micro-batches), by rows, in the order of `sites`. The
   * model is not changed. ERR_ARGUMENT, ERR_DATA, ERR_NOT_FINITE, ERR_OUT_OF_MEMORY.
   */
  squaredGradients(
    sites: readonly { readonly layer: number; readonly site: string }[],
    steps: readonly (readonly NativeMicroBatch[])[],
  ): NativeJob<Float32Array[]>;
  /**
   * Input of the weights' fingerprint: for each tensor by sorted canonical name, its name, its shape, and 64 of its
   * elements at fixed positions as fp32, in bytes that do not depend on sharding.
   */
  fingerprintBytes(): NativeJob<Uint8Array>;
  memory(): ModelMemory;
  /** Matmuls that its CUDA device has run in this process, for all models there; empty on the CPU. */
  matmuls(): MatmulRecord[];
  /** Ends all jobs (they reject with ERR_ABORTED) and frees the memory. Further calls are ERR_DISPOSED. */
  dispose(): void;
}

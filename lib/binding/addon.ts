/** The addon's exports (native/binding/addon.cc). */
import type { invalid, RubricateError } from "../errors";
import type { NativeJob } from "../job";
import type { NativeCudaDevices } from "./devices";
import type { NativeModel, NativeModelSpec } from "./model";
import type { NativeOps } from "./ops";
import type { NativeOptimizer } from "./optimizer";
import type { NativeAdapter, NativeParameters } from "./parameters";
import type { NativeDtype, NativeTape, NativeTensor } from "./tensor";

export interface NativeBinding {
  /** Version of the package that the addon was built from. */
  readonly version: string;
  /** Sets how errors are made: `new errorClass(code, message)`, and for a bad argument the result of `bad`. Per environment. */
  setErrors(errorClass: typeof RubricateError, bad: typeof invalid): void;
  cpu(): { path: string; supported: string[]; threads: number; splitRegions: number };
  /**
   * What this processor reaches at most with its threads and path (native/device/cpu/peak.h): operations a second of
   * multiply-adds by dtype, bytes a second of a plain read. Takes some tenths of a second, on the caller's thread.
   */
  peakRates(): { float32: number; bfloat16: number; read: number };
  setThreads(threads: number): void;
  /** Lowers the calling worker's priority below the event loop's thread (native/device/cpu/thread_priority.h). */
  lowerThreadPriority(): void;
  loadModel(spec: NativeModelSpec): NativeJob<NativeModel>;
  /** ERR_DEVICE with the reason if there is no usable plug-in, no driver, a driver that is too old, or no device. */
  readCudaDevices(): NativeJob<NativeCudaDevices>;
  /** Limit of this process's memory on a CUDA device, in bytes; 0: none. */
  setDeviceMemoryLimit(device: number, bytes: number): NativeJob<undefined>;
  /** The header of a safetensors file, checked: name -> dtype (as in the file), shape, byte offset in the file, bytes. */
  readSafetensors(path: string): NativeJob<{
    metadata: Record<string, string>;
    tensors: Map<string, { dtype: string; shape: number[]; data: Uint8Array }>;
  }>;
  /** The names of `exact` that the file has, then its names with this suffix, at most one for each possible layer. */
  readSafetensorsNames(path: string, exact: readonly string[], suffix: string): NativeJob<string[]>;
  /** The architecture as a model has it; the plan as native/adapter/plan.h describes it; the numbers of its constants, and its indices. */
  Adapter: new (
    architecture: string,
    plan: string,
    constants?: Float32Array,
    indices?: Int32Array,
  ) => NativeAdapter;
  Optimizer: new (parameters: NativeAdapter | NativeParameters) => NativeOptimizer;
  Tensor: {
    from(
      data: Float32Array | Int32Array,
      shape: readonly number[],
      dtype: NativeDtype,
      requiresGrad: boolean,
    ): NativeTensor;
  };
  Tape: new () => NativeTape;
  ops: NativeOps;
}

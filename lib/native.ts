import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { RubricateError } from "./errors";
import { parseJson } from "./files/json";
import { readTextSync } from "./files/read";
import { limits } from "./limits";

/** An operation that runs on a native thread. `promise` settles on this thread; it rejects with a RubricateError. */
export interface NativeJob<T> {
  readonly promise: Promise<T>;
  /** Asks the job to stop at the next op; `promise` then rejects with ERR_ABORTED. Harmless once it has settled. */
  cancel(): void;
}

export type NativeDtype = "float32" | "bfloat16" | "float16" | "int32";
export type NativeVariant = "all" | "scale" | "bias" | "ln";
export type NativeSite = "q_proj" | "k_proj" | "v_proj" | "o_proj" | "gate_proj" | "up_proj" | "down_proj";

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

/** The CUDA plug-in, once it is open, and the machine's devices: one or more. */
export interface NativeCudaDevices {
  /** The plug-in's file. */
  readonly library: string;
  /** CUDA that the driver supports, and that the plug-in was built with: "13.0". */
  readonly driver: string;
  readonly runtime: string;
  readonly devices: readonly {
    readonly name: string;
    /** Compute capability: "9.0". */
    readonly capability: string;
    readonly multiprocessors: number;
    readonly memoryBytes: number;
    readonly freeBytes: number;
    /** true: this processor plays the device, for tests. */
    readonly emulated: boolean;
    /** Who multiplies matrices there: "own kernels", or such as "cuBLASLt 13.1.1, auto"; see RUBRICATE_MATMUL. */
    readonly matmul: string;
    /** Why not cuBLASLt, where it is not used. */
    readonly noCublaslt?: string;
  }[];
}

/** Products of a kind that a CUDA device has done: lib/model/device.ts's MatrixProduct. */
export interface NativeProduct {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly layout: "NT" | "NN" | "TN" | "TT";
  readonly a: "float32" | "bfloat16";
  readonly b: "float32" | "bfloat16" | "float16";
  readonly c: "float32" | "bfloat16";
  readonly accumulates: boolean;
  readonly provider: "own" | "cublaslt";
  readonly count: number;
  readonly refused?: string;
}

/**
 * A CUDA device's memory, in bytes: what this process uses and keeps for reuse, the most of both, and what they are limited
 * to (0: not at all); all, and free.
 */
export interface NativeDeviceMemory {
  readonly used: number;
  readonly cached: number;
  readonly peak: number;
  readonly limit: number;
  readonly total: number;
  readonly free: number;
}

/** Sequences end to end; see lib/data/types.ts. Typed arrays are copied before the call returns. */
export interface NativeBatch {
  readonly tokenIds: Int32Array;
  readonly sequenceStarts: Int32Array;
  /** Slot of each sequence: 0 is the base, i + 1 the i-th adapter of the call. Missing: all 0. */
  readonly slots?: Int32Array;
}

export interface NativeMicroBatch extends NativeBatch {
  readonly targets: Int32Array;
}

export interface NativeOptimizerOptions {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** true: decay pulls everything to 0, as the reference implementation does; false: a scale to 1. */
  readonly decayToZero: boolean;
  /** 0: no clipping. */
  readonly maxGradNorm: number;
}

/** Somebody trained in a step: an adapter with its optimizer, or the model's own weights (then alone). */
export interface NativeTenant {
  readonly parameters: NativeAdapter | NativeParameters;
  readonly optimizer: NativeOptimizer;
  readonly options: NativeOptimizerOptions;
}

export interface NativeTrainRequest {
  readonly tenants: readonly NativeTenant[];
  /** Sequences of slot i + 1 belong to tenant i; when the model's own weights train, all slots are 0. */
  readonly microBatches: readonly NativeMicroBatch[];
  readonly recompute: boolean;
  /** false: form gradients and change nothing. */
  readonly update: boolean;
}

export interface NativeTenantResult {
  /** Mean nats per supervised token of the step. */
  readonly loss: number;
  readonly supervisedTokens: number;
  readonly correctTokens: number;
  /** Before clipping. */
  readonly gradNorm: number;
}

export interface NativeSums {
  /** By slot: summed nats, supervised tokens, and tokens whose largest logit was the target. */
  readonly nats: Float64Array;
  readonly supervisedTokens: Float64Array;
  readonly correctTokens: Float64Array;
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
  /**
   * Bytes: weights mapped from files, weights in own memory, memory of jobs in use and at its peak, kept for reuse. On a
   * CUDA device the memory is the device's, and `device` tells of all that this process has there.
   */
  memory(): {
    mapped: number;
    owned: number;
    workspace: number;
    workspacePeak: number;
    workspaceCached: number;
    device?: NativeDeviceMemory;
  };
  /** What its CUDA device has multiplied in this process, by all models there; empty on the CPU. */
  products(): NativeProduct[];
  /** Ends all jobs (they reject with ERR_ABORTED) and frees the memory. Further calls are ERR_DISPOSED. */
  dispose(): void;
}

/** Vectors of an adapter in a fixed order: by layer, site, and then scale, bias, ln.weight, ln.bias. */
export interface NativeAdapter {
  /** Canonical names such as "layers.0.mlp.down_proj.scale", and the width of each. */
  readonly names: readonly string[];
  readonly widths: readonly number[];
  /** Copies of all vectors end to end, fp32 [sum of widths]. ERR_BUSY while a job trains the adapter; gradients() too. */
  values(): Float32Array;
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
  /** `count` numbers from `start` on of the fp32 master of parameter i, copied on the model's thread. */
  readValue(index: number, start: number, count: number): NativeJob<Float32Array>;
  /** The next numbers of a new value of parameter i, copied; they come into force all together, with commitValue. */
  stageValue(index: number, piece: Float32Array): void;
  /** Replaces parameter i by what was staged, on the model's thread. ERR_SHAPE where that is not the whole of it. */
  commitValue(index: number): NativeJob<undefined>;
}

export interface NativeOptimizer {
  readonly step: number;
  /** Makes the moments, all zero, on a thread. Without it they are made at once when they are first needed. */
  prepare(): NativeJob<undefined>;
  /**
   * First and second moments of all parameters end to end, fp32, copied: `count` of them from `start` on, else all. ERR_BUSY
   * while a job uses the optimizer.
   */
  moments(start?: number, count?: number): { m: Float32Array; v: Float32Array };
  /** Sets those from `start` on, else all. */
  setMoments(step: number, m: Float32Array, v: Float32Array, start?: number): void;
  dispose(): void;
}

export interface NativeSamplingOptions {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly seed: number;
}

export interface NativeDecodeRequest {
  readonly sequence: number;
  readonly tokenIds: Int32Array;
  readonly adapter: NativeAdapter | null;
  readonly sampling: NativeSamplingOptions;
}

/** Sequences under generation, with their keys and values. One step at a time; sequences may come and go meanwhile. */
export interface NativeDecoder {
  addSequence(): number;
  /** ERR_BUSY while a step feeds the sequence. */
  removeSequence(sequence: number): void;
  length(sequence: number): number;
  /**
   * Feeds every sequence its tokens and samples its next one; `chunk` rows at most go through the model at once. ERR_BUSY
   * while another step of this decoder is under way.
   */
  step(requests: readonly NativeDecodeRequest[], chunk: number): NativeJob<Int32Array>;
  readonly cacheBytes: number;
  dispose(): void;
}

/** A tensor, or a value on a tape. */
export interface NativeTensor {
  readonly shape: readonly number[];
  readonly dtype: NativeDtype;
  readonly requiresGrad: boolean;
  /** A copy: Float32Array for every floating-point dtype, Int32Array for int32. */
  data(): Float32Array | Int32Array;
  /** The fp32 gradient of a parameter as a tensor of its own, or null before any backward. */
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

type T = NativeTensor;

/** Every op with its backward, synchronous, on the calling thread. Contracts: native/ops/NAME/NAME.h. */
export interface NativeOps {
  linear(tape: NativeTape, x: T, weight: T, bias?: T): T;
  rmsNorm(tape: NativeTape, x: T, weight: T, epsilon: number): T;
  /** starts: [sequences + 1] rows; slots: [sequences]; scales and biases by slot - 1. */
  redEdit(
    tape: NativeTape,
    h: T,
    scales: readonly (T | null)[],
    biases: readonly (T | null)[],
    starts: Int32Array,
    slots: Int32Array,
  ): T;
  layerNorm(tape: NativeTape, x: T, weight: T, bias: T, epsilon: number): T;
  closeSublayer(
    tape: NativeTape,
    h: T,
    residual: T,
    scales: readonly (T | null)[],
    biases: readonly (T | null)[],
    starts: Int32Array,
    slots: Int32Array,
    normWeight: T | null,
    epsilon: number,
  ): [sum: T, normed: T | null];
  swiglu(tape: NativeTape, gate: T, up: T): T;
  rope(tape: NativeTape, x: T, heads: number, positions: Int32Array, invFreq: Float32Array): T;
  attention(tape: NativeTape, q: T, k: T, v: T, heads: number, kvHeads: number, scale: number, starts: Int32Array): T;
  embedding(tape: NativeTape, tokenIds: Int32Array, weight: T): T;
  headCrossEntropy(tape: NativeTape, x: T, head: T, rows: Int32Array, targets: Int32Array, weights: Float32Array): T;
  crossEntropy(tape: NativeTape, logits: T, targets: Int32Array): T;
  add(tape: NativeTape, a: T, b: T): T;
  multiply(tape: NativeTape, a: T, b: T): T;
  scaleBy(tape: NativeTape, a: T, factor: number): T;
  silu(tape: NativeTape, a: T): T;
  sum(tape: NativeTape, a: T): T;
  meanSquaredError(tape: NativeTape, a: T, target: T): T;
  cast(tape: NativeTape, a: T, dtype: NativeDtype): T;
  /** In place on parameter, m and v; see ops/adamw. */
  adamwStep(
    parameter: T,
    grad: T,
    m: T,
    v: T,
    step: number,
    options: NativeOptimizerOptions,
    decayTarget: number,
    gradScale: number,
  ): void;
  gradientNorm(grads: readonly T[]): number;
}

export interface NativeBinding {
  /** Version of the package that the addon was built from. */
  readonly version: string;
  /** Errors thrown or rejected from now on are `new errorClass(code, message)`. Per environment. */
  setErrorClass(errorClass: typeof RubricateError): void;
  cpu(): { path: string; supported: string[]; threads: number; splitRegions: number };
  setThreads(threads: number): void;
  /** Lets the event loop's thread go before the calling worker: native/device/cpu/thread_priority.h. */
  lowerThreadPriority(): void;
  loadModel(spec: NativeModelSpec): NativeJob<NativeModel>;
  /** ERR_DEVICE with a sentence where there is no plug-in that can be used, no driver, one too old, or no device. */
  readCudaDevices(): NativeJob<NativeCudaDevices>;
  /** Of this process's use of a CUDA device; 0: none. */
  setDeviceMemoryLimit(device: number, bytes: number): NativeJob<undefined>;
  /** The header of a safetensors file, checked: name -> dtype (as in the file), shape, byte offset in the file, bytes. */
  readSafetensors(path: string): NativeJob<{
    metadata: Record<string, string>;
    tensors: Map<string, { dtype: string; shape: number[]; data: Uint8Array }>;
  }>;
  /** The names of its tensors, every check made. */
  readSafetensorsNames(path: string): NativeJob<string[]>;
  Adapter: new (
    architecture: string,
    variant: NativeVariant,
    sites: readonly NativeSite[],
    layers: Int32Array,
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

/** The package's root folder, from lib/ as well as from dist/. */
function packageRoot(): string {
  let folder = __dirname;
  while (!existsSync(join(folder, "package.json")) && folder !== dirname(folder)) folder = dirname(folder);
  return folder;
}

let loaded: NativeBinding | undefined;

/**
 * The native addon, loaded on first use: from build/ in a checkout, from prebuilds/ in an installed package.
 * @throws RubricateError ERR_NATIVE_LOAD, which says what was tried and the command that helps
 */
export function native(): NativeBinding {
  if (loaded) return loaded;
  const root = packageRoot();
  const manifest = join(root, "package.json");
  const { version } = parseJson(readTextSync(manifest, limits.documentBytes), manifest) as { version: string };
  let binding: NativeBinding;
  try {
    binding = require("node-gyp-build")(root) as NativeBinding;
  } catch (cause) {
    const platform = `${process.platform}-${process.arch}`;
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new RubricateError(
      "ERR_NATIVE_LOAD",
      `The native addon of rubricate could not be loaded for ${platform} (Node ${process.version}): ${reason}. ` +
        `Prebuilt binaries ship for linux-x64 with glibc 2.28 or later; elsewhere, or in a checkout, build it with ` +
        `"npm run build" in ${root} (needs cmake or make, a C++20 compiler and Python).`,
      { cause },
    );
  }
  if (binding.version !== version) {
    throw new RubricateError(
      "ERR_NATIVE_LOAD",
      `Expected a native addon of version ${version} but found one of version ${binding.version}; run "npm run build" in ${root}.`,
    );
  }
  binding.setErrorClass(RubricateError);
  loaded = binding;
  return binding;
}

/** CUDA devices as the addon reports them, and what they have done. */

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

/** Products C = op(A) op(B) of one kind that a CUDA device has done in this process. */
export interface MatrixProduct {
  /** C [m, n] sums over k; the number of rows (k where that is summed over) is rounded up to a power of 2. */
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Whether A and B are transposed as they are stored: forward NT, gradient of the input NN, gradient of the weight TN. */
  readonly layout: "NT" | "NN" | "TN" | "TT";
  readonly a: "float32" | "bfloat16";
  readonly b: "float32" | "bfloat16" | "float16";
  readonly c: "float32" | "bfloat16";
  /** true: added to what was in C. */
  readonly accumulates: boolean;
  /** Our own kernels, or cuBLASLt. */
  readonly provider: "own" | "cublaslt";
  readonly count: number;
  /** What cuBLASLt answered, where it was asked and had no algorithm. */
  readonly refused?: string;
}

/** CUDA devices as the addon reports them, and their matmuls. */

/** The loaded CUDA plug-in and the machine's devices (at least one). */
export interface NativeCudaDevices {
  /** The plug-in's file. */
  readonly library: string;
  /** CUDA versions that the driver supports and that the plug-in was built with: "13.0". */
  readonly driver: string;
  readonly runtime: string;
  readonly devices: readonly {
    readonly name: string;
    /** Compute capability: "9.0". */
    readonly capability: string;
    readonly multiprocessors: number;
    readonly memoryBytes: number;
    readonly freeBytes: number;
    /** true: the CPU emulates the device, for tests. */
    readonly emulated: boolean;
    /** Provider of matmuls: "own kernels", or for example "cuBLASLt 13.1.1, auto"; see RUBRICATE_MATMUL. */
    readonly matmul: string;
    /** Why cuBLASLt is not used; undefined if it is. */
    readonly noCublaslt?: string;
  }[];
}

/** Matmuls C = op(A) op(B) of one kind that a CUDA device has run in this process. */
export interface MatmulRecord {
  /**
   * C [m, n] sums over k; the number of rows (k in the weight's gradient, which sums over rows) is rounded up to a power of
   * 2.
   */
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
  /** What cuBLASLt reported when it had no algorithm. */
  readonly refused?: string;
}

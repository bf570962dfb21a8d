/** One sequence as training sees it. */
export interface Example {
  /** Token ids, length n >= 2. */
  readonly tokenIds: Int32Array;
  /** 1 where the token is a target whose loss counts, length n; element 0 is never a target (nothing predicts it). */
  readonly supervised: Uint8Array;
  /** 1-based line of the source file (or 1-based position in an array) that the example came from. */
  readonly line: number;
}

/** A row that cannot be used as it stands, or that was changed in use. */
export interface RowReport {
  readonly line: number;
  readonly kind: "skipped" | "truncated";
  readonly reason: string;
}

/**
 * Sequences laid end to end, as the native core takes them: padding never enters a kernel. "Packing" is nothing but
 * several sequences in one micro-batch; each attends to itself alone.
 */
export interface MicroBatch {
  /** Token ids of all sequences, [tokens]. */
  readonly tokenIds: Int32Array;
  /** First token of each sequence, and the number of tokens at the end, [sequences + 1]. */
  readonly sequenceStarts: Int32Array;
  /** Target of each position (the id of the next token of its sequence), or -1 where no loss counts, [tokens]. */
  readonly targets: Int32Array;
  /** Number of targets that are not -1. */
  readonly supervisedTokens: number;
}

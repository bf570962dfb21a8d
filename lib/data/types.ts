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

/** A half-open range. */
export type Span = readonly [number, number];

/** One sequence as training sees it. */
export interface Example {
  /** Token ids, length n >= 2. */
  readonly tokenIds: Int32Array;
  /** 1 where the token is a target whose loss counts, length n; element 0 is never a target (nothing predicts it). */
  readonly supervised: Uint8Array;
  /** 1-based line of the source file (or 1-based position in an array) that the example came from. */
  readonly line: number;
}

/** All rows that are skipped, or truncated, for one reason; numbers in it may differ from row to row. */
export interface ReasonReport {
  readonly kind: RowReport["kind"];
  /** As the first of these rows has it. */
  readonly reason: string;
  /** Rows. */
  readonly count: number;
  /** Lines of the first five. */
  readonly lines: readonly number[];
}

/** A row that cannot be used as it stands, or that was changed in use. */
export interface RowReport {
  readonly line: number;
  readonly kind: "skipped" | "truncated";
  readonly reason: string;
}

/** What is known of all rows together once they are indexed. */
export interface IndexFacts {
  /** Tokens of all usable rows. */
  readonly tokenCount: number;
  readonly supervisedTokenCount: number;
  /** The first thousand. */
  readonly reports: readonly RowReport[];
  readonly reportCounts: { readonly skipped: number; readonly truncated: number };
  /** Of all of them. */
  readonly reportReasons: readonly ReasonReport[];
  /** What rows have that the chat template does not write. */
  readonly notices: readonly string[];
  /** Usable rows that are conversations. */
  readonly chatRows: number;
  /** SHA-256 of all bytes, in hexadecimal. */
  readonly contentHash: string;
  /** How the source is cut into rows. */
  readonly layout: "jsonl" | "array" | "csv";
}

/** What is known of rows once they are indexed. */
export interface IndexSummary extends IndexFacts {
  /** Tokens of each usable row, [rows]. */
  readonly lengths: Int32Array<ArrayBuffer>;
  /** Supervised tokens of each usable row, [rows]. */
  readonly supervisedCounts: Int32Array<ArrayBuffer>;
  /** The largest token id of each usable row, [rows]. */
  readonly highestIds: Int32Array<ArrayBuffer>;
}

/** How far indexing has come. */
export interface IndexProgress {
  readonly bytes: number;
  readonly totalBytes: number;
  /** Usable rows so far. */
  readonly rows: number;
}

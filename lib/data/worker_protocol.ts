import type { TokenizerParts } from "../tokenizer/parts";
import type { EpochPlan, EpochPlanOptions } from "./batches";
import type { EncodingOptions } from "./encode_row";
import type { IndexSummary } from "./types";

/** What a data worker is started with. */
export interface WorkerStart {
  readonly tokenizer: TokenizerParts;
  /** How rows become examples. */
  readonly options: EncodingOptions;
  /** The file; without one, rows are sent. */
  readonly path: string | undefined;
  /** Whether the file's name decides how it is cut into rows; otherwise it is JSONL. */
  readonly byName: boolean;
  /** Whether the first row that cannot be used ends indexing. */
  readonly strict: boolean;
  /** Folder of the cache of indexes, if it is to be used. */
  readonly cache: string | undefined;
}

/** Examples end to end. */
export interface FlatExamples {
  /** [tokens] */
  readonly tokenIds: Int32Array<ArrayBuffer>;
  /** [tokens] */
  readonly supervised: Uint8Array<ArrayBuffer>;
  /** First token of each example, and the number of tokens, [examples + 1]. */
  readonly starts: Int32Array<ArrayBuffer>;
  /** [examples] */
  readonly lines: Int32Array<ArrayBuffer>;
}

/** What can be asked of a data worker, and its answers. */
export interface WorkerCalls {
  /** Adds rows: one JSON document each, or why there is none. */
  rows: { argument: readonly (string | { readonly unusable: string })[]; result: null };
  index: { argument: null; result: IndexSummary };
  plan: { argument: EpochPlanOptions; result: Pick<EpochPlan, "indices" | "starts"> };
  examples: { argument: Int32Array; result: FlatExamples };
}

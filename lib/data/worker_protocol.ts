import type { TokenizerParts } from "../tokenizer/parts";
import type { EpochPlan, EpochPlanOptions } from "./batches";
import type { EncodingOptions } from "./encode_row";
import type { IndexProgress, IndexSummary } from "./types";

/** What a dataset begins with. */
export interface DatasetStart {
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

/** What can be asked of a dataset in a data thread, and its answers. */
export interface DatasetCalls {
  /** Adds rows: one JSON document each, or why there is none. */
  rows: { argument: readonly (string | { readonly unusable: string })[]; result: null };
  index: { argument: null; result: IndexSummary };
  plan: { argument: EpochPlanOptions; result: Pick<EpochPlan, "indices" | "starts"> };
  examples: { argument: Int32Array; result: FlatExamples };
}

/** An argument, and the number of the dataset that it is for. */
export interface ForDataset<T> {
  readonly dataset: number;
  readonly argument: T;
}

/** What can be asked of a data thread: each call is for one of its datasets. */
export type ThreadCalls = {
  [K in keyof DatasetCalls]: { argument: ForDataset<DatasetCalls[K]["argument"]>; result: DatasetCalls[K]["result"] };
} & {
  /** Adds a dataset. Those with the same number for their tokenizer share one object. */
  hold: { argument: ForDataset<DatasetStart & { readonly tokenizerNumber: number }>; result: null };
  /** Ends what the dataset does, closes its file and forgets it. */
  close: { argument: ForDataset<null>; result: null };
};

/** How far the indexing of a dataset has come. */
export interface DatasetNotice {
  readonly dataset: number;
  readonly progress: IndexProgress;
}

/** A dataset in a data thread: its rows, their index, and the examples of them. */
import { inSlices } from "../steps";
import type { Tokenizer } from "../tokenizer/tokenizer";
import { IndexCache } from "./index_cache";
import { formatOfFile } from "./row_format";
import { fileSource, memorySource, RowIndex, type RowSource } from "./row_index";
import { keptReports } from "./row_reports";
import type { Example, IndexProgress, IndexSummary } from "./types";
import type { DatasetCalls, DatasetStart, FlatExamples } from "./worker_protocol";

const progressInterval = 50;

export class HeldDataset {
  private readonly sent: Buffer[] = [];
  private sentRows = 0;
  /** Why rows that were sent as null cannot be used, by number. */
  private readonly reasons = new Map<number, string>();
  private source: RowSource | undefined;
  private rows: RowIndex | undefined;
  private readonly closed = new AbortController();

  constructor(
    private readonly start: Omit<DatasetStart, "tokenizer">,
    private readonly tokenizer: Tokenizer,
  ) {}

  add(documents: DatasetCalls["rows"]["argument"]): void {
    let text = "";
    for (const document of documents) {
      this.sentRows++;
      if (typeof document !== "string" && this.reasons.size < keptReports)
        this.reasons.set(this.sentRows, document.unusable);
      text += typeof document === "string" ? `${document}\n` : "null\n";
    }
    this.sent.push(Buffer.from(text));
  }

  /** In slices, between which the thread answers calls of other datasets. */
  async index(onProgress: (progress: IndexProgress) => void): Promise<IndexSummary> {
    const { path, byName, options, strict } = this.start;
    const source =
      path === undefined ? memorySource(Buffer.concat(this.sent.splice(0)), this.reasons) : fileSource(path);
    this.source = source;
    const cache = this.start.cache === undefined ? undefined : new IndexCache(this.start.cache);
    const layout = path !== undefined && byName ? formatOfFile(path, source) : "jsonl";
    const index = new RowIndex(source, this.tokenizer, options, layout, strict);
    let last = performance.now();
    let reached: IndexProgress | undefined;
    const steps = index.steps((progress) => {
      reached = progress;
      const now = performance.now();
      if (now - last < progressInterval) return;
      last = now;
      onProgress(progress);
    }, cache);
    const summary = await inSlices(steps, this.closed.signal);
    if (reached) onProgress(reached); // the end is told in any case
    this.rows = index;
    return summary;
  }

  examples(indices: Int32Array): FlatExamples {
    return flatten(Array.from(indices, (index) => this.rows!.example(index)));
  }

  /** Ends the indexing under way. */
  close(): void {
    this.closed.abort();
    this.source?.close();
  }
}

function flatten(examples: readonly Example[]): FlatExamples {
  const starts = new Int32Array(examples.length + 1);
  for (const [at, { tokenIds }] of examples.entries()) starts[at + 1] = starts[at]! + tokenIds.length;
  const tokenIds = new Int32Array(starts[examples.length]!);
  const supervised = new Uint8Array(tokenIds.length);
  for (const [at, example] of examples.entries()) {
    tokenIds.set(example.tokenIds, starts[at]!);
    supervised.set(example.supervised, starts[at]!);
  }
  return { tokenIds, supervised, starts, lines: Int32Array.from(examples, ({ line }) => line) };
}

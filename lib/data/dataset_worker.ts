/** The thread that reads and tokenises a dataset's rows. */
import "../background_thread";
import { workerData } from "node:worker_threads";
import { Tokenizer } from "../tokenizer/tokenizer";
import { answerCalls, notify } from "../worker_calls";
import { EpochPlan, planEpoch } from "./batches";
import { IndexCache } from "./index_cache";
import { formatOfFile } from "./row_format";
import { fileSource, memorySource, RowIndex } from "./row_index";
import { keptReports } from "./row_reports";
import type { Example, IndexProgress } from "./types";
import type { FlatExamples, WorkerCalls, WorkerStart } from "./worker_protocol";

const progressInterval = 50;

const start = workerData as WorkerStart;
const sent: Buffer[] = [];
let sentRows = 0;
/** Why rows that were sent as null cannot be used, by number. */
const reasons = new Map<number, string>();
let rows: RowIndex | undefined;
/** Wraps the tables of the thread that started this one. */
const tokenizer = Tokenizer.ofParts(start.tokenizer);

answerCalls<WorkerCalls>({
  rows(documents) {
    let text = "";
    for (const document of documents) {
      sentRows++;
      if (typeof document !== "string" && reasons.size < keptReports) reasons.set(sentRows, document.unusable);
      text += typeof document === "string" ? `${document}\n` : "null\n";
    }
    sent.push(Buffer.from(text));
    return [null];
  },

  index() {
    const source =
      start.path === undefined ? memorySource(Buffer.concat(sent.splice(0)), reasons) : fileSource(start.path);
    const cache = start.cache === undefined ? undefined : new IndexCache(start.cache);
    const layout = start.path !== undefined && start.byName ? formatOfFile(start.path, source) : "jsonl";
    const index = new RowIndex(source, tokenizer, start.options, layout, start.strict);
    let last = performance.now();
    let reached: IndexProgress | undefined;
    const summary = index.build((progress) => {
      reached = progress;
      const now = performance.now();
      if (now - last < progressInterval) return;
      last = now;
      notify(progress);
    }, cache);
    if (reached) notify(reached); // the end is told in any case
    rows = index;
    return [summary, [summary.lengths.buffer, summary.supervisedCounts.buffer, summary.highestIds.buffer]];
  },

  plan(options) {
    const { indices, starts } = EpochPlan.from(planEpoch(options));
    return [{ indices, starts }, [indices.buffer, starts.buffer]];
  },

  examples(indices) {
    const flat = flatten(Array.from(indices, (index) => rows!.example(index)));
    return [flat, [flat.tokenIds.buffer, flat.supervised.buffer, flat.starts.buffer, flat.lines.buffer]];
  },
});

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

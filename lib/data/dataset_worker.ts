/** A thread that reads and tokenises the rows of datasets. */
import "../background_thread";
import { Tokenizer } from "../tokenizer/tokenizer";
import { answerCalls, notify } from "../worker_calls";
import { EpochPlan, planEpoch } from "./batches";
import { HeldDataset } from "./held_dataset";
import type { DatasetNotice, ThreadCalls } from "./worker_protocol";

/** A tokenizer wraps the tables of the thread that started this one; the datasets that have it are counted. */
interface SharedTokenizer {
  readonly tokenizer: Tokenizer;
  datasets: number;
}
const tokenizers = new Map<number, SharedTokenizer>();

interface Held {
  readonly dataset: HeldDataset;
  readonly tokenizerNumber: number;
}
const held = new Map<number, Held>();

const datasetOf = (number: number) => held.get(number)!.dataset;

answerCalls<ThreadCalls>({
  hold({ dataset, argument: { tokenizer: parts, tokenizerNumber, ...start } }) {
    const shared = tokenizers.get(tokenizerNumber) ?? { tokenizer: Tokenizer.ofParts(parts), datasets: 0 };
    shared.datasets++;
    tokenizers.set(tokenizerNumber, shared);
    held.set(dataset, { dataset: new HeldDataset(start, shared.tokenizer), tokenizerNumber });
    return [null];
  },

  rows({ dataset, argument }) {
    datasetOf(dataset).add(argument);
    return [null];
  },

  async index({ dataset }) {
    const tell = (notice: DatasetNotice) => notify(notice);
    const summary = await datasetOf(dataset).index((progress) => tell({ dataset, progress }));
    return [summary, [summary.lengths.buffer, summary.supervisedCounts.buffer, summary.highestIds.buffer]];
  },

  plan({ argument }) {
    const { indices, starts } = EpochPlan.from(planEpoch(argument));
    return [{ indices, starts }, [indices.buffer, starts.buffer]];
  },

  examples({ dataset, argument }) {
    const flat = datasetOf(dataset).examples(argument);
    return [flat, [flat.tokenIds.buffer, flat.supervised.buffer, flat.starts.buffer, flat.lines.buffer]];
  },

  close({ dataset: number }) {
    const closed = held.get(number);
    if (!closed) return [null]; // it could not be held
    held.delete(number);
    closed.dataset.close();
    const shared = tokenizers.get(closed.tokenizerNumber)!;
    if (--shared.datasets === 0) tokenizers.delete(closed.tokenizerNumber);
    return [null];
  },
});

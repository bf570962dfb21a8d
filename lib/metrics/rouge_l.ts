import type { Steps } from "../steps";
import { commonLength } from "./common_length";
import { sum, type Tokenized } from "./ngrams";

const beta = 1.2;

/** A text without tokens counts as one empty token, as `"".split(" ")` gives in pycocoevalcap. */
const orEmpty = (tokens: readonly string[]) => (tokens.length === 0 ? [""] : tokens);

function* ofRow({ prediction, references }: Tokenized): Steps<number> {
  const predicted = orEmpty(prediction);
  const texts = references.map(orEmpty);
  const common: number[] = [];
  for (const text of texts) common.push(yield* commonLength(predicted, text));
  const most = (shares: readonly number[]) => shares.reduce((a, b) => Math.max(a, b));
  const precision = most(common.map((length) => length / predicted.length));
  const recall = most(common.map((length, at) => length / texts[at]!.length));
  if (precision === 0 || recall === 0) return 0;
  return ((1 + beta ** 2) * precision * recall) / (recall + beta ** 2 * precision);
}

/**
 * ROUGE-L (Lin 2004), 0 to 1, as in pycocoevalcap's `rouge.py`: the mean over predictions of `(1 + b^2) P R / (R + b^2 P)`, b = 1.2.
 * P and R are the longest common subsequence's share of the prediction and of the reference; each is the largest over
 * the references, possibly of different ones. Its time is at most the product of the two lengths.
 */
export function* rougeL(rows: readonly Tokenized[]): Steps<number> {
  const scores: number[] = [];
  for (const row of rows) scores.push(yield* ofRow(row));
  return sum(scores) / rows.length;
}

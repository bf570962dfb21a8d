import { sum } from "./ngrams";
import type { Tokenized } from "./tokenized";

const beta = 1.2;

/** Length of the longest common subsequence. */
function commonLength(a: readonly string[], b: readonly string[]): number {
  let previous = new Uint32Array(b.length + 1);
  let current = new Uint32Array(b.length + 1);
  for (const token of a) {
    for (let at = 1; at <= b.length; at++)
      current[at] = b[at - 1] === token ? previous[at - 1]! + 1 : Math.max(previous[at]!, current[at - 1]!);
    [previous, current] = [current, previous];
  }
  return previous[b.length]!;
}

/** A text without tokens counts as one empty token, as `"".split(" ")` gives in pycocoevalcap. */
const orEmpty = (tokens: readonly string[]) => (tokens.length === 0 ? [""] : tokens);

function ofRow({ prediction, references }: Tokenized): number {
  const predicted = orEmpty(prediction);
  const texts = references.map(orEmpty);
  const common = texts.map((text) => commonLength(predicted, text));
  const most = (shares: readonly number[]) => shares.reduce((a, b) => Math.max(a, b));
  const precision = most(common.map((length) => length / predicted.length));
  const recall = most(common.map((length, at) => length / texts[at]!.length));
  if (precision === 0 || recall === 0) return 0;
  return ((1 + beta ** 2) * precision * recall) / (recall + beta ** 2 * precision);
}

/**
 * ROUGE-L (Lin 2004), 0 to 1, as in pycocoevalcap's `rouge.py`: the mean over predictions of `(1 + b^2) P R / (R + b^2 P)`, b = 1.2.
 * P and R are the longest common subsequence's share of the prediction and of the reference; each is the largest over
 * the references, possibly of different ones. Its time is the product of the two lengths.
 */
export function rougeL(rows: readonly Tokenized[]): number {
  return sum(rows.map(ofRow)) / rows.length;
}

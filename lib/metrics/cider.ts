import type { Steps } from "../steps";
import { add, type Counts, countNgrams, inOneStep, sum, type Tokenized } from "./ngrams";

const longest = 4;
/** Standard deviation of the length penalty, in tokens. */
const sigma = 6;

/** An n-gram's share of a text, by n from 1: its count times its inverse document frequency. */
interface Vector {
  readonly weights: readonly Counts[];
  readonly norms: readonly number[];
  /** Number of bigrams, which pycocoevalcap takes as the length. */
  readonly length: number;
}

/** For each n-gram the number of inputs with a reference that has it. */
function* documentFrequencies(rows: readonly Tokenized[]): Steps<Counts> {
  const frequencies: Counts = new Map();
  let done = 0;
  for (const { references } of rows) {
    const present = new Set<string>();
    for (const text of references)
      for (let n = 1; n <= longest; n++)
        for (const ngram of (yield* countNgrams(text, n)).keys()) {
          if (++done % inOneStep === 0) yield;
          present.add(ngram);
        }
    for (const ngram of present) {
      if (++done % inOneStep === 0) yield;
      add(frequencies, ngram);
    }
  }
  return frequencies;
}

function* vectorOf(tokens: readonly string[], frequencies: Counts, inputs: number): Steps<Vector> {
  const weights: Counts[] = [];
  const norms: number[] = [];
  let done = 0;
  for (let n = 1; n <= longest; n++) {
    const counts = yield* countNgrams(tokens, n);
    let squares = 0;
    for (const [ngram, count] of counts) {
      if (++done % inOneStep === 0) yield;
      const weight = count * (Math.log(inputs) - Math.log(frequencies.get(ngram) ?? 1));
      counts.set(ngram, weight);
      squares += weight ** 2;
    }
    weights.push(counts);
    norms.push(Math.sqrt(squares));
  }
  return { weights, norms, length: Math.max(0, tokens.length - 1) };
}

/** Mean over n of the cosine of two vectors, the prediction's weights clipped by the reference's, times the length penalty. */
function* similarity(prediction: Vector, reference: Vector): Steps<number> {
  const penalty = Math.exp(-((prediction.length - reference.length) ** 2) / (2 * sigma ** 2));
  let [total, done] = [0, 0];
  for (let n = 0; n < longest; n++) {
    let dot = 0;
    for (const [ngram, weight] of prediction.weights[n]!) {
      if (++done % inOneStep === 0) yield;
      const other = reference.weights[n]!.get(ngram) ?? 0;
      dot += Math.min(weight, other) * other;
    }
    const norm = prediction.norms[n]! * reference.norms[n]!;
    if (norm !== 0) total += (dot / norm) * penalty;
  }
  return total / longest;
}

/**
 * CIDEr-D (Vedantam et al. 2015), 0 to 10, as in pycocoevalcap's `cider_scorer.py`: 10 times the mean over predictions, and
 * over the references of each, of `similarity`. Inverse document frequencies are those of the given references, so a score
 * depends on the whole corpus; with one input all weights, and the score, are 0.
 */
export function* cider(rows: readonly Tokenized[]): Steps<number> {
  const frequencies = yield* documentFrequencies(rows);
  const scores: number[] = [];
  for (const { prediction, references } of rows) {
    const predicted = yield* vectorOf(prediction, frequencies, rows.length);
    let total = 0;
    for (const text of references)
      total += yield* similarity(predicted, yield* vectorOf(text, frequencies, rows.length));
    scores.push(total / references.length);
  }
  return (10 * sum(scores)) / rows.length;
}

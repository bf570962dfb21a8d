import type { Steps } from "../steps";

/** A prediction and its references, one or more, as tokens. */
export interface Tokenized {
  readonly prediction: readonly string[];
  readonly references: readonly string[][];
}

/** Counts of n-grams: runs of n tokens of one text, joined by spaces. Tokens have no spaces. */
export type Counts = Map<string, number>;

/** N-grams, tokens or entries of a map in one step: some tens of microseconds. */
export const inOneStep = 128;

export function add(counts: Counts, ngram: string, count = 1): void {
  counts.set(ngram, (counts.get(ngram) ?? 0) + count);
}

/** Adds the n-grams of a text to counts. */
export function* addNgrams(counts: Counts, tokens: readonly string[], n: number): Steps<void> {
  for (let start = 0; start + n <= tokens.length; start++) {
    if (start % inOneStep === 0) yield;
    add(counts, tokens.slice(start, start + n).join(" "));
  }
}

export function* countNgrams(tokens: readonly string[], n: number): Steps<Counts> {
  const counts: Counts = new Map();
  yield* addNgrams(counts, tokens, n);
  return counts;
}

/** For each n-gram the number of times that a prediction has it, but at most as often as the one reference that has it most. */
export function* clippedMatches({ prediction, references }: Tokenized, n: number): Steps<Counts> {
  let done = 0;
  const most: Counts = new Map();
  for (const reference of references)
    for (const [ngram, count] of yield* countNgrams(reference, n)) {
      if (++done % inOneStep === 0) yield;
      most.set(ngram, Math.max(most.get(ngram) ?? 0, count));
    }
  const matches: Counts = new Map();
  for (const [ngram, count] of yield* countNgrams(prediction, n)) {
    if (++done % inOneStep === 0) yield;
    const clipped = Math.min(count, most.get(ngram) ?? 0);
    if (clipped > 0) matches.set(ngram, clipped);
  }
  return matches;
}

/**
 * The number of n-grams of all predictions. e2e-metrics sums `length - (n - 1)`, to which a prediction of fewer than n - 1 tokens adds a
 * negative number.
 */
export function ngramTotals(rows: readonly Tokenized[], n: number): { summed: number; counted: number } {
  let [summed, counted] = [0, 0];
  for (const { prediction } of rows) {
    const own = prediction.length - (n - 1);
    summed += own;
    counted += Math.max(0, own);
  }
  return { summed, counted };
}

export function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

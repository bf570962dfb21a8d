/** Counts of n-grams: runs of n tokens of one text, joined by spaces. Tokens have no spaces. */
export type Counts = Map<string, number>;

export function ngrams(tokens: readonly string[], n: number): string[] {
  const found: string[] = [];
  for (let start = 0; start + n <= tokens.length; start++) found.push(tokens.slice(start, start + n).join(" "));
  return found;
}

export function add(counts: Counts, ngram: string, count = 1): void {
  counts.set(ngram, (counts.get(ngram) ?? 0) + count);
}

export function countNgrams(tokens: readonly string[], n: number): Counts {
  const counts: Counts = new Map();
  for (const ngram of ngrams(tokens, n)) add(counts, ngram);
  return counts;
}

/** For each n-gram the number of times that a prediction has it, but at most as often as the one reference that has it most. */
export function clippedMatches(prediction: readonly string[], references: readonly string[][], n: number): Counts {
  const most: Counts = new Map();
  for (const reference of references)
    for (const [ngram, count] of countNgrams(reference, n)) most.set(ngram, Math.max(most.get(ngram) ?? 0, count));
  const matches: Counts = new Map();
  for (const [ngram, count] of countNgrams(prediction, n)) {
    const clipped = Math.min(count, most.get(ngram) ?? 0);
    if (clipped > 0) matches.set(ngram, clipped);
  }
  return matches;
}

export function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

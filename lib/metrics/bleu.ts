import { clippedMatches, sum } from "./ngrams";
import type { Tokenized } from "./tokenized";

const longest = 4;
/** Stand for no match, no n-gram and no token, as in e2e-metrics; they keep the logarithms finite. */
const noMatch = 1e-15;
const noNgram = 1e-9;
const noToken = 1e-5;

/** Length of the reference whose length is closest to the prediction's; of two, the shorter. */
function closestLength({ prediction, references }: Tokenized): number {
  const distance = (length: number) => Math.abs(length - prediction.length);
  return references
    .map(({ length }) => length)
    .reduce((best, length) => {
      const nearer = distance(length) - distance(best);
      return nearer < 0 || (nearer === 0 && length < best) ? length : best;
    });
}

/**
 * BLEU of a corpus (Papineni et al. 2002), 0 to 1: `BP * exp(1/4 * sum over n <= 4 of ln(matches_n / ngrams_n))`, where matches are
 * clipped by the references and `BP = min(1, exp(1 - r / c))`, for c tokens of predictions and r of the closest references. As
 * in e2e-metrics, `ngrams_n` is the sum of `length - (n - 1)`, which a shorter prediction makes smaller.
 */
export function bleu(rows: readonly Tokenized[]): number {
  const predicted = sum(rows.map(({ prediction }) => prediction.length));
  const reference = sum(rows.map(closestLength));
  let logPrecisions = 0;
  for (let n = 1; n <= longest; n++) {
    const matches = sum(rows.map((row) => sum(clippedMatches(row.prediction, row.references, n).values())));
    const total = predicted - (n - 1) * rows.length;
    logPrecisions += Math.log(Math.max(matches, noMatch) / Math.max(total, noNgram));
  }
  const brevityPenalty = predicted <= reference ? Math.exp(1 - reference / (predicted || noToken)) : 1;
  return brevityPenalty * Math.exp(logPrecisions / longest);
}

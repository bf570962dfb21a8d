import type { Steps } from "../steps";
import { clippedMatches, ngramTotals, sum, type Tokenized } from "./ngrams";

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
 * in e2e-metrics, `ngrams_n` is the sum of `length - (n - 1)`, which a shorter prediction makes smaller. Where that is not
 * positive, n-grams are counted; and so are all, where the score would be above 1.
 */
export function* bleu(rows: readonly Tokenized[]): Steps<number> {
  const matches: number[] = [];
  for (let n = 1; n <= longest; n++) {
    let ofN = 0;
    for (const row of rows) ofN += sum((yield* clippedMatches(row, n)).values());
    matches.push(ofN);
  }
  const predicted = sum(rows.map(({ prediction }) => prediction.length));
  const reference = sum(rows.map(closestLength));
  const brevityPenalty = predicted <= reference ? Math.exp(1 - reference / (predicted || noToken)) : 1;
  const totals = matches.map((_, at) => ngramTotals(rows, at + 1));
  const score = (totalOf: (total: (typeof totals)[number]) => number) => {
    let logPrecisions = 0;
    for (const [at, total] of totals.entries())
      logPrecisions += Math.log(Math.max(matches[at]!, noMatch) / Math.max(totalOf(total), noNgram));
    return brevityPenalty * Math.exp(logPrecisions / longest);
  };
  const asThere = score(({ summed, counted }) => (summed > 0 ? summed : counted));
  return asThere <= 1 ? asThere : score(({ counted }) => counted);
}

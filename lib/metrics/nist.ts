import type { Steps } from "../steps";
import { addNgrams, type Counts, clippedMatches, inOneStep, ngramTotals, sum, type Tokenized } from "./ngrams";

const longest = 5;
/** Makes the penalty 0.5 where predictions have two thirds of the references' tokens. */
const beta = Math.log(2) / Math.log(1.5) ** 2;

/** How often each n-gram occurs in all references, by n; of n = 0 the number of tokens. */
function* referenceCounts(rows: readonly Tokenized[]): Steps<Counts[]> {
  const texts = rows.flatMap(({ references }) => references);
  const counts: Counts[] = [new Map([["", sum(texts.map(({ length }) => length))]])];
  for (let n = 1; n <= longest; n++) {
    const ofN: Counts = new Map();
    for (const text of texts) yield* addNgrams(ofN, text, n);
    counts.push(ofN);
  }
  return counts;
}

/**
 * NIST of a corpus (Doddington 2002), from 0: `penalty * sum over n <= 5 of (information of the matches / ngrams_n)`. Matches are
 * clipped as in BLEU; the information of an n-gram is `log2(count of its first n - 1 tokens / its count)` in all references of
 * all inputs. The penalty is `exp(-beta * ln(min(1, c / r))^2)`, for c tokens of predictions and r the sum of each input's mean
 * length of references. As in e2e-metrics, `ngrams_n` is the sum of `length - (n - 1)`. Where that is not positive, n-grams are
 * counted; where there are none, the term is 0.
 */
export function* nist(rows: readonly Tokenized[]): Steps<number> {
  const counts = yield* referenceCounts(rows);
  const predicted = sum(rows.map(({ prediction }) => prediction.length));
  const reference = sum(rows.map(({ references }) => sum(references.map((text) => text.length)) / references.length));
  const information = (ngram: string, n: number) => {
    const shorter = n === 1 ? "" : ngram.slice(0, ngram.lastIndexOf(" "));
    return Math.log2(counts[n - 1]!.get(shorter)! / counts[n]!.get(ngram)!);
  };
  let [score, done] = [0, 0];
  for (let n = 1; n <= longest; n++) {
    let found = 0;
    for (const row of rows)
      for (const [ngram, count] of yield* clippedMatches(row, n)) {
        if (++done % inOneStep === 0) yield;
        found += count * information(ngram, n);
      }
    const { summed, counted } = ngramTotals(rows, n);
    if (counted > 0) score += found / (summed > 0 ? summed : counted);
  }
  const ratio = Math.min(1, predicted / reference);
  return score * Math.exp(-beta * Math.log(ratio) ** 2);
}

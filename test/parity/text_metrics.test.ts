/** scoreTexts and its parts against e2e-metrics and pycocoevalcap: bench/oracle/text_metrics.py. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { scoreTexts } from "../../lib";
import { cider } from "../../lib/metrics/cider";
import { mtevalTokens } from "../../lib/metrics/mteval_tokens";
import { rougeL } from "../../lib/metrics/rouge_l";
import { atOnce } from "../../lib/steps";

interface Case {
  readonly name: string;
  readonly predictions: string[];
  readonly references: string[][];
  readonly mtevalTokens: string[][];
  readonly splitPredictions: string[];
  readonly splitReferences: string[][];
  readonly bleu: number;
  /** null where e2e-metrics divides by zero. */
  readonly nist: number | null;
  /** Those of e2e-metrics with n-grams counted where its sums of lengths are of no use: docs/metrics.md. */
  readonly boundedBleu: number;
  readonly boundedNist: number;
  readonly rougeL: number;
  readonly cider: number;
}

const cases = JSON.parse(readFileSync(join(__dirname, "fixtures", "text_metrics.json"), "utf8")) as Case[];

/** The distance to a value, relative where the value is above 1. */
const error = (value: number, expected: number) => Math.abs(value - expected) / Math.max(1, Math.abs(expected));

describe.each(cases)("$name", (given) => {
  test("the tokens are those of e2e-metrics", () => {
    expect(given.predictions.map((text) => atOnce(mtevalTokens(text)))).toEqual(given.mtevalTokens);
  });

  test("BLEU and NIST are those of e2e-metrics where its sums of lengths are positive, and else of counted n-grams", async () => {
    const { bleu, nist } = await scoreTexts({ predictions: given.predictions, references: given.references });
    const positive = (n: number) => given.mtevalTokens.reduce((total, { length }) => total + length - (n - 1), 0) > 0;
    expect(bleu).toBeGreaterThanOrEqual(0);
    expect(bleu).toBeLessThanOrEqual(1);
    expect(nist).toBeGreaterThanOrEqual(0);
    expect(error(bleu, given.boundedBleu)).toBeLessThan(1e-9);
    expect(error(nist, given.boundedNist)).toBeLessThan(1e-9);
    if (positive(4) && given.bleu <= 1) expect(error(bleu, given.bleu)).toBeLessThan(1e-9);
    if (positive(5)) expect(error(nist, given.nist!)).toBeLessThan(1e-9);
  });

  test("ROUGE-L and CIDEr are those of pycocoevalcap on the same tokens", () => {
    const tokens = (text: string) => (text === "" ? [] : text.split(" "));
    const rows = given.splitPredictions.map((prediction, at) => ({
      prediction: tokens(prediction),
      references: given.splitReferences[at]!.map(tokens),
    }));
    expect(error(atOnce(rougeL(rows)), given.rougeL)).toBeLessThan(1e-9);
    expect(error(atOnce(cider(rows)), given.cider)).toBeLessThan(1e-9);
  });
});

test("the fixture has the cases that matter", () => {
  expect(cases.filter(({ nist }) => nist === null).map(({ name }) => name)).toEqual([
    "all empty",
    "one word",
    "no n-gram of five",
    "sum of lengths is zero",
  ]);
  expect(cases.filter(({ bleu }) => bleu > 1).map(({ name }) => name)).toEqual([
    "shorter than the n-grams",
    "positive sums below the matches",
    "negative terms of NIST",
  ]);
  expect(cases.filter(({ nist }) => nist !== null && nist < 0).map(({ name }) => name)).toEqual([
    "negative terms of NIST",
  ]);
  expect(cases.some(({ references }) => new Set(references.map(({ length }) => length)).size > 5)).toBe(true);
});

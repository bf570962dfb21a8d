/** scoreTexts and its parts against e2e-metrics and pycocoevalcap: bench/oracle/text_metrics.py. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { scoreTexts } from "../../lib";
import { cider } from "../../lib/metrics/cider";
import { mtevalTokens } from "../../lib/metrics/mteval_tokens";
import { rougeL } from "../../lib/metrics/rouge_l";

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
  readonly rougeL: number;
  readonly cider: number;
}

const cases = JSON.parse(readFileSync(join(__dirname, "fixtures", "text_metrics.json"), "utf8")) as Case[];

/** The distance to a value, relative where the value is above 1. */
const error = (value: number, expected: number) => Math.abs(value - expected) / Math.max(1, Math.abs(expected));

describe.each(cases)("$name", (given) => {
  test("the tokens are those of e2e-metrics", () => {
    expect(given.predictions.map(mtevalTokens)).toEqual(given.mtevalTokens);
  });

  test("BLEU and NIST are those of e2e-metrics", () => {
    const { bleu, nist } = scoreTexts({ predictions: given.predictions, references: given.references });
    expect(error(bleu, given.bleu)).toBeLessThan(1e-9);
    if (given.nist === null) expect(Number.isFinite(nist)).toBe(true);
    else expect(error(nist, given.nist)).toBeLessThan(1e-9);
  });

  test("ROUGE-L and CIDEr are those of pycocoevalcap on the same tokens", () => {
    const tokens = (text: string) => (text === "" ? [] : text.split(" "));
    const rows = given.splitPredictions.map((prediction, at) => ({
      prediction: tokens(prediction),
      references: given.splitReferences[at]!.map(tokens),
    }));
    expect(error(rougeL(rows), given.rougeL)).toBeLessThan(1e-9);
    expect(error(cider(rows), given.cider)).toBeLessThan(1e-9);
  });
});

test("the fixture has the cases that matter", () => {
  expect(cases.filter(({ nist }) => nist === null).map(({ name }) => name)).toEqual([
    "all empty",
    "one word",
    "no n-gram of five",
    "sum of lengths is zero",
  ]);
  expect(cases.some(({ references }) => new Set(references.map(({ length }) => length)).size > 5)).toBe(true);
});

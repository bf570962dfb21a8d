/** The rows, the tables and the picture of a comparison, against values computed by hand. */

import { chartSvg } from "../../lib/compare/chart";
import type { Outcome, SeedOutcome } from "../../lib/compare/comparison";
import { Estimate } from "../../lib/compare/estimate";
import { ratesAround, trainingName } from "../../lib/compare/plan";
import { lacksResults, rowsOf, scoresOf } from "../../lib/compare/results";
import { tableMarkdown } from "../../lib/compare/table";
import { method } from "./compare_support";

const rowsRead = { trainRows: 9, devRows: 3, skippedRows: 0, notices: ["the loss has | risen"] };

/** A finished run. */
const seedOf = (
  seed: number,
  loss: number,
  peakMib: number,
  tokensPerSecond: number,
  parameters = 1000,
): SeedOutcome => ({
  seed,
  training: {
    result: {
      parameters,
      bytes: 4 * parameters,
      steps: 5,
      trainLoss: 1,
      devLoss: 1,
      batches: "0".repeat(64),
      ...rowsRead,
    },
    measured: { seconds: seed + 1, peakMib, tokensPerSecond },
  },
  test: { scores: { loss }, read: {}, measured: { seconds: 1, peakMib: 1 } },
});

const failure = { failure: { code: null, reason: "it | broke" } };
const trials = [0.01, 0.1, 1].map((rate) => ({
  rate,
  record: rate === 1 ? failure : { ...seedOf(0, 1, 1, 1).training },
}));

const outcome: Outcome = {
  base: { scores: { loss: 5 }, read: {}, measured: { seconds: 1, peakMib: 80 } },
  basePeakMib: 80,
  batches: {},
  methods: [
    {
      method: method("red", [0.01, 0.1, 1]),
      trials,
      rate: 0.1,
      edge: undefined,
      seeds: [seedOf(0, 2, 100, 10), seedOf(1, 2.2, 120, 30), seedOf(2, 2.4, 110, 50)],
    },
    {
      method: method("lora:rank=4"),
      trials: [],
      rate: 0.2,
      edge: undefined,
      seeds: [seedOf(0, 1.5, 90, 5, 20_000), seedOf(1, 1.69, 90, 6, 20_000), seedOf(2, 1.91, 90, 7, 20_000)],
    },
    {
      method: method("ia3"),
      trials: [],
      rate: 0.3,
      edge: "highest",
      seeds: [seedOf(0, 2.3, 90, 5, 300), seedOf(1, 1.9, 90, 6, 300), { seed: 2, training: failure, test: undefined }],
    },
    { method: method("full"), trials: [], rate: undefined, edge: undefined, seeds: [] },
  ],
};
const rows = rowsOf(outcome);
const about = { seeds: 3, facts: [["base", "a|b"]] as const };
const markdown = tableMarkdown(outcome, rows, about);
const lineOf = (start: string, nth = 0) => markdown.split("\n").filter((line) => line.startsWith(start))[nth];

test("means, intervals and paired differences", () => {
  // Mean 2.2, deviation 0.2: 4.302652730 * 0.2 / sqrt(3)
  expect(rows[0]!.scores.loss).toMatchObject({ mean: expect.closeTo(2.2, 12), count: 3, difference: null });
  expect(rows[0]!.scores.loss!.half).toBeCloseTo(0.4968275, 6);
  // Differences -0.5, -0.51, -0.49: deviation 0.01
  const { difference } = rows[1]!.scores.loss!;
  expect(difference!.mean).toBeCloseTo(-0.5, 12);
  expect(difference!.half).toBeCloseTo(0.0248414, 6);
  expect(difference!.verdict).toBe("better");
  // Seeds 0 and 1 alone: 0.3 and -0.3
  expect(rows[2]!.scores.loss!.difference).toMatchObject({ count: 2, verdict: "no difference found" });
  expect(rows[2]!.scores.loss!.difference!.mean).toBeCloseTo(0, 12);
  expect(rows[3]!.scores).toEqual({});
});

test("what is measured: the highest peak, the median speed", () => {
  expect(rows[0]!.measured).toEqual({ peakMib: 120, aboveBaseMib: 40, tokensPerSecond: 30, seconds: 2 });
  expect(rows[3]!.measured).toBeNull();
  expect(rows.map((row) => lacksResults(row, 3))).toEqual([false, false, true, true]);
});

test("the lines of the tables", () => {
  expect(lineOf("| base alone")).toBe("| base alone | - | 0 | - | - | 5.0000 | - | - |");
  expect(lineOf("| red")).toBe("| red | 0.1 | 1,000 | 4,000 | 3 of 3 | 2.2000 ± 0.4968 | - | - |");
  expect(lineOf("| lora")).toBe(
    "| lora:rank=4 | 0.2 | 20,000 | 80,000 | 3 of 3 | 1.7000 ± 0.5097 | -0.5000 ± 0.0248 | better |",
  );
  expect(lineOf("| ia3")).toMatch(
    /^\| ia3 \| 0\.3 \(highest tried\) \| 300 \| 1,200 \| 2 of 3 \| .* \| no difference found \|$/,
  );
  expect(lineOf("| full")).toBe("| full | - | - | - | 0 of 3 | failed | - | - |");
  expect(lineOf("| red", 1)).toBe("| red | 120 | 40 | 30 | 2.0 |");
  expect(lineOf("| red | 1 |")).toBe("| red | 1 | failed |  |");
  expect(lineOf("- red, seed 1")).toBe("- red, seed 1: the loss has \\| risen");
  expect(lineOf("- base")).toBe("- base: a\\|b");
  expect(lineOf("- ia3, learning rate 0.3, seed 2")).toBe("- ia3, learning rate 0.3, seed 2, train: it \\| broke");
});

test("what repeats stands before what is measured, in tables of their own", () => {
  const [scores, costs] = markdown.split("## Memory and speed");
  expect(scores).not.toMatch(/MiB|tokens\/s|seconds/);
  expect(costs).not.toContain("2.2000");
});

test("every line of a table has as many cells as its head", () => {
  const cells = markdown
    .split("\n")
    .map((line) => (line.startsWith("|") ? line.replaceAll("\\|", "").split("|").length : 0));
  for (let at = 1; at < cells.length; at++)
    if (cells[at] !== 0 && cells[at - 1] !== 0) expect(cells[at]).toBe(cells[at - 1]);
});

test("one seed has no interval and no verdict; one method no difference", () => {
  const one = (at: number) => ({ ...outcome.methods[at]!, seeds: outcome.methods[at]!.seeds.slice(0, 1) });
  const pair = { ...outcome, methods: [one(0), one(1)] };
  const text = tableMarkdown(pair, rowsOf(pair), { ...about, seeds: 1 });
  expect(text).toContain("| 1 of 1 | 1.5000 | -0.5000 | one seed: cannot tell |");
  const alone = { ...outcome, methods: [outcome.methods[0]!] };
  expect(tableMarkdown(alone, rowsOf(alone), about)).not.toContain("difference");
});

test("scores of texts: more is better", () => {
  const texts = (bleu: number) => ({
    scores: { bleu, nist: 1, rougeL: 1, cider: 1 },
    read: {},
    measured: { seconds: 1, peakMib: 1 },
  });
  const seeds = (values: number[]) => values.map((bleu, seed) => ({ ...seedOf(seed, 0, 1, 1), test: texts(bleu) }));
  const [red, lora] = [outcome.methods[0]!, outcome.methods[1]!];
  const methods = [
    { ...red, seeds: seeds([0.1, 0.2]) },
    { ...lora, seeds: seeds([0.3, 0.4]) },
  ];
  const given = { ...outcome, base: texts(0), methods };
  expect(scoresOf(given).map(({ title }) => title)).toEqual(["BLEU", "NIST", "ROUGE-L", "CIDEr"]);
  expect(rowsOf(given)[1]!.scores.bleu!.difference!.verdict).toBe("better");
});

test("a difference that its digits do not show is none", () => {
  const tiny = [2 - 1e-9, 2.2 - 1e-9, 2.4 - 1e-9].map((loss, seed) => seedOf(seed, loss, 1, 1));
  const given = { ...outcome, methods: [outcome.methods[0]!, { ...outcome.methods[1]!, seeds: tiny }] };
  expect(rowsOf(given)[1]!.scores.loss!.difference).toMatchObject({ verdict: "no difference found" });
  expect(tableMarkdown(given, rowsOf(given), about)).toContain("| 0.0000 ± 0.0000 | no difference found |");
});

describe("the picture", () => {
  const [loss] = scoresOf(outcome);
  const svg = chartSvg(loss!, 5, rows);
  const circle = (label: string) => {
    const [, x, y] = new RegExp(`<circle cx="([\\d.]+)" cy="([\\d.]+)" r="4" fill="[^"]+"><title>${label}<`).exec(svg)!;
    return [Number(x), Number(y)] as const;
  };

  test("has the trained numbers on a log axis, and lower losses lower", () => {
    const [ia3, red, lora] = [circle("ia3"), circle("red"), circle("lora:rank=4")];
    // The axis goes from 100 to 100,000 over 520 pixels from 80 on.
    expect(red[0]).toBeCloseTo(80 + (520 * 1) / 3, 1);
    expect(lora[0]).toBeCloseTo(80 + (520 * Math.log10(200)) / 3, 1);
    expect(ia3[0]).toBeLessThan(red[0]);
    expect(lora[1]).toBeGreaterThan(red[1]);
  });

  test("has the base as a line, an interval for each method, and is XML", () => {
    expect(svg.match(/stroke-dasharray="6 4"/g)).toHaveLength(2); // of the legend, too
    const far = chartSvg(loss!, 500, rows);
    expect(far.match(/stroke-dasharray="6 4"/g)).toHaveLength(1);
    expect(far).toContain(">base alone: 500.0000, beyond the axis<");
    // Without the base the methods have the whole height.
    const heights = [...far.matchAll(/<circle cx="[\d.]+" cy="([\d.]+)" r="4" fill="[^"]+"><title>/g)].map(([, y]) =>
      Number(y),
    );
    expect(Math.max(...heights) - Math.min(...heights)).toBeGreaterThan(circle("lora:rank=4")[1] - circle("red")[1]);
    expect(svg.match(/stroke-width="2"/g)).toHaveLength(3);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    const odd = chartSvg(loss!, 5, [{ ...rows[0]!, method: 'a<b>&"' }]);
    expect(odd).toContain("a&#60;b&#62;&#38;&#34;");
    expect(chartSvg(loss!, 5, [])).not.toMatch(/NaN|Infinity/);
  });
});

test("three rates around a default", () => {
  expect(ratesAround(0.1)).toEqual([0.03, 0.1, 0.3]);
  expect(ratesAround(0.005)).toEqual([0.0015, 0.005, 0.015]);
});

test("names of files differ where labels do", () => {
  const name = (label: string) => trainingName({ method: method(label), rate: 0.1, seed: 0 });
  expect(name("lora:rank=4")).toMatch(/^lora_rank_4-[0-9a-f]{8}-lr0\.1-seed0$/);
  expect(name("red:sites=q,v")).not.toBe(name("red:sites=q:v"));
  expect(name("../../x")).not.toContain("/");
});

test("the time that is left: of what runs took, of each kind", () => {
  let now = 0;
  const estimate = new Estimate({ train: 3, test: 2 }, () => now);
  estimate.begin("test");
  expect(estimate.secondsLeft(0)).toBeUndefined();
  now = 2;
  estimate.end(true);
  estimate.begin("train");
  expect(estimate.place).toEqual({ number: 2, of: 5 });
  now = 4;
  // 2 s for a fifth of a training of 10 s: 8 are left, then two of 10 and a test of 2
  expect(estimate.secondsLeft(0.2)).toBeCloseTo(30, 9);
  now = 12;
  estimate.end(true);
  estimate.begin("train");
  now = 13;
  expect(estimate.secondsLeft(0.1)).toBeCloseTo(9 + 10 + 2, 9);
  estimate.end(false); // it had a record
  estimate.skip("train");
  estimate.begin("test");
  expect(estimate.secondsLeft(0)).toBeCloseTo(2, 9);
  expect(estimate.done(0.5)).toBeCloseTo(0.9, 9);
});

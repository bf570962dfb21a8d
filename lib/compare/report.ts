/** The files of a comparison's results. */
import { writeInto } from "../files/atomic";
import { chartSvg } from "./chart";
import type { Outcome } from "./comparison";
import { isFailed, type Shared } from "./records";
import { type Row, scoresOf } from "./results";
import { tableMarkdown } from "./table";

export const resultFiles = { results: "results.json", table: "table.md", chart: "chart.svg" } as const;

/** What was compared, and where. */
export interface About {
  readonly seeds: number;
  readonly model: string;
  readonly data: string;
  readonly dev: string;
  readonly test: string;
  /** Without --json, as `rubricate` was called. */
  readonly argv: readonly string[];
  readonly shared: Shared;
  readonly machine: Readonly<Record<string, string | number>>;
}

/**
 * Writes results.json, table.md and chart.svg, all or none.
 * @throws RubricateError ERR_FILE
 */
export async function writeReport(out: string, outcome: Outcome, rows: readonly Row[], about: About): Promise<void> {
  const [main] = scoresOf(outcome);
  const base = outcome.base.scores[main!.name]!;
  const { machine, shared, seeds, ...given } = about;
  const results = {
    format: 1,
    rubricate: shared.rubricate,
    ...given,
    seeds,
    shared,
    batches: outcome.batches,
    base: { scores: outcome.base.scores, read: outcome.base.read, measured: { peakMib: outcome.basePeakMib } },
    rows,
    machine,
  };
  await writeInto(out, [
    { name: resultFiles.results, data: `${JSON.stringify(results, null, 2)}\n` },
    { name: resultFiles.table, data: tableMarkdown(outcome, rows, { seeds, facts: factsOf(about, outcome) }) },
    { name: resultFiles.chart, data: chartSvg(main!, base, rows) },
  ]);
}

function factsOf({ seeds, model, data, dev, test, machine, shared }: About, outcome: Outcome): [string, string][] {
  const short = (name: string) => shared[name]!.slice(0, 12);
  const devText = shared["--dev"] === dev ? `${dev} of the data` : `${dev} (SHA-256 ${short("--dev")})`;
  return [
    ["base", `${model} (weights ${short("the weights of --model")})`],
    ["trained on", `${data} (SHA-256 ${short("--data")})${trainedText(outcome)}`],
    ["learning rates judged on", devText],
    ["tested on", `${test} (SHA-256 ${short("--test")}): ${readText(outcome.base.read)}`],
    ["options", optionsText(shared) || "the defaults of train"],
    [
      "batches of each seed, the same for all methods",
      Object.entries(outcome.batches)
        .map(([seed, hash]) => `${seed}: ${hash.slice(0, 12)}`)
        .join(", "),
    ],
    [
      "intervals",
      seeds > 1 ? `95 %, Student's t over ${seeds} seeds; differences are paired by seed` : "none: one seed",
    ],
    ["rubricate", shared.rubricate!],
    [
      "computed by",
      `${machine.processor}, ${machine.threads} threads, kernels ${machine.kernels}, ${machine.device}, ${machine.dtype}`,
    ],
  ];
}

/** The options that were given. */
function optionsText(shared: Shared): string {
  const files = new Set(["--data", "--dev", "--test"]);
  const given = Object.entries(shared).filter(([name]) => name.startsWith("--") && !files.has(name));
  return given.map(([, words]) => words).join(" ");
}

/** The rows of the first training that has a result; those of others are the same. */
function trainedText({ methods }: Outcome): string {
  const [first] = methods.flatMap(({ seeds }) =>
    seeds.flatMap(({ training }) => (isFailed(training) ? [] : [training])),
  );
  if (first === undefined) return "";
  const { trainRows, devRows, skippedRows } = first.result;
  return `: ${trainRows} rows to train on, ${devRows} to judge on, ${skippedRows} skipped`;
}

const readWords: Readonly<Record<string, string>> = {
  tokens: "supervised tokens",
  inputs: "inputs",
  references: "references",
  skipped: "rows skipped",
  truncated: "truncated",
};

function readText(read: Readonly<Record<string, number>>): string {
  return Object.entries(read)
    .map(([name, value]) => `${value} ${readWords[name]}`)
    .join(", ");
}

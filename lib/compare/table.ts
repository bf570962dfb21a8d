/** A comparison as Markdown: first what the same command gives again, then what differs from run to run. */

import { oneLine } from "../errors";
import type { Outcome } from "./comparison";
import { type FailedRun, fixed, type Row, type Score, type Scored, scoresOf } from "./results";

/** Facts about the comparison, for the head of the page. */
export interface About {
  readonly seeds: number;
  /** Rows of "what: value" above the tables. */
  readonly facts: readonly (readonly [name: string, value: string])[];
}

export function tableMarkdown(outcome: Outcome, rows: readonly Row[], about: About): string {
  const scores = scoresOf(outcome);
  return [
    "# Comparison of methods",
    "",
    ...about.facts.map(([name, value]) => `- ${name}: ${cell(value)}`),
    "",
    ...scores.flatMap((score) => scoreTable(score, outcome, rows, about)),
    ...costTable(outcome, rows),
    ...ratesTable(rows),
    ...failureList(rows),
    ...noticeList(rows),
    "",
  ].join("\n");
}

/** A text within a cell: "|" would end it. */
const cell = (text: string) => oneLine(text).replaceAll("|", "\\|");
const line = (cells: readonly string[]) => `| ${cells.map(cell).join(" | ")} |`;

function table(head: readonly string[], body: readonly (readonly string[])[]): string[] {
  const rule = `|---|${"---:|".repeat(head.length - 1)}`;
  return [line(head), rule, ...body.map(line), ""];
}

const whole = (value: number) => Math.round(value).toLocaleString("en-US");
const nothing = "-";

/** "0.5640 ± 0.0123"; with one seed there is no interval. */
export function intervalText({ mean, half }: Pick<Scored, "mean" | "half">, digits: number): string {
  return half === null ? fixed(mean, digits) : `${fixed(mean, digits)} ± ${fixed(half, digits)}`;
}

function scoreTable(score: Score, outcome: Outcome, rows: readonly Row[], { seeds }: About): string[] {
  const { name, title, better, digits } = score;
  const first = rows[0]!.method;
  const head = ["method", "learning rate", "trained numbers", "bytes", "seeds", `${title} (${better} is better)`];
  const differs = rows.length > 1;
  const body = rows.map((row) => {
    const scored = row.scores[name];
    const cells = [
      row.method,
      rateText(row),
      row.parameters === null ? nothing : whole(row.parameters),
      row.bytes === null ? nothing : whole(row.bytes),
      `${scored?.count ?? 0} of ${seeds}`,
      scored ? intervalText(scored, digits) : "failed",
    ];
    return differs ? [...cells, ...differenceCells(scored, digits)] : cells;
  });
  const base = ["base alone", nothing, "0", nothing, nothing, outcome.base.scores[name]!.toFixed(digits)];
  return [
    `## ${title}`,
    "",
    ...table(differs ? [...head, `difference to ${first}`, "found"] : head, [
      differs ? [...base, nothing, nothing] : base,
      ...body,
    ]),
  ];
}

function differenceCells(scored: Scored | undefined, digits: number): string[] {
  const difference = scored?.difference;
  if (!difference) return [nothing, nothing];
  const sign = Number(difference.mean.toFixed(digits)) > 0 ? "+" : "";
  return [`${sign}${intervalText(difference, digits)}`, difference.verdict ?? "one seed: cannot tell"];
}

function rateText({ learningRate, edge }: Row): string {
  if (learningRate === null) return nothing;
  return edge === null ? String(learningRate) : `${learningRate} (${edge} tried)`;
}

function costTable({ basePeakMib }: Outcome, rows: readonly Row[]): string[] {
  const body = rows.map(({ method, measured }) =>
    measured === null
      ? [method, nothing, nothing, nothing, nothing]
      : [
          method,
          whole(measured.peakMib),
          whole(measured.aboveBaseMib),
          whole(measured.tokensPerSecond),
          measured.seconds.toFixed(1),
        ],
  );
  return [
    "## Memory and speed of the trainings",
    "",
    "These differ from run to run and from machine to machine.",
    "",
    ...table(
      ["method", "peak MiB", "MiB above evaluating the base", "tokens/s (median)", "seconds (median)"],
      [["base alone (evaluation)", whole(basePeakMib), "0", nothing, nothing], ...body],
    ),
  ];
}

function ratesTable(rows: readonly Row[]): string[] {
  const tried = rows.filter(({ trials }) => trials.length > 0);
  if (tried.length === 0) return [];
  const body = tried.flatMap(({ method, learningRate, trials }) =>
    trials.map((trial) => [
      method,
      String(trial.learningRate),
      trial.devLoss === null ? "failed" : trial.devLoss.toFixed(4),
      trial.learningRate === learningRate ? "chosen" : "",
    ]),
  );
  const atEdge = tried.filter(({ edge }) => edge !== null);
  const edges = atEdge.map(
    ({ method, edge, learningRate }) =>
      `- ${cell(method)}: ${learningRate} is the ${edge} rate that was tried. A ${edge === "lowest" ? "lower" : "higher"} one may be better.`,
  );
  return [
    "## Learning rates tried, seed 0",
    "",
    ...table(["method", "learning rate", "dev loss", ""], body),
    ...edges,
    ...(edges.length > 0 ? [""] : []),
  ];
}

function failureList(rows: readonly Row[]): string[] {
  const failed = rows.flatMap(({ method, failures }) => failures.map((failure) => ({ method, ...failure })));
  if (failed.length === 0) return [];
  const text = ({ method, learningRate, seed, stage, reason }: FailedRun & { method: string }) =>
    `- ${cell(method)}, learning rate ${learningRate}, seed ${seed}, ${stage}: ${cell(reason)}`;
  return ["## Runs without a result", "", ...failed.map(text), ""];
}

function noticeList(rows: readonly Row[]): string[] {
  const notices = rows.flatMap(({ method, notices: own }) =>
    own.map(({ seed, message }) => `- ${cell(method)}, seed ${seed}: ${cell(message)}`),
  );
  return notices.length === 0 ? [] : ["## Notices of the runs", "", ...notices, ""];
}

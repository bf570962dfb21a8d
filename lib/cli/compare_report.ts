/** What a comparison shows while it runs and at its end. */
import { join } from "node:path";
import type { ComparisonEvent, Outcome, Watcher } from "../compare/comparison";
import { type ComparedMethod, planSize } from "../compare/plan";
import { isFailed } from "../compare/records";
import { type About, resultFiles, writeReport } from "../compare/report";
import { type Row, scoresOf } from "../compare/results";
import { intervalText } from "../compare/table";
import type { Invocation } from "./command";
import { count, duration, plural, table } from "./text";

/** Says what will be run. */
export function tellPlan({ terminal, values }: Invocation, methods: readonly ComparedMethod[], seeds: number): void {
  const { trainings, tests } = planSize(methods, seeds);
  terminal.event({
    type: "comparison",
    out: values.out,
    methods: methods.map(({ label, words, rates }) => ({ method: label, flags: words, learningRates: rates })),
    seeds,
    trainings,
    tests: tests + 1,
  });
  terminal.note(
    `${plural(methods.length, "method")}, ${plural(seeds, "seed")}: ${plural(trainings, "training")} and ${plural(tests + 1, "evaluation")} of the test file`,
  );
}

export function watcherOf({ terminal }: Invocation): Watcher {
  return {
    event(event) {
      terminal.event(event);
      const words = eventWords(event);
      if (words !== undefined) terminal.note(words);
    },
    progress(share, words, secondsLeft) {
      const left = secondsLeft === undefined ? "" : `, about ${duration(secondsLeft)} left`;
      terminal.progress.show(share, `${words}${left}`);
    },
  };
}

function eventWords(event: ComparisonEvent): string | undefined {
  if (event.type === "rate") {
    const { method, learningRate } = event;
    return learningRate === null
      ? `${method}: no learning rate had a result`
      : `${method}: learning rate ${learningRate} had the lowest dev loss`;
  }
  const { method, learningRate, seed, recorded, record } = event;
  const who = method === null ? "the base alone" : `${method}, learning rate ${learningRate}, seed ${seed}`;
  const ending = recorded ? " (of an earlier command)" : "";
  if (isFailed(record)) return `${who}: failed: ${record.failure.reason}${ending}`;
  if ("result" in record) return `${who}: dev loss ${record.result.devLoss.toFixed(4)}${ending}`;
  const [name, value] = Object.entries(record.scores)[0]!;
  return `${who}: test ${name} ${value.toFixed(4)}${ending}`;
}

/** Writes the files of the results and shows the main table. */
export async function report(
  { terminal, values }: Invocation,
  outcome: Outcome,
  rows: readonly Row[],
  about: About,
): Promise<void> {
  const out = values.out!;
  await writeReport(out, outcome, rows, about);
  terminal.progress.clear();
  for (const row of rows) terminal.event({ type: "row", ...row });
  const files = Object.values(resultFiles).map((name) => join(out, name));
  terminal.event({ type: "end", files });
  for (const line of table(lines(outcome, rows))) terminal.print(line);
  for (const { method, failures } of rows)
    for (const { learningRate, seed, stage, reason } of failures)
      terminal.note(`${method}, learning rate ${learningRate}, seed ${seed}, ${stage}: ${reason}`);
  terminal.print(`The tables are in ${files[1]}, the picture is ${files[2]}`);
}

function lines(outcome: Outcome, rows: readonly Row[]): string[][] {
  const { name, title, digits } = scoresOf(outcome)[0]!;
  const first = rows[0]!.method;
  return [
    ["method", "learning rate", "trained", title, `from ${first}`, ""],
    ["base alone", "", "0", outcome.base.scores[name]!.toFixed(digits), "", ""],
    ...rows.map(({ method, learningRate, parameters, scores }) => {
      const scored = scores[name];
      const difference = scored?.difference;
      return [
        method,
        learningRate === null ? "" : String(learningRate),
        parameters === null ? "" : count(parameters),
        scored ? intervalText(scored, digits) : "failed",
        difference ? intervalText(difference, digits) : "",
        difference?.verdict ?? "",
      ];
    }),
  ];
}

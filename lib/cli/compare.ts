import { join } from "node:path";
import { launcher } from "../compare/child";
import { Comparison } from "../compare/comparison";
import { comparisonFile, Records } from "../compare/records";
import { lacksResults, rowsOf } from "../compare/results";
import { Runs } from "../compare/runs";
import { RubricateError } from "../errors";
import { entriesOf } from "../files/operations";
import { present } from "../files/read";
import { FolderLock } from "../train/folder_lock";
import { checkRunOptions } from "../train/option_checks";
import { requireOutsideModel } from "../train/output_folder";
import { type Command, type Invocation, status, UsageError } from "./command";
import { commandsOf, sharedFlags } from "./compare_commands";
import { comparedMethods, readMethods } from "./compare_methods";
import { report, tellPlan, watcherOf } from "./compare_report";
import { inspected, machineOf, sharedOf } from "./compare_shared";
import { checkScoreFlags } from "./eval_scores";
import { flagWords } from "./flag_words";
import { dataFlags, type FlagName, modelFlags, type Values } from "./flags";
import { descriptionAt } from "./inspect_method";
import { modelDir } from "./load";
import { evalShare, flagText } from "./train";
import { trainingOptionsOf } from "./training_flags";

const defaults = { dev: 0.1, seeds: 3 };

const groups = {
  Model: modelFlags,
  Data: [...dataFlags, "dev", "test"],
  Comparison: ["methods", "seeds", "learningRates", "out", "config"],
  Scores: ["metrics", "maxNewTokens", "stop"],
  "Training, the same for all": sharedFlags.training,
} satisfies Record<string, readonly FlagName[]>;

export const compareCommand: Command = {
  name: "compare",
  summary: "Trains several methods on the same batches and compares them on a test file.",
  details:
    "Each run is a process of its own. A method tries its learning rates with seed 0 and is judged on --dev; the best rate trains all seeds; the test file is read once for each of these, at the end. Writes table.md, chart.svg and results.json into --out. The same command resumes a comparison that was interrupted; with more methods or seeds it runs only those. docs/compare.md says what the table shows.",
  flags: Object.values(groups).flat(),
  groups,
  required: ["model", "data", "test", "methods", "out"],
  meanings: { data: { placeholder: "FILE", help: "the rows to train on, as of train" } },
  run: compare,
};

/** Checks the flags before anything is loaded. @returns the dev part: a path, or a share of the data. @throws UsageError */
function checkFlags(values: Values): string | number {
  const dev = evalShare(values.dev, "--dev") ?? values.dev ?? defaults.dev;
  const { metrics, maxNewTokens, stop } = values;
  checkScoreFlags({ metrics, maxNewTokens, stop });
  try {
    checkRunOptions({ ...trainingOptionsOf(onlyTraining(values)), eval: dev }, flagText);
  } catch (error) {
    throw error instanceof RubricateError ? new UsageError(error.message) : error;
  }
  return dev;
}

function onlyTraining(values: Values): Values {
  return Object.fromEntries(sharedFlags.training.map((name) => [name, values[name]]));
}

/** Checks that the folder may be written. @throws RubricateError ERR_FILE */
async function checkOutput(out: string, model: string): Promise<void> {
  await requireOutsideModel(out, model);
  if (await present(join(out, comparisonFile))) return;
  const found = (await entriesOf(out)).find((name) => !name.startsWith(".rubricate-")); // locks, and what a kill left
  if (found !== undefined)
    throw new RubricateError(
      "ERR_FILE",
      `Expected a new or empty folder, or one of rubricate compare, for --out but ${out} has ${found}`,
    );
}

async function compare(invocation: Invocation): Promise<number> {
  const { values, terminal, interrupts } = invocation;
  const dev = checkFlags(values);
  const asked = readMethods(values.methods!);
  const folder = modelDir(values.model);
  const methods = comparedMethods(asked, await descriptionAt(folder), values.learningRates ?? "auto");
  const out = values.out!;
  await checkOutput(out, folder);
  interrupts.onStop(() =>
    terminal.note("stopping; the same command resumes the comparison (Ctrl-C again ends immediately)"),
  );
  const { signal } = interrupts;
  const lock = await FolderLock.take(out);
  try {
    const launch = launcher([process.execPath, ...process.execArgv, process.argv[1]!]);
    const model = await inspected(launch, flagWords(values, modelFlags), signal);
    const shared = await sharedOf(values, dev, [...sharedFlags.all, "dtype"], model);
    const records = new Records(out, shared);
    await records.claim();
    const runs = new Runs(out, records, commandsOf(values, dev), launch, signal);
    const seeds = values.seeds ?? defaults.seeds;
    tellPlan(invocation, methods, seeds);
    const outcome = await new Comparison(methods, seeds, runs, watcherOf(invocation)).run();
    const rows = rowsOf(outcome);
    const files = { model: values.model!, data: values.data!, dev: String(dev), test: values.test! };
    const argv = invocation.argv.filter((word) => word !== "--json");
    await report(invocation, outcome, rows, { seeds, ...files, argv, shared, machine: machineOf(values, model) });
    return rows.some((row) => lacksResults(row, seeds)) ? status.failed : status.done;
  } finally {
    await lock.release();
  }
}

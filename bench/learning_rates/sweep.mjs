/**
 * What a sweep finds, compared with the best rate of the table.
 *
 *     node bench/learning_rates/sweep.mjs --models FOLDER --e2e ZIP --stories FILE --table FILE.jsonl --out FILE.jsonl
 *         [--filter TEXT]
 *
 * For each row of the table that has every rate with seed 1: runs with the same options and `learningRate: "sweep"`. A line of the
 * file has the trials, the rate found, the loss at the end, the lowest of the row, and what the sweep cost: its steps as a share of the
 * run's, and its CPU time, evaluations included, as a share of the run's. Rows that the file has are not run again.
 */
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { describeRun, machineLine } from "../js/machine.mjs";
import { rubricate } from "../js/package.mjs";
import { methods } from "./cases.mjs";
import { examplesOf } from "./data.mjs";
import { rowsOf } from "./table.mjs";

const { LanguageModel, RedAdapter, Trainer } = rubricate;
const { values } = parseArgs({
  options: {
    models: { type: "string" },
    e2e: { type: "string" },
    stories: { type: "string" },
    table: { type: "string" },
    out: { type: "string" },
    filter: { type: "string", default: "" },
  },
});
const missing = ["models", "e2e", "stories", "table", "out"].filter((name) => values[name] === undefined);
if (missing.length > 0) {
  console.error(`Expected ${missing.map((name) => `--${name}`).join(", ")}; the head of this file describes them`);
  process.exit(2);
}
const folders = {
  stories260K: join(values.models, "stories260K", "hf"),
  "tinystories-656k": join(values.models, "tinystories-656k"),
  embedded: rubricate.embeddedModelDir(),
};

function linesOf(path) {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => JSON.parse(line)).filter(({ name }) => name !== undefined);
}

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** Runs with a sweep. */
async function run({ name, dtype, data, steps, batchSize, method, seed }) {
  const model = await LanguageModel.fromPretrained(folders[name], { dtype });
  try {
    const { train, evaluation } = await examplesOf(data, model, folders[name], values);
    const { sites } = methods[method];
    const adapter = sites && RedAdapter.create(model, { sites });
    const trainer = new Trainer({
      ...{ model, adapter, method: methods[method].method, train, eval: evaluation, seed, maxSteps: steps, batchSize },
      ...{ learningRate: "sweep", evalEveryEpoch: false, keepBest: false },
    });
    const result = { trials: [], cpu: {} };
    const begin = cpuSeconds();
    for await (const event of trainer.run()) {
      if (event.type === "trial") result.trials.push(event);
      if (event.type === "start") {
        result.rate = event.learningRate;
        result.cpu.sweep = cpuSeconds() - begin;
      }
      if (event.type === "eval") result.evalLoss = event.loss;
    }
    result.cpu.run = cpuSeconds() - begin - result.cpu.sweep;
    return result;
  } finally {
    model.dispose();
  }
}

const table = linesOf(values.table).filter(({ seed }) => seed === 1);
const known = new Set(linesOf(values.out).map((row) => row.row));
const rows = rowsOf(table).filter(
  ({ name, losses, complete }) =>
    complete && losses.some(Number.isFinite) && !known.has(name) && name.includes(values.filter),
);
const head = describeRun();
console.log(machineLine(head));
if (rows.length > 0) appendFileSync(values.out, `${JSON.stringify({ type: "start", ...head })}\n`);
if (rows.length > 0) await run(table.find((one) => rows[0].runs.includes(one))); // so that no row pays for compilation
for (const row of rows) {
  const first = table.find((one) => row.runs.includes(one));
  const { rate, evalLoss, trials, cpu } = await run(first);
  const best = Math.min(...row.losses.filter(Number.isFinite));
  const trialSteps = trials.reduce((sum, { steps }) => sum + steps, 0);
  const { name, dtype, data, steps, batchSize, method, seed } = first;
  const line = {
    ...{ row: row.name, name, dtype, data, steps, batchSize, method, seed, rate, evalLoss, best },
    ...{ above: evalLoss - best, stepShare: trialSteps / steps, cpuShare: cpu.sweep / cpu.run, cpu, trials },
  };
  appendFileSync(values.out, `${JSON.stringify(line)}\n`);
  console.log(
    `${row.name}: ${rate}, ${evalLoss.toFixed(3)}, best ${best.toFixed(3)}, ${(100 * line.stepShare).toFixed(0)} % of the steps, ${(100 * line.cpuShare).toFixed(0)} % of the time`,
  );
}

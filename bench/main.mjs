/**
 * Times the parts of the built package on this machine.
 *
 *     npm run bench -- [--filter TEXT] [--quick] [--out FILE.json] [--compare FILE.json]
 *
 * --filter  only cases whose "group: name" contains the text
 * --quick   small shapes, one or two runs each: checks that everything works; the figures mean little
 * --out     also writes the results as JSON
 * --compare also divides the rates by those of a file that --out wrote, and names the differences of the machines
 *
 * Rates are of the fastest run. Nothing else should run meanwhile; the results include the load average at the start, and the
 * machine's peaks, of which the cases with a formula have a share. docs/cli.md describes the fields.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Bench } from "tinybench";
import { withTemporaryFolder } from "./js/folder.mjs";
import { describeRun, machineLine } from "./js/machine.mjs";
import { modelCases } from "./js/model_cases.mjs";
import { opCases } from "./js/op_cases.mjs";
import { built, native } from "./js/package.mjs";
import { writeRandomModel } from "./js/random_model.mjs";
import { shapes } from "./js/shapes.mjs";

const { compared, readStored } = built("cli/bench_compare.js");
const { resultOf } = built("cli/bench_timing.js");
const thorough = { time: 1000, iterations: 5, warmupTime: 100, warmupIterations: 1 };
const brief = { time: 0, iterations: 2, warmup: false };

/** Folders of random models, each written on first use. */
function randomModels(folder) {
  return (shape, dtype) => {
    const path = join(folder, `${shape}-${dtype}`);
    if (!existsSync(join(path, "config.json"))) writeRandomModel(path, shapes[shape], { dtype });
    return path;
  };
}

async function timed(one, settings, peaks) {
  const { run, end } = await one.start();
  const bench = new Bench({ ...settings, retainSamples: true, throws: true });
  bench.add(one.name, run);
  const [task] = await bench.run();
  await end();
  return resultOf(one, task.result.latency.samples, peaks);
}

function milliseconds(value) {
  return value < 0.1 ? `${(value * 1e3).toFixed(1)} us` : `${value.toFixed(value < 10 ? 3 : 1)} ms`;
}

function rate(value) {
  return value >= 1e5 ? value.toExponential(2) : value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

const percent = (share) => (share === null ? "" : `${(100 * share).toFixed(0)} %`);
const columns = (cells) => cells.map((cell, at) => cell.padStart(at === 4 ? 8 : 10)).join(" ");

function line(name, { bestMs, medianMs, spread, rate: best, unit, peakShare, runs }) {
  const cells = [milliseconds(bestMs), milliseconds(medianMs), percent(spread), rate(best), unit, percent(peakShare)];
  return `  ${name.padEnd(72)} ${columns([...cells, String(runs)])}`;
}

/** Runs the cases and prints their lines. */
async function runAll(cases, settings, peaks) {
  const head = ["best", "median", "spread", "rate", "", "of peak", "runs"];
  console.log(`  ${"".padEnd(72)} ${columns(head)}`);
  const results = [];
  let group;
  for (const one of cases) {
    if (one.group !== group) console.log(one.group);
    group = one.group;
    const result = await timed(one, settings, peaks);
    results.push(result);
    console.log(line(one.name, result));
  }
  return results;
}

async function main() {
  const { values } = parseArgs({
    options: {
      filter: { type: "string", default: "" },
      quick: { type: "boolean", default: false },
      out: { type: "string" },
      compare: { type: "string" },
    },
  });
  const { filter, quick, out, compare } = values;
  const before = compare === undefined ? undefined : await readStored(compare);
  const described = describeRun();
  const peaks = native.peakRates();
  const machine = { ...described.machine, peaks };
  const head = { ...described, machine, quick };
  console.log(machineLine(head));
  const giga = (value) => (value / 1e9).toFixed(1);
  console.log(
    `peaks: ${giga(peaks.float32)} GFLOP/s in float32, ${giga(peaks.bfloat16)} in bfloat16, reading ${giga(peaks.read)} GB/s`,
  );
  let results = [];
  await withTemporaryFolder(async (folder) => {
    const all = [...opCases(), ...modelCases(randomModels(folder))];
    const chosen = all.filter(({ group, name, slow }) => `${group}: ${name}`.includes(filter) && !(quick && slow));
    if (chosen.length === 0) throw new Error(`no case matches "${filter}"`);
    results = await runAll(chosen, quick ? brief : thorough, peaks);
  });
  if (before) showComparison(compare, compared({ machine, results, isQuick: quick }, before));
  if (out === undefined) return;
  mkdirSync(dirname(resolve(out)), { recursive: true });
  writeFileSync(out, `${JSON.stringify({ ...head, results }, null, 2)}\n`);
  console.log(`written to ${out}`);
}

function showComparison(file, { differences, ratios, missing }) {
  console.log(`rates compared with ${file}`);
  for (const difference of differences)
    console.log(`  other machine or effort: ${difference}; the ratios show that, too`);
  for (const [name, ratio] of ratios) console.log(`  ${(ratio?.toFixed(2) ?? "new").padStart(6)}  ${name}`);
  if (missing.length > 0) console.log(`  only in the file: ${missing.join("; ")}`);
}

await main();

/**
 * Times the parts of the built package on this machine.
 *
 *     npm run bench -- [--filter TEXT] [--quick] [--out FILE.json]
 *
 * --filter  only cases whose "group: name" contains the text
 * --quick   small shapes, one or two runs each: checks that everything works; the figures mean little
 * --out     also writes the results as JSON
 *
 * Rates are of the fastest run. Nothing else should run meanwhile; the results include the load average at the start.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Bench } from "tinybench";
import { withTemporaryFolder } from "./js/folder.mjs";
import { describeRun, machineLine } from "./js/machine.mjs";
import { modelCases } from "./js/model_cases.mjs";
import { opCases } from "./js/op_cases.mjs";
import { writeRandomModel } from "./js/random_model.mjs";
import { shapes } from "./js/shapes.mjs";

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

async function timed({ group, name, unit, work, start }, settings) {
  const { run, end } = await start();
  const bench = new Bench({ ...settings, throws: true });
  bench.add(name, run);
  const [task] = await bench.run();
  await end();
  const { latency } = task.result;
  return {
    group,
    name,
    runs: latency.samplesCount ?? task.runs,
    bestMs: latency.min,
    medianMs: latency.p50,
    rate: work / (latency.min / 1e3),
    medianRate: work / (latency.p50 / 1e3),
    unit,
  };
}

function milliseconds(value) {
  return value < 0.1 ? `${(value * 1e3).toFixed(1)} us` : `${value.toFixed(value < 10 ? 3 : 1)} ms`;
}

function rate(value) {
  return value >= 1e5 ? value.toExponential(2) : value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function line({ name, bestMs, medianMs, rate: best, unit, runs }) {
  const columns = [milliseconds(bestMs).padStart(10), milliseconds(medianMs).padStart(10), rate(best).padStart(9)];
  return `  ${name.padEnd(72)} ${columns.join(" ")} ${unit.padEnd(8)} ${String(runs).padStart(6)}`;
}

async function main() {
  const { values } = parseArgs({
    options: { filter: { type: "string" }, quick: { type: "boolean", default: false }, out: { type: "string" } },
  });
  const { filter, quick, out } = values;
  const head = { ...describeRun(), quick };
  console.log(machineLine(head));
  const results = [];
  await withTemporaryFolder(async (folder) => {
    const all = [...opCases(), ...modelCases(randomModels(folder))];
    const chosen = all.filter(
      ({ group, name, slow }) => `${group}: ${name}`.includes(filter ?? "") && !(quick && slow),
    );
    if (chosen.length === 0) throw new Error(`no case matches "${filter}"`);
    console.log(`  ${"".padEnd(72)}       best     median      rate            runs`);
    for (const one of chosen) {
      if (one.group !== results.at(-1)?.group) console.log(one.group);
      results.push(await timed(one, quick ? brief : thorough));
      console.log(line(results.at(-1)));
    }
  });
  if (out === undefined) return;
  mkdirSync(dirname(resolve(out)), { recursive: true });
  writeFileSync(out, `${JSON.stringify({ ...head, results }, null, 2)}\n`);
  console.log(`written to ${out}`);
}

await main();

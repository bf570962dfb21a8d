/**
 * How late a 1 ms timer fires in a process that loads, tokenizes, trains, evaluates, writes checkpoints and generates,
 * compared with the same threads idle.
 *
 *     node bench/latency.mjs [--shape 110m] [--seconds 20] [--megabytes 50] [--filter TEXT] [--out FILE.json]
 *
 * Each phase repeats its work for at least `--seconds`; the data file is indexed completely at least once. Weights are
 * random; steps have four sequences of 64 tokens. Node rounds timers to whole milliseconds, so up to 1 ms is due to
 * Node.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "./js/folder.mjs";
import { makePhases, writeRows } from "./js/latency_phases.mjs";
import { latenessBeside } from "./js/lateness.mjs";
import { describeRun, machineLine } from "./js/machine.mjs";
import { rubricate } from "./js/package.mjs";
import { writeRandomModel } from "./js/random_model.mjs";
import { shapes } from "./js/shapes.mjs";

const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "110m" },
    seconds: { type: "string", default: "20" },
    megabytes: { type: "string", default: "50" },
    filter: { type: "string", default: "" },
    out: { type: "string" },
  },
});
const { shape, filter, out } = values;
const seconds = Number(values.seconds);
const bytes = Number(values.megabytes) * 1e6;

const head = { ...describeRun(), shape, bytesOfData: bytes };
console.log(machineLine(head));
const phases = [];
await withTemporaryFolder(async (folder) => {
  const tokenizer = rubricate.embeddedModelDir();
  const models = [1, 2].map((seed) => {
    const path = join(folder, `model-${seed}`);
    writeRandomModel(path, shapes[shape], { seed, tokenizer });
    return path;
  });
  const rows = join(folder, "rows.jsonl");
  await writeRows(rows, bytes);
  const made = await makePhases({ models, rows, folder }, seconds * 1e3);
  console.log(`${"late by, ms".padEnd(44)}     p50     p99   p99.9     max  samples  runs`);
  for (const { name, work } of made.phases) {
    if (!name.includes(filter) && name !== "idle threads") continue;
    const found = await latenessBeside(work, seconds);
    phases.push({ name, ...found });
    const figures = [found.p50, found.p99, found["p99.9"], found.max].map((ms) => ms.toFixed(2).padStart(7)).join(" ");
    console.log(`${name.padEnd(44)} ${figures} ${String(found.samples).padStart(8)} ${String(found.runs).padStart(5)}`);
  }
  await made.end();
});
const [idle, ...busy] = phases;
const worst = (figure) => Math.max(...busy.map((phase) => phase[figure]));
const summary = { worstP999: worst("p99.9"), worstMax: worst("max"), worstMaxOverIdle: worst("max") - idle.max };
console.log(JSON.stringify(summary));
if (out !== undefined) {
  mkdirSync(dirname(resolve(out)), { recursive: true });
  writeFileSync(out, `${JSON.stringify({ ...head, phases, summary }, null, 2)}\n`);
}

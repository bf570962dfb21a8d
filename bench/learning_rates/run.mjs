/**
 * The final evaluation loss by learning rate, for each method, model and data set: what the default rates are chosen from.
 *
 *     node bench/learning_rates/run.mjs --models FOLDER --e2e e2e-dataset.zip --stories tinystories.txt
 *         --out bench/results/learning_rates-MACHINE.jsonl [--filter TEXT] [--jobs 2]
 *     node bench/learning_rates/run.mjs --table --out FILE
 *
 * FOLDER has tinystories-656k/ (a Hugging Face folder) and stories260K/ (hf/ and tok512.bin of llama2.c); the third model is the
 * embedded one. A run is a line of the file, after a line that describes the machine and the commit. A run that the file has is not
 * made again, so a stopped table goes on where it was. --table prints the file's table.
 */
import { spawn } from "node:child_process";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { describeRun, machineLine } from "../js/machine.mjs";
import { rubricate } from "../js/package.mjs";
import { cases, keyOf } from "./cases.mjs";
import { tableText } from "./table.mjs";

const { values } = parseArgs({
  options: {
    models: { type: "string" },
    e2e: { type: "string" },
    stories: { type: "string" },
    out: { type: "string" },
    filter: { type: "string", default: "" },
    jobs: { type: "string", default: "2" },
    table: { type: "boolean", default: false },
  },
});
const needed = values.table ? ["out"] : ["models", "e2e", "stories", "out"];
const missing = needed.filter((name) => values[name] === undefined);
if (missing.length > 0) {
  console.error(`Expected ${missing.map((name) => `--${name}`).join(", ")}; the head of this file describes them`);
  process.exit(2);
}

/** The runs that the file has. */
function finished() {
  if (!existsSync(values.out)) return [];
  const lines = readFileSync(values.out, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => JSON.parse(line)).filter(({ name }) => name !== undefined);
}

/** Makes runs one after the other in a process of one thread. */
async function work(queue, argument, done) {
  const script = fileURLToPath(new URL("./worker.mjs", import.meta.url));
  const child = spawn(process.execPath, [script, argument], {
    env: { ...process.env, RUBRICATE_NUM_THREADS: "1" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let current;
  for await (const line of createInterface({ input: child.stdout })) {
    if (current) done({ ...current, ...JSON.parse(line) });
    current = queue.shift();
    if (current) child.stdin.write(`${JSON.stringify(current)}\n`);
    else child.stdin.end();
  }
  if (current) throw new Error(`the process ended during ${keyOf(current)}`);
}

if (!values.table) {
  const known = new Set(finished().map(keyOf));
  const queue = cases.filter((one) => !known.has(keyOf(one)) && keyOf(one).includes(values.filter));
  const head = describeRun();
  console.log(machineLine(head));
  console.log(`${queue.length} runs; ${known.size} are in ${values.out}`);
  if (queue.length > 0) appendFileSync(values.out, `${JSON.stringify({ type: "start", ...head })}\n`);
  const argument = JSON.stringify({
    folders: {
      stories260K: join(values.models, "stories260K", "hf"),
      "tinystories-656k": join(values.models, "tinystories-656k"),
      embedded: rubricate.embeddedModelDir(),
    },
    sources: { e2e: values.e2e, stories: values.stories },
  });
  const done = (row) => {
    appendFileSync(values.out, `${JSON.stringify({ ...row, date: new Date().toISOString() })}\n`);
    console.log(
      `${keyOf(row)}: ${row.before.toFixed(3)} to ${row.evalLoss?.toFixed(3) ?? row.fault}, ${row.cpuSeconds.toFixed(1)} s`,
    );
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, () => work(queue, argument, done)));
}
console.log(tableText(finished()));

/**
 * Many small training runs together by a MultiTrainer against the same runs one after another by Trainers.
 *
 *     node bench/serve/tenants.mjs [--shape 15m] [--tenants 64] [--steps 2] [--sequences 2] [--length 64] [--rows 4096]
 *         [--pairs 10] [--out FILE.json]
 *
 * Each run has its own adapter and examples, in float32, and batches of `sequences` times `length` tokens. Prints the ratio of the
 * times, and that of the processor times, which other programs disturb less: the median over pairs with its 95 % confidence interval. Both give the same adapters, which is checked. Weights are random.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "../js/folder.mjs";
import { describeRun, machineLine } from "../js/machine.mjs";
import { rubricate } from "../js/package.mjs";
import { median, medianInterval } from "../js/pairs.mjs";
import { writeRandomModel } from "../js/random_model.mjs";
import { shapes } from "../js/shapes.mjs";

const { LanguageModel, MultiTrainer, RedAdapter, Trainer } = rubricate;
const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "15m" },
    tenants: { type: "string", default: "64" },
    steps: { type: "string", default: "2" },
    sequences: { type: "string", default: "2" },
    length: { type: "string", default: "64" },
    rows: { type: "string", default: "4096" },
    pairs: { type: "string", default: "10" },
    out: { type: "string" },
  },
});
const [tenants, steps, sequences, length, maxRows, pairs] = [
  "tenants",
  "steps",
  "sequences",
  "length",
  "rows",
  "pairs",
].map((name) => Number(values[name]));

function examplesOf(tenant) {
  return Array.from({ length: sequences * steps }, (_, at) => ({
    tokenIds: Int32Array.from({ length }, (_, i) => 3 + ((7919 * (tenant * 1000 + at * length + i)) % 31990)),
    supervised: new Uint8Array(length).fill(1),
    line: at + 1,
  }));
}

/** Of all threads, in milliseconds. */
function cpuMs() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const data = Array.from({ length: tenants }, (_, tenant) => examplesOf(tenant));
const options = { epochs: 1, batchSize: sequences, learningRate: 1e-3 };

async function oneAfterAnother(model) {
  const adapters = data.map(() => RedAdapter.create(model));
  const [begun, cpu] = [performance.now(), cpuMs()];
  for (const [at, adapter] of adapters.entries())
    await new Trainer({ model, adapter, train: data[at], ...options }).train();
  return { ms: performance.now() - begun, cpu: cpuMs() - cpu, adapters };
}

async function together(model) {
  const adapters = data.map(() => RedAdapter.create(model));
  const [begun, cpu] = [performance.now(), cpuMs()];
  const trainer = new MultiTrainer({ model, maxRows });
  const runs = adapters.map((adapter, at) => trainer.add(`tenant ${at}`, { adapter, train: data[at], ...options }));
  await Promise.all(runs.map((run) => run.done));
  return { ms: performance.now() - begun, cpu: cpuMs() - cpu, adapters };
}

/** Compares and frees adapters. */
function requireEqual(some, others) {
  for (const [at, adapter] of some.entries()) assert.deepEqual(adapter.vectors(), others[at].vectors());
  for (const adapter of [...some, ...others]) adapter.dispose();
}

const head = describeRun();
console.log(machineLine(head));
const result = await withTemporaryFolder(async (temporary) => {
  const folder = join(temporary, "model");
  writeRandomModel(folder, shapes[values.shape], { dtype: "float32" });
  const model = await LanguageModel.fromPretrained(folder, { device: "cpu" });
  requireEqual((await oneAfterAnother(model)).adapters, (await together(model)).adapters);
  const times = { alone: [], shared: [] };
  for (let pair = 0; pair < pairs; pair++) {
    const made = {};
    for (const name of pair % 2 ? ["shared", "alone"] : ["alone", "shared"]) {
      made[name] = await (name === "alone" ? oneAfterAnother : together)(model);
      times[name].push(made[name]);
    }
    requireEqual(made.alone.adapters, made.shared.adapters);
  }
  const compared = (of) => {
    const [alone, shared] = [times.alone.map(of), times.shared.map(of)];
    const ratios = alone.map((ms, at) => ms / shared[at]);
    return { ratio: median(ratios), interval: medianInterval(ratios), alone: median(alone), shared: median(shared) };
  };
  return { wall: compared(({ ms }) => ms), cpu: compared(({ cpu }) => cpu) };
});
const tokens = tenants * steps * sequences * length;
console.log(`${values.shape}, ${tenants} runs of ${steps} steps of ${sequences} x ${length} tokens`);
for (const [name, { ratio, interval, alone, shared }] of Object.entries(result)) {
  const rate = (ms) => `${((tokens * 1000) / ms).toFixed(0)} tokens/s`;
  const range = interval.map((value) => value.toFixed(3)).join(", ");
  console.log(
    `by ${name} time: together ${rate(shared)}, one after another ${rate(alone)}; ${ratio.toFixed(3)} [${range}]`,
  );
}
if (values.out) writeFileSync(values.out, `${JSON.stringify({ ...head, ...values, ...result }, null, 2)}\n`);
process.exit(0);

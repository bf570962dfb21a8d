/**
 * How long a brief job waits beside training: logits of one token at 110M, while a run trains on 4 x 256 tokens.
 *
 *     node bench/waits.mjs [OTHER] [--seconds 30] [--pause 40] [--shape 110m] [--out FILE.json]
 *
 * OTHER is another built checkout; without it this one. After each answer the client pauses for up to `pause` milliseconds, so that
 * its requests come at all moments of a step. Prints the longest wait, the 99th percentile and the median, less the median alone,
 * and the time of a step. Weights are random.
 */
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { setTimeout as pauseFor } from "node:timers/promises";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "./js/folder.mjs";
import { describeRun, machineLine } from "./js/machine.mjs";
import { root } from "./js/package.mjs";
import { median } from "./js/pairs.mjs";
import { writeRandomModel } from "./js/random_model.mjs";
import { shapes } from "./js/shapes.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "30" },
    pause: { type: "string", default: "40" },
    shape: { type: "string", default: "110m" },
    out: { type: "string" },
  },
});
const checkout = resolve(positionals[0] ?? root);
const { LanguageModel, RedAdapter, Trainer } = createRequire(import.meta.url)(join(checkout, "dist", "index.js"));
const [sequences, length, vocabulary] = [4, 256, 32000];

async function timed(work) {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

async function measure(folder) {
  writeRandomModel(folder, shapes[values.shape], { dtype: "float32" });
  const model = await LanguageModel.fromPretrained(folder, { device: "cpu" });
  const ask = () => timed(() => model.logits([1]));
  await ask();
  const alone = [];
  for (let i = 0; i < 20; i++) alone.push(await ask());
  const train = Array.from({ length: sequences }, (_, row) => ({
    tokenIds: Int32Array.from({ length }, (_, i) => 3 + ((7919 * i + 104729 * row) % (vocabulary - 3))),
    supervised: new Uint8Array(length).fill(1),
  }));
  const options = { train, batchSize: sequences, maxSteps: 1e6, schedule: "constant" };
  const run = new Trainer({ model, adapter: RedAdapter.create(model), ...options }).run();
  const nextStep = async () => {
    for (;;) if ((await run.next()).value.type === "step") return;
  };
  await nextStep();
  let training = true;
  const steps = [];
  const trained = (async () => {
    while (training) steps.push(await timed(nextStep));
  })();
  const waits = [];
  const end = performance.now() + 1000 * Number(values.seconds);
  for (let at = 1; performance.now() < end; at++) {
    await pauseFor(((at * 0.618034) % 1) * Number(values.pause));
    waits.push(await ask());
  }
  training = false;
  await trained;
  waits.sort((a, b) => a - b);
  const less = median(alone);
  return {
    requests: waits.length,
    aloneMs: less,
    longestMs: waits.at(-1) - less,
    p99Ms: waits[Math.floor(0.99 * waits.length)] - less,
    medianMs: median(waits) - less,
    stepMs: median(steps),
  };
}

const head = describeRun();
console.log(`${machineLine(head)}\n${checkout === root ? "this checkout" : "another checkout"}`);
const found = await withTemporaryFolder((folder) => measure(join(folder, "model")));
console.log(
  `${values.shape} ${sequences} x ${length}: ${found.requests} requests waited ${found.longestMs.toFixed(0)} ms at most, ` +
    `p99 ${found.p99Ms.toFixed(0)} ms, median ${found.medianMs.toFixed(1)} ms; a step took ${found.stepMs.toFixed(0)} ms`,
);
if (values.out) writeFileSync(values.out, `${JSON.stringify({ ...head, ...found }, null, 2)}\n`);
process.exit(0);

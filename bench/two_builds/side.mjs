/**
 * One of two builds, for `run.mjs`: each "step" on stdin is a training step and then some decoded tokens. It uses the public
 * API only, so that it can load an older build.
 *
 *     node side.mjs DIST MODEL SEQUENCES LENGTH METHOD
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { watchMemory } from "../js/process_memory.mjs";

const [dist, folder, sequences, length, method] = process.argv.slice(2);
const { LlamaModel, RedAdapter, Trainer } = createRequire(import.meta.url)(join(dist, "index.js"));
const decoded = 32;

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const vocabulary = 32000;
const examples = Array.from({ length: Number(sequences) }, (_, row) => ({
  tokenIds: Int32Array.from({ length: Number(length) }, (_, i) => 3 + ((7919 * i + 104729 * row) % (vocabulary - 3))),
  supervised: new Uint8Array(Number(length)).fill(1),
}));

const model = await LlamaModel.fromPretrained(folder, { device: "cpu" });
const trained = method === "full" ? {} : { adapter: RedAdapter.create(model) };
const run = new Trainer({
  model,
  ...trained,
  method,
  train: examples,
  batchSize: Number(sequences),
  maxSteps: 1e6,
  shuffle: false,
  schedule: "constant",
  learningRate: 1e-3,
}).run();

async function step() {
  for (;;) {
    const { value, done } = await run.next();
    if (done) throw new Error("the run ended");
    if (value.type === "step") return value.loss;
  }
}

async function decode() {
  const ids = [];
  let first;
  for await (const { tokenId } of model.generate({ tokenIds: [1, 2, 3, 4], maxNewTokens: decoded + 1 })) {
    first ??= performance.now(); // the prompt's time is not counted
    ids.push(tokenId);
  }
  return { perToken: (performance.now() - first) / decoded, ids: ids.join() };
}

await step();
await decode();
const memory = watchMemory();
say({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== "step") break;
  const begun = performance.now();
  const loss = await step();
  const stepMs = performance.now() - begun;
  const { perToken, ids } = await decode();
  say({ stepMs, decodeMs: perToken, loss, ids });
}
say({ peakBytes: memory.stop().residentPeak });
process.exit(0); // the run is not finished

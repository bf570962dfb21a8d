/**
 * Our side of versus_torch: one training step for each line "step" on standard input, through the public Trainer.
 *
 *     node ours.mjs --model FOLDER --ids IDS.json --method red|lora|full --batch N --length N --steps N
 *         --rate N [--adapter FOLDER]
 *
 * IDS.json: [[id, ...], ...], sequences in order, cyclically. FOLDER: where a LoRA adapter starts. Answers in lines of JSON.
 */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { native, rubricate } from "../js/package.mjs";

const option = { type: "string" };
const names = ["model", "ids", "method", "batch", "length", "steps", "rate", "adapter"];
const { values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, option])) });
const [batchSize, length, steps] = [values.batch, values.length, values.steps].map(Number);
const { LanguageModel, LoraAdapter, RedAdapter, Trainer } = rubricate;

const model = await LanguageModel.fromPretrained(values.model);
const adapters = {
  red: () => RedAdapter.create(model),
  lora: () => LoraAdapter.fromPretrained(values.adapter, model),
};
const adapter = await adapters[values.method]?.();
const sequences = JSON.parse(readFileSync(values.ids, "utf8"));
const train = Array.from({ length: batchSize * steps }, (_, i) => {
  const tokenIds = Int32Array.from(sequences[i % sequences.length].slice(0, length));
  return { tokenIds, supervised: new Uint8Array(length).fill(1, 1), line: i + 1 };
});
const trainer = new Trainer({
  model,
  ...(adapter ? { adapter } : { method: "full" }),
  train,
  batchSize,
  maxSteps: steps,
  shuffle: false,
  learningRate: Number(values.rate),
  schedule: "constant",
  recompute: false,
});
const run = trainer.run();
const say = (answer) => console.log(JSON.stringify(answer));

async function step() {
  const started = performance.now();
  for (;;) {
    const { value: event, done } = await run.next();
    if (done) throw new Error("the run is over");
    if (event.type === "step") return { seconds: (performance.now() - started) / 1e3, loss: event.loss };
  }
}

const { path, threads } = native.cpu();
say({ ready: true, name: `rubricate ${native.version}`, path, threads, dtype: model.dtype });
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "step") say(await step());
  if (line === "end") break;
}
const status = readFileSync("/proc/self/status", "utf8");
say({ peakMiB: Number(/VmHWM:\s+(\d+)/.exec(status)[1]) / 1024 });
process.exit(0);

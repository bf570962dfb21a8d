/**
 * node-llama-cpp's side of versus_llamacpp. On few cores llama.cpp's threads, which spin at barriers, need UV_THREADPOOL_SIZE=1.
 *
 *     node theirs.mjs --peer FOLDER --model FILE.gguf --measure prefill|decode --sequences N --length N --count N
 */
import { readFileSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { answer, prompt, workOptions } from "./work.mjs";

const { peer, model: modelPath, measure, sequences, length, count } = workOptions();
const installed = join(peer, "node_modules", "node-llama-cpp");
const { getLlama } = await import(pathToFileURL(join(installed, "dist", "index.js")));
const { version } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
const threads = os.availableParallelism();
const llama = await getLlama({
  gpu: false,
  build: "never",
  skipDownload: true,
  maxThreads: threads,
  logLevel: "error",
});
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
const vocabulary = model.fileInfo.metadata.llama.vocab_size;
const context = await model.createContext({
  sequences,
  contextSize: Math.max(length + (measure === "prefill" ? 1 : count) + 64, 256),
  batchSize: 512,
  threads,
  flashAttention: "auto",
  failedCreationRemedy: false,
});
const slots = Array.from({ length: sequences }, () => context.getSequence());
const greedy = { temperature: 0, yieldEogToken: true };
const since = (start) => (performance.now() - start) / 1e3;

async function prefill(seed) {
  const [slot] = slots;
  await slot.clearHistory();
  const start = performance.now();
  const stream = slot.evaluate([...prompt(length, vocabulary, seed)], greedy);
  const { value } = await stream.next();
  const seconds = since(start);
  await stream.return();
  return { seconds, tokens: length, ids: [value] };
}

/** One step of all streams at a time, so that every batch is full. */
async function decode(seed) {
  const streams = [];
  for (const [i, slot] of slots.entries()) {
    await slot.clearHistory();
    streams.push(slot.evaluate([...prompt(length, vocabulary, seed * sequences + i)], greedy));
  }
  const step = async () => (await Promise.all(streams.map((stream) => stream.next())))[0].value;
  const ids = [await step()];
  const start = performance.now();
  for (let i = 0; i < count; i++) ids.push(await step());
  const seconds = since(start);
  await Promise.all(streams.map((stream) => stream.return()));
  return { seconds, tokens: sequences * count, ids };
}

async function lastLogits() {
  const ids = [...prompt(length, vocabulary, 0)];
  const input = ids.map((id, i) => (i === ids.length - 1 ? [id, { generateNext: { logits: true } }] : id));
  const answers = await slots[0].controlledEvaluate(input);
  const row = new Array(vocabulary).fill(0);
  for (const [token, logit] of answers.at(-1).next.logits) row[token] = logit;
  return row;
}

await answer(
  { name: `node-llama-cpp ${version}`, threads, logits: await lastLogits() },
  measure === "prefill" ? prefill : decode,
);

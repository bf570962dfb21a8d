/**
 * How the cost of a RED training step grows: tokens/s over the length of sequences, their number, and the model's width.
 *
 *     node bench/scaling.mjs [--dtype float32|bfloat16] [--steps 7] [--filter TEXT] [--out FILE.json]
 *
 * Six layers, heads of 48, a vocabulary of 32,000, all positions supervised, all layers edited. Each point is compared with
 * the prediction from the anchor (4 sequences of 512 tokens, width 288) and operation counts: the anchor's operations per
 * second over the point's operations per token. Operations: forward and the input gradients that RED needs; for attention
 * only the pairs that the causal mask allows.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "./js/folder.mjs";
import { describeRun, machineLine } from "./js/machine.mjs";
import { rubricate } from "./js/package.mjs";
import { median } from "./js/pairs.mjs";
import { writeRandomModel } from "./js/random_model.mjs";
import { shapes } from "./js/shapes.mjs";

const { LanguageModel, RedAdapter, Trainer } = rubricate;
const headSize = 48;
const anchor = { width: 288, batch: 4, length: 512 };
const points = [
  anchor,
  ...[128, 256, 1024, 2048, 4096].map((length) => ({ ...anchor, batch: Math.max(1, 2048 / length), length })),
  ...[1, 2, 8, 16, 32].map((batch) => ({ ...anchor, batch })),
  ...[128, 1024, 4096].map((length) => ({ ...anchor, batch: 1, length })),
  ...[96, 192, 384, 576, 768].map((width) => ({ ...anchor, width })),
];
const nameOf = ({ width, batch, length }) => `width ${width}, ${batch} x ${length}`;

const configOf = (width) => ({
  ...shapes["15m"],
  hidden_size: width,
  intermediate_size: (width * 8) / 3,
  num_attention_heads: width / headSize,
  num_key_value_heads: width / headSize,
  max_position_embeddings: 4096,
  tie_word_embeddings: false,
});

/** @returns {number} operations of a step per token */
function operations({ width, length }) {
  const { num_hidden_layers: layers, vocab_size: vocabulary, intermediate_size: inner } = configOf(width);
  const block = 2 * (4 * width * width + 3 * width * inner);
  const attention = 4 * width * ((length + 1) / 2);
  const head = 2 * 2 * width * vocabulary * ((length - 1) / length);
  return layers * (block + attention) + (layers - 1) * (block + 2.5 * attention) + head;
}

async function measure(model, { batch, length }, steps) {
  const adapter = RedAdapter.create(model);
  const example = (i) => ({
    tokenIds: Int32Array.from({ length }, (_, j) => (7919 * j + 131 * i) % model.vocabularySize),
    supervised: new Uint8Array(length).fill(1, 1),
    line: i + 1,
  });
  const train = Array.from({ length: batch }, (_, i) => example(i));
  const options = { batchSize: batch, maxSteps: steps + 2, shuffle: false, schedule: "constant", recompute: false };
  const run = new Trainer({ model, adapter, train, ...options }).run();
  const seconds = [];
  let last = performance.now();
  for await (const event of run) {
    if (event.type !== "step") continue;
    const at = performance.now();
    seconds.push((at - last) / 1e3);
    last = at;
  }
  adapter.dispose();
  return (batch * length) / median(seconds.slice(2));
}

const { values } = parseArgs({
  options: {
    dtype: { type: "string", default: "float32" },
    steps: { type: "string", default: "7" },
    filter: { type: "string", default: "" },
    out: { type: "string" },
  },
});
const head = { ...describeRun(), dtype: values.dtype };
console.log(machineLine(head));
console.log(`${values.dtype.padEnd(28)} tokens/s  predicted  ratio`);
const results = [];
await withTemporaryFolder(async (folder) => {
  for (const width of new Set(points.map((point) => point.width))) {
    const chosen = points.filter(
      (point) => point.width === width && (point === anchor || nameOf(point).includes(values.filter)),
    );
    if (chosen.length === 0) continue;
    const path = join(folder, String(width));
    writeRandomModel(path, configOf(width), { dtype: values.dtype });
    const model = await LanguageModel.fromPretrained(path);
    for (const point of chosen) {
      const tokensPerSecond = await measure(model, point, Number(values.steps));
      const base = point === anchor ? { tokensPerSecond } : results[0];
      const predicted = (base.tokensPerSecond * operations(anchor)) / operations(point);
      results.push({ ...point, name: nameOf(point), tokensPerSecond, predicted, ratio: tokensPerSecond / predicted });
      const figures = `${tokensPerSecond.toFixed(0).padStart(8)} ${predicted.toFixed(0).padStart(10)}`;
      console.log(`${nameOf(point).padEnd(28)} ${figures} ${(tokensPerSecond / predicted).toFixed(2).padStart(6)}`);
    }
    model.dispose();
  }
});
if (values.out !== undefined) {
  mkdirSync(dirname(resolve(values.out)), { recursive: true });
  writeFileSync(values.out, `${JSON.stringify({ ...head, points: results }, null, 2)}\n`);
}

/**
 * Writes the micro-batches of the first epoch of `rubricate train`, in order, for train_red.py.
 *
 *     node export_batches.mjs --model FOLDER --data rows.jsonl --out batches.jsonl [--batch-size 8] [--seed 42] [--in-order]
 *
 * One line per micro-batch: {"micro": [{"tokenIds", "sequenceStarts", "targets", "supervisedTokens"}]}. --in-order: not shuffled,
 * for evaluation.
 */

import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { parseArgs } from "node:util";
import { built, rubricate } from "../js/package.mjs";

const { collate } = built("data/batches.js");
const option = { type: "string" };
const { values } = parseArgs({
  options: {
    ...Object.fromEntries(["model", "data", "out", "batch-size", "seed"].map((name) => [name, option])),
    "in-order": { type: "boolean", default: false },
  },
});
if (!values.model || !values.data || !values.out) {
  console.error("usage: node export_batches.mjs --model FOLDER --data ROWS.jsonl --out BATCHES.jsonl [--batch-size 8]");
  process.exit(2);
}
const { Dataset, LanguageModel } = rubricate;
const model = await LanguageModel.fromPretrained(values.model, { device: "cpu" });
const data = await Dataset.fromJsonl(values.data, { tokenizer: model.tokenizer, maxLength: model.contextLength });
const plan = await data.plan({
  batchSize: Number(values["batch-size"] ?? 8),
  shuffle: !values["in-order"],
  seed: Number(values.seed ?? 42),
  epoch: 0,
  groupByLength: false,
});
const out = createWriteStream(values.out);
for (let at = 0; at < plan.length; at++) {
  const { tokenIds, sequenceStarts, targets } = collate(await data.examples(plan.batch(at)));
  const supervisedTokens = targets.filter((target) => target >= 0).length;
  const lists = [tokenIds, sequenceStarts, targets].map((values) => Array.from(values));
  const micro = [{ tokenIds: lists[0], sequenceStarts: lists[1], targets: lists[2], supervisedTokens }];
  if (!out.write(`${JSON.stringify({ micro })}\n`)) await once(out, "drain");
}
out.end();
await once(out, "finish");
console.log(`${plan.length} micro-batches`);
await data.dispose();
model.dispose();

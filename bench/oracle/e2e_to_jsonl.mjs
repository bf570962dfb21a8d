/**
 * Converts the E2E data set's zip (trainset.csv, devset.csv: meaning representation and reference text) into
 * prompt/completion JSONL. Needs `unzip`.
 *
 *   node bench/oracle/e2e_to_jsonl.mjs e2e-dataset.zip OUTPUT_FOLDER
 *
 * Writes OUTPUT_FOLDER/train.jsonl and dev.jsonl; a row is {"prompt": "name[...], ... ->", "completion": " text"}.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { e2eRows } from "../js/e2e.mjs";

const [zip, folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error("usage: node e2e_to_jsonl.mjs e2e-dataset.zip OUTPUT_FOLDER");
  process.exit(2);
}
mkdirSync(folder, { recursive: true });
for (const [source, target] of [
  ["trainset.csv", "train.jsonl"],
  ["devset.csv", "dev.jsonl"],
]) {
  const rows = e2eRows(zip, source);
  writeFileSync(join(folder, target), `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`);
  console.log(`${target}: ${rows.length} rows`);
}

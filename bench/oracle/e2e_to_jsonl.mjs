/**
 * Converts the E2E data set's zip (trainset.csv, devset.csv: meaning representation and reference text) into
 * prompt/completion JSONL. Needs `unzip`.
 *
 *   node bench/oracle/e2e_to_jsonl.mjs e2e-dataset.zip OUTPUT_FOLDER
 *
 * Writes OUTPUT_FOLDER/train.jsonl and dev.jsonl; a row is {"prompt": "name[...], ... ->", "completion": " text"}.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Rows of fields of a CSV text (RFC 4180: quoted fields may hold commas, line ends and doubled quotes). */
function parseCsv(text) {
  const rows = [];
  let fields = [];
  const field = /("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)/gy;
  while (field.lastIndex < text.length) {
    const at = field.lastIndex;
    const match = field.exec(text);
    if (match === null) throw new Error(`malformed CSV at character ${at}`);
    const [, value, end] = match;
    fields.push(value.startsWith('"') ? value.slice(1, -1).replaceAll('""', '"') : value);
    if (end !== ",") {
      rows.push(fields);
      fields = [];
    }
  }
  return rows;
}

function convert(zip, name) {
  const csv = execFileSync("unzip", ["-p", zip, `*/${name}`], { maxBuffer: 1 << 28 }).toString("utf8");
  const [header, ...rows] = parseCsv(csv.replace(/^\uFEFF/, ""));
  if (header?.join() !== "mr,ref") throw new Error(`${name}: expected the columns mr,ref but received ${header}`);
  return rows.map((row, i) => {
    if (row.length !== 2) throw new Error(`${name}: row ${i + 2} has ${row.length} fields`);
    return { prompt: `${row[0]} ->`, completion: ` ${row[1]}` };
  });
}

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
  const rows = convert(zip, source);
  writeFileSync(join(folder, target), `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`);
  console.log(`${target}: ${rows.length} rows`);
}

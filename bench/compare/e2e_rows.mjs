/**
 * Rows of E2E in the two-part form of the paper's GPT-2 experiments: a meaning representation with an end token, and a reference.
 *
 *     node bench/compare/e2e_rows.mjs --zip e2e-dataset.zip --base DIR --out DIR [--train 3000] [--dev 100] [--test 100]
 *
 * Writes train.jsonl, dev.jsonl and test.jsonl. The end token is a special token, so that no token goes over the joint and both parts
 * have the ids that they have alone. The reference implementation cuts the first part to 64 tokens and the second, with its end
 * token, to 100; here rows of train and dev that are longer are left out, and counted. Inputs of the test are whole, with all their
 * references. Needs `unzip`.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { encode, loadTokenizer, readJson } from "../embedded/tokens.mjs";
import { e2eRows } from "../js/e2e.mjs";

export const limits = { prompt: 64, completion: 100 };

/** Every n-th item, so that they are of the whole list. */
function spread(items, count) {
  const taken = Math.min(count, items.length);
  return Array.from({ length: taken }, (_, i) => items[Math.floor((i * items.length) / taken)]);
}

/** @returns {{prompt: string, completion: string}[]} `prompt` ends with the end token; training adds one to `completion` */
function twoPartRows(zip, name, end) {
  return e2eRows(zip, name).map(({ prompt, completion }) => ({
    prompt: `${prompt.replace(/ ->$/, "")}${end}`,
    completion: completion.trim(),
  }));
}

/**
 * @param {{zip: string, base: string, out: string, train: number, dev: number, test: number}} options numbers of rows, of inputs
 *   for test
 * @returns for each part: rows, and rows left out, or inputs over the limit for test
 */
export function writeE2eRows({ zip, base, out, train, dev, test }) {
  const tokenizer = loadTokenizer(base);
  const end = readJson(join(base, "tokenizer_config.json")).eos_token;
  const tokensOf = (text) => encode(tokenizer, text).length;
  const fits = ({ prompt, completion }) =>
    tokensOf(prompt) <= limits.prompt && tokensOf(completion) + 1 <= limits.completion;
  mkdirSync(out, { recursive: true });
  const write = (name, rows) => writeFileSync(join(out, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const counts = {};
  for (const [name, source, wanted] of [
    ["train", "trainset.csv", train],
    ["dev", "devset.csv", dev],
  ]) {
    const some = spread(twoPartRows(zip, source, end), wanted);
    const rows = some.filter(fits);
    write(`${name}.jsonl`, rows);
    counts[name] = { rows: rows.length, leftOut: some.length - rows.length };
  }
  const testRows = twoPartRows(zip, "testset_w_refs.csv", end);
  const inputs = spread([...new Set(testRows.map(({ prompt }) => prompt))], test);
  const chosen = new Set(inputs);
  const rows = testRows.filter(({ prompt }) => chosen.has(prompt));
  write("test.jsonl", rows);
  const longInputs = inputs.filter((prompt) => tokensOf(prompt) > limits.prompt).length;
  counts.test = { inputs: inputs.length, references: rows.length, longInputs };
  return counts;
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({
    options: {
      zip: { type: "string" },
      base: { type: "string" },
      out: { type: "string" },
      train: { type: "string", default: "3000" },
      dev: { type: "string", default: "100" },
      test: { type: "string", default: "100" },
    },
  });
  const { zip, base, out } = values;
  if (!zip || !base || !out) {
    console.error("Expected --zip, --base and --out; the head of this file describes them");
    process.exit(2);
  }
  const [train, dev, test] = [values.train, values.dev, values.test].map(Number);
  console.log(JSON.stringify(writeE2eRows({ zip, base, out, train, dev, test })));
}

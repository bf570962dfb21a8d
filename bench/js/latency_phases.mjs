/** The work during which latency.mjs measures: phases of the package at work. */
import { createWriteStream } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { writeLargeTokenizer } from "./large_tokenizer.mjs";
import { rubricate } from "./package.mjs";

const { Dataset, evaluate, LanguageModel, RedAdapter, Tokenizer, Trainer } = rubricate;

const words =
  "the of and to in a that is for it was on with as be by at this from have an they which one had not but what all were when we there can more if no man out other so what up time go about than into could state only new year some take come these know see use get like then first any work now may such give over think most even find day also after way many must look before great back through long where much should well people down own just because good each those feel seem how high too place little world very still nation hand old life tell write become here show house both between need mean call develop under last right move thing general school never same another begin while number part turn real leave might want point form off child few small since against ask late home interest large person end open public follow during present without again hold govern around possible head consider word program problem however lead system set order eye plan run keep face fact group play stand increase early course change help line".split(
    " ",
  );

/** Prompt/completion rows of about 400 bytes, `bytes` bytes in all. */
export async function writeRows(path, bytes) {
  let state = 1;
  const some = (count) => {
    const chosen = [];
    for (let i = 0; i < count; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      chosen.push(words[(state >>> 8) % words.length]);
    }
    return chosen.join(" ");
  };
  function* lines() {
    for (let written = 0; written < bytes; ) {
      const line = `${JSON.stringify({ prompt: some(20), completion: ` ${some(50)}` })}\n`;
      written += line.length;
      yield line;
    }
  }
  await pipeline(Readable.from(lines()), createWriteStream(path));
}

/** Sequences of equal length; all tokens except the first are targets. */
function examples(count, length, vocabulary) {
  return Array.from({ length: count }, (_, line) => ({
    tokenIds: Int32Array.from({ length }, (_, i) => (7 * i + 13 * line + 3) % vocabulary),
    supervised: new Uint8Array(length).fill(1, 1),
    line: line + 1,
  }));
}

async function drain(generator) {
  for await (const _ of generator);
}

const sequences = 4;
const tokens = 64;
const steps = 2;

function trainOn(model, adapter, more = {}) {
  const train = examples(sequences * steps, tokens, model.vocabularySize);
  const options = { model, adapter, train, batchSize: sequences, maxSteps: steps, schedule: "constant", ...more };
  return drain(new Trainer(options).run());
}

/**
 * @param {{models: [string, string], rows: string, folder: string}} places two model folders, a JSONL file, a folder to
 *   write in
 * @returns {Promise<{phases: {name: string, work: () => Promise<void>}[], end: () => Promise<void>}>} the first phase only waits, with the
 * models open and all threads started
 */
export async function makePhases({ models, rows, folder }, idleMs) {
  const [first, second] = await Promise.all(models.map((path) => LanguageModel.fromPretrained(path)));
  const [adapter, other] = [RedAdapter.create(first), RedAdapter.create(second)];
  const held = examples(sequences, tokens, first.vocabularySize);
  const prompt = held[0].tokenIds;
  await first.logits(prompt); // starts the pool's threads
  const outputDir = join(folder, "checkpoints");
  const vocabulary = join(folder, "vocabulary");
  await mkdir(vocabulary);
  writeLargeTokenizer(join(vocabulary, "tokenizer.json"), 128_256);
  const phases = [
    { name: "idle threads", work: () => new Promise((resolve) => setTimeout(resolve, idleMs)) },
    {
      name: "loading",
      async work() {
        const model = await LanguageModel.fromPretrained(models[0]);
        await model.fingerprint();
        model.dispose();
      },
    },
    { name: "loading a vocabulary as large as LLaMA 3's", work: () => Tokenizer.fromPretrained(vocabulary) },
    {
      name: "indexing and tokenising",
      async work() {
        const dataset = await Dataset.fromJsonl(rows, { tokenizer: first.requireTokenizer(), maxLength: 512 });
        await dataset.dispose();
      },
    },
    { name: "training", work: () => trainOn(first, adapter) },
    { name: "evaluating", work: () => evaluate(first, held, { adapter, batchSize: sequences }) },
    {
      name: "training with a checkpoint at every step",
      async work() {
        await trainOn(first, adapter, { outputDir, checkpointEverySteps: 1 });
        await rm(outputDir, { recursive: true });
      },
    },
    { name: "generating", work: () => drain(first.generate({ tokenIds: prompt, adapter, maxNewTokens: 32 })) },
    {
      name: "training two models at once",
      work: () => Promise.all([trainOn(first, adapter), trainOn(second, other)]),
    },
    {
      name: "training all weights with a checkpoint",
      async work() {
        await trainOn(second, undefined, { method: "full", outputDir, maxSteps: 1, checkpointEverySteps: 1 });
        await rm(outputDir, { recursive: true });
      },
    },
  ];
  const end = async () => {
    for (const one of [adapter, other, first, second]) one.dispose();
  };
  return { phases, end };
}

/**
 * The baseline for the embedded model: Kneser-Ney 5-grams over its own tokens and over bytes, in bits per byte of the
 * held-out addresses.
 *
 *     node bench/embedded/ngram_baseline.mjs CORPUS_FOLDER MODEL_FOLDER
 */
import { join } from "node:path";
import { utf8Bytes } from "./make_corpus.mjs";
import { KneserNey } from "./ngram.mjs";
import { encode, loadTokenizer, readJson } from "./tokens.mjs";

const order = 5;

function evaluate(name, vocabulary, bits, symbolsOf, train, heldOut) {
  const model = new KneserNey(order, vocabulary, bits);
  for (const { text } of train) model.add(symbolsOf(text));
  model.estimate();
  const probe = symbolsOf(heldOut[0].text).slice(0, 50);
  for (const length of [0, 1, 3, 7, 50]) {
    const mass = model.mass(probe.slice(0, length));
    if (Math.abs(mass - 1) > 1e-9) throw new Error(`the probabilities of the ${name} model sum to ${mass}, not to 1`);
  }
  const total = heldOut.reduce((sum, { text }) => sum + model.bits(symbolsOf(text)), 0);
  return { model: `${order}-gram over ${name}`, nGrams: model.nodes - 1, bitsPerByte: total / utf8Bytes(heldOut) };
}

const [corpus, folder] = process.argv.slice(2);
if (!folder) {
  console.error("usage: node bench/embedded/ngram_baseline.mjs CORPUS_FOLDER MODEL_FOLDER");
  process.exit(2);
}
const train = readJson(join(corpus, "train.json"));
const heldOut = readJson(join(corpus, "heldout.json"));
const tokenizer = loadTokenizer(folder);
const vocabulary = Object.keys(readJson(join(folder, "tokenizer.json")).model.vocab).length;
const results = [
  evaluate("tokens", vocabulary, 25, (text) => encode(tokenizer, text), train, heldOut),
  evaluate("bytes", 256, 22, (text) => [...Buffer.from(text)], train, heldOut),
];
const best = Math.min(...results.map(({ bitsPerByte }) => bitsPerByte));
console.log(JSON.stringify({ results, best, bar: 0.9 * best }, null, 2));

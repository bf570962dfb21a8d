/**
 * Converts the corpus into the trainer's input.
 *
 *     node bench/embedded/make_sequences.mjs CORPUS_FOLDER MODEL_FOLDER OUT_FOLDER
 *
 * OUT_FOLDER/train.i32: int32, little-endian, [steps, batchTokens] in the order of training (plan.json); a step's row is
 * batchTokens / sequenceLength sequences, each beginning with <s>; all tokens except the first are targets.
 * OUT_FOLDER/heldout.json: {bytes, tokens, sequences: [{tokenIds, firstTarget}]}: overlapping windows over the held-out
 * addresses; tokens from firstTarget on are scored, so that every token is scored once with context before it. Bits per
 * byte is the sum of their losses in nats / (ln 2 * bytes).
 *
 * An epoch concatenates the addresses in shuffled order with </s> between them, splits the text at a new offset into
 * sequences and shuffles those. One in `dialogueEvery` sequences instead has turns of the chat template, made of halves of
 * sentences and of neighbouring sentences, so that the model learns the template's tokens.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { utf8Bytes } from "./make_corpus.mjs";
import { Random } from "./random.mjs";
import { encode, loadTokenizer, readJson, specialId } from "./tokens.mjs";

const heldOutWindow = 512;
const heldOutStride = 256;

/** @returns {string[]} sentences of 40 to 400 characters */
const sentencesOf = (text) =>
  text.split(/(?<=[a-z0-9)"][.!?]"?) (?=["A-Z])/).filter((s) => s.length >= 40 && s.length <= 400);

/** Endless sequences of running text. */
class TextSource {
  #documents;
  #random;
  #special;
  #pending = [];

  constructor(documents, random, special) {
    this.#documents = documents;
    this.#random = random;
    this.#special = special;
  }

  /** @returns {number[]} <s> and length - 1 tokens of the corpus */
  next(length) {
    if (this.#pending.length === 0 || this.#pending[0].length !== length) this.#fill(length);
    return this.#pending.pop();
  }

  #fill(length) {
    const line = [];
    for (const document of this.#random.shuffle([...this.#documents])) line.push(...document, this.#special.eos);
    this.#pending = [];
    const step = length - 1;
    for (let at = this.#random.below(step); at + step <= line.length; at += step)
      this.#pending.push([this.#special.bos, ...line.slice(at, at + step)]);
    this.#random.shuffle(this.#pending);
  }
}

/** Endless sequences of one-turn dialogues. */
class DialogueSource {
  #sentences;
  #random;
  #special;
  #encode;

  constructor(documents, random, special, encodeText) {
    this.#sentences = documents.map(sentencesOf).filter((sentences) => sentences.length > 1);
    this.#random = random;
    this.#special = special;
    this.#encode = encodeText;
  }

  #pair() {
    const sentences = this.#sentences[this.#random.below(this.#sentences.length)];
    const i = this.#random.below(sentences.length - 1);
    if (this.#random.uniform() < 0.5) return [sentences[i], sentences[i + 1]];
    const words = sentences[i].split(" ");
    const cut = Math.ceil(words.length / 2);
    return [words.slice(0, cut).join(" "), words.slice(cut).join(" ")];
  }

  /** @returns {number[]} whole dialogues, each with its <s>, the last one truncated at length */
  next(length) {
    const { bos, eos, user, assistant } = this.#special;
    const sequence = [];
    while (sequence.length < length) {
      const [prompt, answer] = this.#pair().map(this.#encode);
      sequence.push(bos, user, ...prompt, eos, assistant, ...answer, eos);
    }
    return sequence.slice(0, length);
  }
}

/** @returns {Int32Array} [steps, batchTokens] */
function trainingTokens(plan, texts, tokenizer, special) {
  const random = new Random(plan.seed);
  const encodeText = (text) => encode(tokenizer, text);
  const running = new TextSource(texts.map(encodeText), random, special);
  const dialogues = new DialogueSource(texts, random, special, encodeText);
  const steps = plan.phases.reduce((sum, phase) => sum + phase.steps, 0);
  const tokens = new Int32Array(steps * plan.batchTokens);
  let at = 0;
  let sequence = 0;
  for (const phase of plan.phases) {
    if (plan.batchTokens % phase.sequenceLength !== 0) throw new Error("sequenceLength must divide batchTokens");
    for (const end = at + phase.steps * plan.batchTokens; at < end; at += phase.sequenceLength, sequence++) {
      const source = sequence % plan.dialogueEvery === plan.dialogueEvery - 1 ? dialogues : running;
      tokens.set(source.next(phase.sequenceLength), at);
    }
  }
  return tokens;
}

/** @returns {{tokenIds: number[], firstTarget: number}[]} windows that score every token of the document once */
export function heldOutWindows(document, bos) {
  const windows = [];
  let scored = 0;
  while (scored < document.length) {
    const end = Math.min(document.length, scored === 0 ? heldOutWindow - 1 : scored + heldOutStride);
    const start = Math.max(0, end - (heldOutWindow - 1));
    windows.push({ tokenIds: [bos, ...document.slice(start, end)], firstTarget: scored - start + 1 });
    scored = end;
  }
  return windows;
}

if (process.argv[1] === import.meta.filename) {
  const [corpus, model, out] = process.argv.slice(2);
  if (!out) {
    console.error("usage: node bench/embedded/make_sequences.mjs CORPUS_FOLDER MODEL_FOLDER OUT_FOLDER");
    process.exit(2);
  }
  const tokenizer = loadTokenizer(model);
  const names = { bos: "<s>", eos: "</s>", user: "<|user|>", assistant: "<|assistant|>" };
  const special = Object.fromEntries(Object.entries(names).map(([k, token]) => [k, specialId(tokenizer, token)]));
  const plan = readJson(join(import.meta.dirname, "plan.json"));
  const train = readJson(join(corpus, "train.json"));
  const heldOut = readJson(join(corpus, "heldout.json"));
  mkdirSync(out, { recursive: true });
  const tokens = trainingTokens(
    plan,
    train.map(({ text }) => text),
    tokenizer,
    special,
  );
  writeFileSync(join(out, "train.i32"), tokens);
  const documents = heldOut.map(({ text }) => encode(tokenizer, text));
  const sequences = documents.flatMap((document) => heldOutWindows(document, special.bos));
  const heldOutTokens = documents.reduce((sum, { length }) => sum + length, 0);
  const evaluation = { bytes: utf8Bytes(heldOut), tokens: heldOutTokens, sequences };
  writeFileSync(join(out, "heldout.json"), JSON.stringify(evaluation));
  console.log(`train: ${tokens.length} tokens; held out: ${heldOutTokens} tokens, ${evaluation.bytes} bytes`);
}

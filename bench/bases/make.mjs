/**
 * Makes a small base from public text: a byte-level BPE, random weights, and training of all weights by this package.
 *
 *     node bench/bases/make.mjs llama|gpt2 --out DIR --e2e e2e-dataset.zip --stories tinystories.txt [--log FILE]
 *
 * DIR gets start/ (tokenizer and initial weights), the texts, and trained/ (the base). A run that was stopped goes on from its last
 * checkpoint. FILE gets the settings, the losses, the held-out loss beside that of a unigram model, and the SHA-256 of the weights.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { encode, loadTokenizer, readJson } from "../embedded/tokens.mjs";
import { describeRun } from "../js/machine.mjs";
import { root } from "../js/package.mjs";
import { familyNames, writeInitialModel } from "./initial.mjs";
import { baseTexts } from "./texts.mjs";
import { unigramLoss } from "./unigram.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: "string" },
    e2e: { type: "string" },
    stories: { type: "string" },
    log: { type: "string" },
    steps: { type: "string" },
    threads: { type: "string", default: "1" },
  },
});
const [family] = positionals;
if (!familyNames.includes(family) || !values.out || !values.e2e || !values.stories) {
  console.error(
    `Expected ${familyNames.join(" or ")}, --out, --e2e and --stories; the head of this file describes them`,
  );
  process.exit(2);
}
const plan = readJson(new URL("plan.json", import.meta.url));
const steps = Number(values.steps ?? plan.steps);
const path = (...names) => join(values.out, ...names);
const jsonl = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

/** The tokenizer of the training texts and meaning representations, without a chat template: rows are prompts and texts. */
function makeTokenizer(texts) {
  const rows = [...texts.train, ...texts.prompts].map((text) => ({ text }));
  writeFileSync(path("train.json"), JSON.stringify(rows));
  const script = fileURLToPath(new URL("../embedded/train_tokenizer.mjs", import.meta.url));
  execFileSync(process.execPath, [script, values.out, path("start"), String(plan.vocabulary)], { stdio: "inherit" });
  const { chat_template: _, ...config } = readJson(path("start", "tokenizer_config.json"));
  config.model_max_length = plan.context;
  writeFileSync(path("start", "tokenizer_config.json"), `${JSON.stringify(config, null, 2)}\n`);
}

function train() {
  const words = [
    join(root, "dist", "cli", "main.js"),
    "train",
    `--model=${path("start")}`,
    "--method=full",
    `--data=${path("train.jsonl")}`,
    `--eval=${path("heldout.jsonl")}`,
    "--format=text",
    "--dtype=float32",
    `--threads=${values.threads}`,
    `--packing=${plan.packing}`,
    `--max-steps=${steps}`,
    "--no-eval-every-epoch",
    `--eval-every-steps=${plan.evalEverySteps}`,
    `--learning-rate=${plan.learningRate}`,
    "--schedule=cosine",
    `--warmup-steps=${plan.warmupSteps}`,
    `--weight-decay=${plan.weightDecay}`,
    `--seed=${plan.seed}`,
    `--out=${path("trained")}`,
    "--checkpoint-every-minutes=2",
    "--resume=auto",
  ];
  const { status } = spawnSync(process.execPath, words, { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

/** The log that is kept: the losses of every twentieth step, and each evaluation. */
function curve() {
  const rows = readFileSync(path("trained", "log.jsonl"), "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  return rows
    .filter(({ type, step }) => type === "eval" || (type === "step" && (step <= 10 || step % 20 === 0)))
    .map(({ type, step, loss, learningRate }) => ({ type, step, loss, ...(type === "step" ? { learningRate } : {}) }));
}

mkdirSync(values.out, { recursive: true });
const texts = baseTexts(values);
if (!existsSync(path("start", "model.safetensors"))) {
  makeTokenizer(texts);
  writeFileSync(path("train.jsonl"), jsonl(texts.train.map((text) => ({ text }))));
  writeFileSync(path("heldout.jsonl"), jsonl(texts.heldOut.slice(0, plan.heldOutRows).map((text) => ({ text }))));
  writeInitialModel(family, plan.vocabulary, plan.seed, path("start"));
}
const head = describeRun();
const started = performance.now();
train();
const tokenizer = loadTokenizer(path("start"));
// As training has them: each text ends with </s>, which is learned, and <s>, which is not, takes a place of the context.
const idsOf = (some) => some.map((text) => [...encode(tokenizer, text), 1].slice(0, plan.context - 1));
const heldOutTexts = readFileSync(path("heldout.jsonl"), "utf8")
  .split("\n")
  .filter(Boolean)
  .map((line) => JSON.parse(line).text);
const unigram = unigramLoss(idsOf(texts.train), idsOf(heldOutTexts), plan.vocabulary);
const losses = curve();
const last = losses.filter(({ type }) => type === "eval").reduce((best, row) => (row.loss < best.loss ? row : best));
const weights = createHash("sha256")
  .update(readFileSync(path("trained", "model.safetensors")))
  .digest("hex");
const result = {
  type: "result",
  family,
  heldOutLoss: last.loss,
  unigramLoss: unigram.loss,
  margin: unigram.loss - last.loss,
  heldOutTokens: unigram.tokens,
  seconds: Math.round((performance.now() - started) / 1e3),
  sha256: weights,
};
console.log(JSON.stringify(result));
if (values.log)
  writeFileSync(
    values.log,
    jsonl([{ type: "start", family, ...plan, steps, threads: Number(values.threads), ...head }, ...losses, result]),
  );

/**
 * Trains the embedded model: full fine-tuning of the initial masters by this package's own core.
 *
 *     node bench/embedded/train.mjs SEQUENCES_FOLDER MASTER_FOLDER LOG_FILE [--only STEPS]
 *
 * SEQUENCES_FOLDER: from make_sequences.mjs. MASTER_FOLDER: from init_model.mjs; its model.safetensors (fp32) is replaced
 * every 500 steps and at the end. LOG_FILE gets one JSON line for each of the first hundred steps, then for every twentieth,
 * and one for each held-out evaluation.
 * --only STEPS stops early and writes no model, to check that the log's first losses are reproduced.
 */
import { appendFileSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LanguageModel } from "../../dist/model/model.js";
import { native } from "../../dist/native.js";
import { writeSafetensors } from "./safetensors.mjs";
import { readJson } from "./tokens.mjs";

const [sequences, masters, logFile] = process.argv.slice(2);
const onlyAt = process.argv.indexOf("--only");
const only = onlyAt > 0 ? Number(process.argv[onlyAt + 1]) : 0;
if (!logFile) {
  console.error("usage: node bench/embedded/train.mjs SEQUENCES_FOLDER MASTER_FOLDER LOG_FILE [--only STEPS]");
  process.exit(2);
}
const plan = readJson(new URL("./plan.json", import.meta.url));
const totalSteps = plan.phases.reduce((sum, phase) => sum + phase.steps, 0);
const file = readFileSync(join(sequences, "train.i32"));
const tokens = new Int32Array(file.buffer, file.byteOffset, file.length / 4);
if (tokens.length !== totalSteps * plan.batchTokens)
  throw new Error("train.i32 does not match plan.json: run make_sequences.mjs again");

const log = (row) => {
  const line = JSON.stringify(row);
  if (logFile !== "-") appendFileSync(logFile, `${line}\n`);
  if (logFile === "-" || row.step % 50 === 0) console.log(line);
};

/** Warm-up from 0, then half a cosine down to the minimum. @returns {number} rate of step (from 1) */
function learningRate(step) {
  if (step <= plan.warmupSteps) return (plan.learningRate * step) / plan.warmupSteps;
  const progress = (step - plan.warmupSteps) / (totalSteps - plan.warmupSteps);
  const half = (1 + Math.cos(Math.PI * progress)) / 2;
  return plan.minimumLearningRate + (plan.learningRate - plan.minimumLearningRate) * half;
}

/** @returns {number} length of a sequence in step (from 1) */
function sequenceLength(step) {
  let last = 0;
  for (const phase of plan.phases) {
    last += phase.steps;
    if (step <= last) return phase.sequenceLength;
  }
  throw new Error(`no step ${step}`);
}

function microBatch(step) {
  const tokenIds = tokens.slice((step - 1) * plan.batchTokens, step * plan.batchTokens);
  const length = sequenceLength(step);
  const starts = Int32Array.from({ length: plan.batchTokens / length + 1 }, (_, i) => i * length);
  const targets = tokenIds.map((_, i) => ((i + 1) % length === 0 ? -1 : tokenIds[i + 1]));
  return { tokenIds, sequenceStarts: starts, targets };
}

const heldOut = readJson(join(sequences, "heldout.json"));

/** @returns {Promise<number>} bits per byte of the held-out text */
async function bitsPerByte(model) {
  const batches = heldOut.sequences.map(({ tokenIds, firstTarget }) => ({
    tokenIds: Int32Array.from(tokenIds),
    sequenceStarts: Int32Array.of(0, tokenIds.length),
    targets: Int32Array.from(tokenIds, (_, i) =>
      i + 1 >= firstTarget && i + 1 < tokenIds.length ? tokenIds[i + 1] : -1,
    ),
  }));
  const sums = await model.native.evaluate(batches, []).promise;
  if (sums.supervisedTokens[0] !== heldOut.tokens) throw new Error("not every held-out token was scored once");
  return sums.nats[0] / (Math.LN2 * heldOut.bytes);
}

function save(parameters) {
  const tensors = parameters.names.map((name, i) => {
    const value = parameters.value(i);
    const stored = name === "lm_head.weight" ? name : `model.${name}`;
    return {
      name: stored,
      dtype: "F32",
      shape: [...parameters.shapes[i]],
      bytes: Buffer.from(value.buffer, value.byteOffset, value.byteLength),
    };
  });
  const path = join(masters, "model.safetensors");
  writeFileSync(`${path}.new`, writeSafetensors(tensors));
  renameSync(`${path}.new`, path);
}

const model = await LanguageModel.fromPretrained(masters, { dtype: "float32" });
const parameters = await model.native.makeTrainable().promise;
const optimizer = new (native().Optimizer)(parameters);
const [beta1, beta2] = plan.betas;
log({
  type: "start",
  parameters: model.parameterCount,
  steps: totalSteps,
  cpuPath: native().cpu().path,
  threads: native().cpu().threads,
});
const started = performance.now();
for (let step = 1; step <= (only || totalSteps); step++) {
  const options = {
    learningRate: learningRate(step),
    beta1,
    beta2,
    epsilon: plan.epsilon,
    weightDecay: plan.weightDecay,
    decayToZero: true,
    maxGradNorm: plan.clip,
  };
  const request = {
    tenants: [{ parameters, optimizer, options }],
    microBatches: [microBatch(step)],
    recompute: false,
    update: true,
  };
  const [result] = await model.native.trainStep(request).promise;
  if (step <= 100 || step % 20 === 0)
    log({ type: "step", step, loss: result.loss, learningRate: options.learningRate, gradNorm: result.gradNorm });
  if (!only && (step % 500 === 0 || step === totalSteps)) {
    save(parameters);
    if (step % 2000 === 0 || step === totalSteps) log({ type: "eval", step, bitsPerByte: await bitsPerByte(model) });
    const seconds = (performance.now() - started) / 1e3;
    console.log(`${step} steps, ${Math.round((step * plan.batchTokens) / seconds)} tokens/s, ${Math.round(seconds)} s`);
  }
}
log({ type: "end", step: only || totalSteps, seconds: Math.round((performance.now() - started) / 1e3) });
model.dispose();

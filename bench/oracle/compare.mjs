/**
 * Compares this package with PyTorch: logits and greedy ids (logits_and_greedy.py), gradients (gradients.py).
 *
 *     node compare.mjs --model FOLDER --ids ids.json [--adapter FOLDER] [--logits PREFIX] [--gradients PREFIX [--full]] [--dtype float32]
 *
 * ids.json: [[id, ...], ...], each next id is a target. Prints a line of JSON: the largest difference of a logit, relative to the largest
 * logit of its sequence; how many greedy ids were compared and how many differ; the largest relative error norm of a gradient, over the
 * adapter's vectors or with --full over the weights.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { built, native, rubricate } from "../js/package.mjs";

const { float32Values, readSafetensors } = built("files/safetensors.js");
const { runJob } = built("job.js");
const option = { type: "string" };
const { values } = parseArgs({
  options: {
    ...Object.fromEntries(["model", "ids", "adapter", "logits", "gradients", "dtype"].map((name) => [name, option])),
    full: { type: "boolean", default: false },
  },
});
if (!values.model || !values.ids) {
  console.error(
    "usage: node compare.mjs --model FOLDER --ids ids.json [--adapter FOLDER] [--logits P] [--gradients P]",
  );
  process.exit(2);
}
const { LanguageModel, RedAdapter } = rubricate;
const model = await LanguageModel.fromPretrained(values.model, { device: "cpu", dtype: values.dtype ?? "float32" });
const adapter = values.adapter && (await randomAdapter(values.adapter));
const sequences = JSON.parse(readFileSync(values.ids, "utf8"));
const result = {};

/** Reads make_adapter.py's output, which has no fingerprint of the base and so cannot be loaded as an adapter folder. */
async function randomAdapter(folder) {
  const { variant, sites, layers } = JSON.parse(readFileSync(`${folder}/adapter_config.json`, "utf8"));
  const made = RedAdapter.create(model, { variant, sites, layers });
  const tensors = await readSafetensors(`${folder}/adapter_model.safetensors`);
  made.setVectors(new Map([...tensors].map(([name, tensor]) => [name, float32Values(tensor, name)])));
  return made;
}

const largest = (numbers) => numbers.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

if (values.logits) {
  const wanted = await readSafetensors(`${values.logits}.safetensors`);
  const distances = [];
  for (const [i, ids] of sequences.entries()) {
    const theirs = float32Values(wanted.get(`logits.${i}`), `logits.${i}`);
    const ours = await model.logits(ids, { adapter });
    distances.push(largest(ours.map((value, at) => value - theirs[at])) / largest(theirs));
  }
  result.worstLogit = Math.max(...distances);

  const { greedy } = JSON.parse(readFileSync(`${values.logits}.json`, "utf8"));
  Object.defineProperty(model, "eosTokenIds", { value: [] }); // the reference goes on after such a token
  result.greedy = { compared: 0, different: 0 };
  for (const { prompt, ids } of greedy) {
    const { tokenIds } = await model.complete({ tokenIds: prompt, adapter, maxNewTokens: ids.length });
    result.greedy.compared += ids.length;
    result.greedy.different += ids.filter((id, at) => tokenIds[at] !== id).length;
  }
}

/** All sequences in one micro-batch; each position's target is the next id. */
function microBatch(slot) {
  const starts = [0];
  for (const ids of sequences) starts.push(starts.at(-1) + ids.length);
  return {
    tokenIds: Int32Array.from(sequences.flat()),
    sequenceStarts: Int32Array.from(starts),
    targets: Int32Array.from(sequences.flatMap((ids) => [...ids.slice(1), -1])),
    slots: new Int32Array(sequences.length).fill(slot),
  };
}

if (values.gradients) {
  const wanted = await readSafetensors(`${values.gradients}.safetensors`);
  const parameters = values.full ? await runJob(() => model.native.makeTrainable()) : adapter.native;
  const optimizer = new native.Optimizer(parameters);
  const still = { learningRate: 0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, decayToZero: false };
  const tenants = [{ parameters, optimizer, options: { ...still, maxGradNorm: 0 } }];
  const microBatches = [microBatch(values.full ? 0 : 1)];
  const [step] = await runJob(() => model.native.trainStep({ tenants, microBatches, recompute: false, update: false }));
  const gradients = values.full
    ? new Map(parameters.names.map((name, index) => [name, parameters.gradient(index)]))
    : adapter.gradients();
  const theirLoss = JSON.parse(readFileSync(`${values.gradients}.json`, "utf8")).loss;
  result.loss = { ours: step.loss, theirs: theirLoss };
  result.gradients = { compared: 0, worst: 0, of: "" };
  for (const [name, tensor] of wanted) {
    const theirs = float32Values(tensor, name);
    const ours = gradients.get(name);
    const norm = (of) => Math.sqrt(of.reduce((sum, value) => sum + value * value, 0));
    const error = norm(ours.map((value, at) => value - theirs[at])) / norm(theirs);
    result.gradients.compared++;
    if (error >= result.gradients.worst) Object.assign(result.gradients, { worst: error, of: name });
  }
  optimizer.dispose();
}
console.log(JSON.stringify(result));

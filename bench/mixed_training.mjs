/**
 * Training steps of many adapters against those of one adapter on the same sequences: what mixing costs.
 *
 *     node bench/mixed_training.mjs [--pairs 10] [--adapters 1,4,16,64] [--out FILE.json]
 *
 * 256 sequences of 32 tokens at 15M, in float32, split by the core into micro-batches of 4,096 tokens, go to one adapter, then to
 * N adapters, or the other way round. Prints the ratio of N adapters' tokens/s to one adapter's: the median over pairs with its
 * 95 % confidence interval. With 1, the same work twice: what the interval is without any difference. Weights are random.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "./js/folder.mjs";
import { describeRun, machineLine } from "./js/machine.mjs";
import { native, rubricate } from "./js/package.mjs";
import { median, medianInterval } from "./js/pairs.mjs";
import { writeRandomModel } from "./js/random_model.mjs";
import { shapes } from "./js/shapes.mjs";

const { LanguageModel, RedAdapter } = rubricate;
const { values } = parseArgs({
  options: {
    pairs: { type: "string", default: "10" },
    adapters: { type: "string", default: "1,4,16,64" },
    out: { type: "string" },
  },
});
const pairs = Number(values.pairs);
const [sequences, length, maxRows, vocabulary] = [256, 32, 4096, 32000];
const options = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  decayToZero: false,
  maxGradNorm: 1,
};

/** A step of so many adapters: each has as many of the sequences, one after another. */
function stepOf(model, count) {
  const adapters = Array.from({ length: count }, () => RedAdapter.create(model));
  const tenants = adapters.map((adapter) => {
    const parameters = adapter.native;
    return { parameters, optimizer: new native.Optimizer(parameters), options };
  });
  const tokenIds = Int32Array.from({ length: sequences * length }, (_, at) => 3 + ((7919 * at) % (vocabulary - 3)));
  const microBatch = {
    tokenIds,
    sequenceStarts: Int32Array.from({ length: sequences + 1 }, (_, at) => at * length),
    targets: tokenIds.map((_, at) => (at % length === length - 1 ? -1 : tokenIds[at + 1])),
    slots: Int32Array.from({ length: sequences }, (_, at) => 1 + Math.floor((at * count) / sequences)),
  };
  const request = { tenants, microBatches: [microBatch], maxRows, recompute: false, update: true };
  return async () => {
    const begun = performance.now();
    const outcomes = await model.native.trainStep(request).promise;
    const failed = outcomes.find(({ error }) => error);
    if (failed) throw failed.error;
    return performance.now() - begun;
  };
}

const head = describeRun();
console.log(machineLine(head));
const results = await withTemporaryFolder(async (temporary) => {
  const folder = join(temporary, "model");
  writeRandomModel(folder, shapes["15m"], { dtype: "float32" });
  const model = await LanguageModel.fromPretrained(folder, { device: "cpu" });
  const one = stepOf(model, 1);
  await one();
  const found = [];
  for (const adapters of values.adapters.split(",").map(Number)) {
    const many = stepOf(model, adapters);
    await many();
    const times = { one: [], many: [] };
    for (let pair = 0; pair < pairs; pair++) {
      for (const name of pair % 2 ? ["many", "one"] : ["one", "many"])
        times[name].push(await (name === "one" ? one : many)());
    }
    const ratios = times.one.map((time, at) => time / times.many[at]);
    const ratio = median(ratios);
    const interval = medianInterval(ratios);
    const stepMs = median(times.many);
    const tokensPerSecond = (sequences * length * 1000) / stepMs;
    found.push({ adapters, ratio, interval, stepMs, tokensPerSecond });
    const range = interval.map((value) => value.toFixed(3)).join(", ");
    console.log(
      `${String(adapters).padStart(3)} adapters: ${stepMs.toFixed(0)} ms a step, ${tokensPerSecond.toFixed(0)} tokens/s; ` +
        `of one adapter's ${ratio.toFixed(3)} [${range}]`,
    );
  }
  return found;
});
if (values.out)
  writeFileSync(values.out, `${JSON.stringify({ ...head, sequences, length, maxRows, pairs, results }, null, 2)}\n`);
process.exit(0);

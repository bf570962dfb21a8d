/** A process that makes runs of the table: it reads one as JSON a line, and answers with a line. */
import { createInterface } from "node:readline";
import { rubricate } from "../js/package.mjs";
import { methods } from "./cases.mjs";
import { examplesOf } from "./data.mjs";

const { LanguageModel, RedAdapter, Trainer } = rubricate;
const { folders, sources } = JSON.parse(process.argv[2]);
const examples = new Map();
const losses = new Map();

async function loaded({ name, dtype, data }) {
  const model = await LanguageModel.fromPretrained(folders[name], { dtype });
  const key = `${name} ${data}`;
  if (!examples.has(key)) examples.set(key, await examplesOf(data, model, folders[name], sources));
  return { model, ...examples.get(key) };
}

/** The loss of the model without training. */
async function lossBefore(model, evaluation, key) {
  if (!losses.has(key)) losses.set(key, (await rubricate.evaluate(model, evaluation)).loss);
  return losses.get(key);
}

/** Trains and evaluates once, at the end. @returns the losses; null where they are not finite */
async function run(request) {
  const { method, rate, seed, steps, batchSize } = request;
  const { model, train, evaluation } = await loaded(request);
  try {
    const { sites } = methods[method];
    const adapter = sites && RedAdapter.create(model, { sites });
    const before = await lossBefore(model, evaluation, [request.name, request.dtype, request.data].join());
    const options = { learningRate: rate, seed, maxSteps: steps, batchSize, evalEveryEpoch: false, keepBest: false };
    const trainer = new Trainer({
      model,
      adapter,
      method: methods[method].method,
      train,
      eval: evaluation,
      ...options,
    });
    const trainLosses = [];
    let evalLoss = null;
    let fault;
    const cpu = process.cpuUsage();
    try {
      for await (const event of trainer.run()) {
        if (event.type === "step") trainLosses.push(event.loss);
        if (event.type === "eval") evalLoss = event.loss;
      }
    } catch (error) {
      if (error.code !== "ERR_NOT_FINITE") throw error;
      fault = error.code;
    }
    const { user, system } = process.cpuUsage(cpu);
    return { before, evalLoss, fault, trainLosses: sparse(trainLosses), cpuSeconds: (user + system) / 1e6 };
  } finally {
    model.dispose();
  }
}

/** Means of ten equal parts: how the loss falls. */
function sparse(losses) {
  const size = Math.max(1, Math.ceil(losses.length / 10));
  return Array.from({ length: Math.ceil(losses.length / size) }, (_, i) => {
    const part = losses.slice(i * size, (i + 1) * size);
    return Number((part.reduce((sum, loss) => sum + loss, 0) / part.length).toFixed(4));
  });
}

process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await run(JSON.parse(line)))}\n`);
}

/**
 * A process of seven_b.mjs: opens the checkpoint, runs one training step, and prints its time and memory as a line of
 * JSON.
 *
 *     node bench/js/seven_b_step.mjs FOLDER SUPERVISED_TOKENS
 */
import { rubricate } from "./package.mjs";
import { watchMemory } from "./process_memory.mjs";

const [folder, supervised] = process.argv.slice(2);
const { LanguageModel, RedAdapter, Trainer } = rubricate;

const memory = watchMemory();
const openedAt = performance.now();
const model = await LanguageModel.fromPretrained(folder);
const openMs = performance.now() - openedAt;

const adapter = RedAdapter.create(model);
const count = Number(supervised) + 1;
const tokenIds = Int32Array.from({ length: count }, (_, i) => (7 * i + 3) % model.vocabularySize);
const example = { tokenIds, supervised: new Uint8Array(count).fill(1, 1), line: 1 };
const trainer = new Trainer({ model, adapter, train: [example], maxSteps: 1, batchSize: 1, schedule: "constant" });
const result = { openMs, layers: model.layerCount, dtype: model.dtype };
let startedAt = performance.now();
for await (const event of trainer.run()) {
  if (event.type === "start") startedAt = performance.now();
  if (event.type !== "step") continue;
  result.stepSeconds = (performance.now() - startedAt) / 1e3;
  result.loss = event.loss;
  result.gradNorm = event.gradNorm;
  result.supervisedTokens = event.supervisedTokens;
}

/** Euclidean norm of the gradients of each layer's vectors, and of the weakest single vector. */
const squares = new Float64Array(model.layerCount);
result.smallestVectorGradientNorm = Number.POSITIVE_INFINITY;
for (const [name, gradient] of adapter.gradients()) {
  const square = gradient.reduce((sum, x) => sum + x * x, 0);
  squares[Number(name.split(".")[1])] += square;
  result.smallestVectorGradientNorm = Math.min(result.smallestVectorGradientNorm, Math.sqrt(square));
}
result.smallestLayerGradientNorm = Math.sqrt(Math.min(...squares));
const { anonymousPeak, residentPeak } = memory.stop();
const gibibytes = (bytes) => Number((bytes / 2 ** 30).toFixed(3));
result.vmHwmGiB = gibibytes(residentPeak);
result.anonymousPeakGiB = gibibytes(anonymousPeak);
adapter.dispose();
model.dispose();
console.log(JSON.stringify(result));

// A training run that is killed repeatedly: `node kill9_child.cjs OUTPUT STEPS`. It resumes from its last checkpoint
// if there is one, prints its start and its steps, one line each, and at its end the SHA-256 of its vectors.
require("./typescript.cjs");
const { createHash } = require("node:crypto");
const { join } = require("node:path");
const { LanguageModel } = require("../../lib/model/model");
const { RedAdapter } = require("../../lib/adapter/red_adapter");
const { Trainer } = require("../../lib/train/trainer");

const [outputDir, steps] = process.argv.slice(2);

const train = Array.from({ length: 30 }, (_, at) => {
  const length = 3 + ((at * 7) % 12);
  return {
    tokenIds: Int32Array.from({ length }, (_, i) => (at * 31 + i * i * 17) % 128),
    supervised: new Uint8Array(length).fill(1),
    line: at + 1,
  };
});

async function main() {
  const model = await LanguageModel.fromPretrained(join(__dirname, "../parity/fixtures/gqa"));
  const adapter = RedAdapter.create(model);
  const options = { batchSize: 2, gradientAccumulationSteps: 2, maxSteps: Number(steps), checkpointEverySteps: 1 };
  const evaluation = { eval: 0.2, evalEverySteps: 7, keepBest: true, evalEveryEpoch: false };
  const trainer = new Trainer({ model, adapter, train, outputDir, learningRate: 0.01, ...options, ...evaluation });
  for await (const event of trainer.run({ resume: "auto" })) {
    if (event.type === "start") process.stdout.write(`start ${event.resumedStep}\n`);
    if (event.type === "notice") process.stdout.write(`notice ${event.message}\n`);
    if (event.type === "checkpoint") process.stdout.write(`checkpoint ${event.step}\n`);
  }
  const hash = createHash("sha256");
  for (const [name, values] of adapter.vectors()) hash.update(name).update(new Uint8Array(values.buffer));
  const best = await RedAdapter.fromPretrained(join(outputDir, "best"), model);
  for (const [name, values] of best.vectors()) hash.update(name).update(new Uint8Array(values.buffer));
  await adapter.savePretrained(join(outputDir, "final"));
  process.stdout.write(`end ${hash.digest("hex")}\n`);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});

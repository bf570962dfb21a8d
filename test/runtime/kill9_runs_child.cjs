// Several runs of a MultiTrainer in a process that is killed repeatedly: `node kill9_runs_child.cjs OUTPUT STEPS`. Each resumes
// from its last checkpoint if there is one. Prints "start" once all have begun, notices, and at the end the SHA-256 of all
// vectors.
require("./typescript.cjs");
const { createHash } = require("node:crypto");
const { join } = require("node:path");
const { LanguageModel } = require("../../lib/model/model");
const { RedAdapter } = require("../../lib/adapter/red_adapter");
const { MultiTrainer } = require("../../lib/train/multi_trainer");

const [outputDir, steps] = process.argv.slice(2);

function examples(seed) {
  return Array.from({ length: 20 + seed }, (_, at) => {
    const length = 3 + ((at * 7 + seed) % 12);
    return {
      tokenIds: Int32Array.from({ length }, (_, i) => (at * 31 + seed * 5 + i * i * 17) % 128),
      supervised: new Uint8Array(length).fill(1),
      line: at + 1,
    };
  });
}

async function follow(run, started) {
  for await (const event of run) {
    if (event.type === "start") started();
    if (event.type === "notice") process.stdout.write(`notice ${run.name}: ${event.message}\n`);
  }
}

async function main() {
  const model = await LanguageModel.fromPretrained(join(__dirname, "../parity/fixtures/gqa"));
  const trainer = new MultiTrainer({ model });
  const own = [
    { eval: 0.2, evalEverySteps: 3, evalEveryEpoch: false, keepBest: true },
    { gradientAccumulationSteps: 2 },
    { weight: 2, packing: { maxTokens: 30 } },
    {},
  ];
  const layouts = [{}, {}, {}, { sites: ["attention"] }];
  const adapters = layouts.map((layout) => RedAdapter.create(model, layout));
  const runs = own.map((options, at) =>
    trainer.add(`run ${at}`, {
      adapter: adapters[at],
      train: examples(at),
      outputDir: join(outputDir, `${at}`),
      maxSteps: Number(steps) + at,
      batchSize: 2,
      learningRate: 0.01,
      checkpointEverySteps: 1 + at,
      resume: "auto",
      ...options,
    }),
  );
  // Only iterated: its error must not be an unhandled rejection, which would end this process.
  const failing = trainer.add("failing", { adapter: RedAdapter.create(model), train: [] });
  const failed = follow(failing).then(
    () => Promise.reject(new Error("expected an error")),
    () => undefined,
  );
  let waiting = runs.length;
  const started = () => --waiting === 0 && process.stdout.write("start\n");
  await Promise.all([failed, ...runs.map((run) => follow(run, started))]);
  const hash = createHash("sha256");
  for (const adapter of adapters)
    for (const [name, values] of adapter.vectors()) hash.update(name).update(new Uint8Array(values.buffer));
  process.stdout.write(`end ${hash.digest("hex")}\n`);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});

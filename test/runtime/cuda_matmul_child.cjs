// A model on an emulated device with the environment's provider of matmuls: its results, its matmuls, and
// with a folder as argument the notices of a run resumed there, as JSON.
const { join } = require("node:path");
const { RedAdapter } = require("../../lib/adapter/red_adapter.ts");
const { LanguageModel } = require("../../lib/model/model.ts");
const { Trainer } = require("../../lib/train/trainer.ts");

const [, , device, outputDir] = process.argv;

const train = Array.from({ length: 4 }, (_, at) => ({
  tokenIds: Int32Array.of(1, 5 + at, 9, 17),
  supervised: Uint8Array.of(0, 1, 1, 1),
  line: at + 1,
}));

/** Makes one more step in `outputDir`. @returns the notices */
async function goOn(model) {
  const adapter = RedAdapter.create(model);
  const notices = [];
  const trainer = new Trainer({ model, adapter, train, batchSize: 1, epochs: 1, outputDir, checkpointEverySteps: 1 });
  for await (const event of trainer.run({ resume: "auto" })) {
    if (event.type === "notice") notices.push(event.message);
    if (event.type === "checkpoint") break;
  }
  adapter.dispose();
  return notices;
}

async function main() {
  const model = await LanguageModel.fromPretrained(join(__dirname, "../parity/fixtures/gqa"), { device });
  const logits = [...(await model.logits([1, 17, 44, 9]))];
  const notices = outputDir === undefined ? [] : await goOn(model);
  return { device: model.device, logits, matmuls: model.matmuls(), notices };
}

main()
  .catch(({ code, message }) => ({ error: { code, message } }))
  .then((found) => process.stdout.write(JSON.stringify(found)));

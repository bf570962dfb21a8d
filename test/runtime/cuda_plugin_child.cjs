// Loads a model with device "auto", computes with it, and requests "cuda". Prints the results as JSON.
const { join } = require("node:path");
const { setDeviceMemoryLimit } = require("../../lib/model/device.ts");
const { LanguageModel } = require("../../lib/model/model.ts");

const fixture = join(__dirname, "../parity/fixtures/gqa");

async function main() {
  const model = await LanguageModel.fromPretrained(fixture);
  const logits = await model.logits([1, 2, 3]);
  const { device } = model;
  model.dispose();
  const error = await LanguageModel.fromPretrained(fixture, { device: "cuda" }).then(
    () => ({ code: "", message: "it was loaded" }),
    ({ code, message }) => ({ code, message }),
  );
  const finite = logits.length > 0 && logits.every(Number.isFinite);
  const limit = await setDeviceMemoryLimit("cuda", 1).then(
    () => "it was limited",
    ({ message }) => message,
  );
  process.stdout.write(JSON.stringify({ device, finite, error, limit }));
}

main();

// Models on emulated devices that are small, or get lost; the first argument selects the case. Prints the results as JSON.
const { join } = require("node:path");
const { RedAdapter } = require("../../lib/adapter/red_adapter.ts");
const { setDeviceMemoryLimit } = require("../../lib/model/device.ts");
const { LanguageModel } = require("../../lib/model/model.ts");
const { Trainer } = require("../../lib/train/trainer.ts");

const load = (device) => LanguageModel.fromPretrained(join(__dirname, "../parity/fixtures/gqa"), { device });
const failed = (promise) =>
  promise.then(
    () => ({ code: "", message: "it succeeded" }),
    ({ code, message }) => ({ code, message }),
  );
const ids = (count) => Int32Array.from({ length: count }, (_, at) => (at + 1) % 100);
const same = (a, b) => a.length === b.length && a.every((value, at) => value === b[at]);

async function train(model, tokens = 4) {
  const adapter = RedAdapter.create(model);
  const example = { tokenIds: ids(tokens), supervised: new Uint8Array(tokens).fill(1, 1), line: 1 };
  try {
    for await (const _ of new Trainer({ model, adapter, train: [example], epochs: 1 }).run());
  } finally {
    adapter.dispose();
  }
}

async function generate(model, tokens = 3) {
  const text = [];
  for await (const { tokenId } of model.generate({ tokenIds: ids(tokens), maxNewTokens: 4 })) text.push(tokenId);
  return text;
}

const scenarios = {
  // A device with memory for one model and short sequences.
  async memory() {
    const model = await load("cuda");
    const before = await model.logits([1, 2, 3]);
    const { used, cached } = model.memory().device;
    process.env.RUBRICATE_EMULATION_MEMORY = `${used + cached + (64 << 10)}`;
    const long = await failed(model.logits(ids(model.contextLength)));
    const after = await model.logits([1, 2, 3]);
    const second = await failed(load("cuda"));
    const { device } = await load("auto");
    return { long, same: same(before, after), second, fallback: device };
  },

  // A limit that is too small for a model, then for long sequences, then none.
  async limit() {
    await setDeviceMemoryLimit("cuda", 100_000);
    const loading = await failed(load("cuda"));
    await setDeviceMemoryLimit("cuda:0", 1 << 30);
    const model = await load("cuda");
    const before = await model.logits([1, 2, 3]);
    const { used, cached } = model.memory().device;
    const limit = used + cached + (64 << 10);
    await setDeviceMemoryLimit("cuda", limit);
    const long = model.contextLength - 8;
    const training = await failed(train(model, long));
    const loaded = await failed(load("cuda"));
    const cpu = await load("cpu");
    const text = same(await generate(model, long), await generate(cpu, long)); // its prompt in parts that fit
    const figures = model.memory().device;
    const usable = same(before, await model.logits([1, 2, 3]));
    await setDeviceMemoryLimit("cuda", 0);
    await train(model, long);
    const lifted = model.memory().device.limit;
    return { limit, loading, failures: [training, loaded], figures, usable, text, lifted };
  },

  // Two devices; cuda:1 is lost while its jobs wait.
  async lost() {
    const models = [await load("cpu"), await load("cuda:0"), await load("cuda:1")];
    const logits = await Promise.all(models.map((model) => model.logits([1, 2, 3])));
    process.env.RUBRICATE_EMULATION_LOSE = "1";
    const last = models[2];
    const pending = await Promise.all(
      [last.logits([1, 2, 3]), last.logits([4]), train(last), generate(last)].map((promise) => failed(promise)),
    );
    const later = [await failed(last.logits([1])), await failed(train(last)), await failed(load("cuda:1"))];
    const again = [await models[0].logits([1, 2, 3]), await models[1].logits([1, 2, 3])];
    last.dispose();
    await train(models[0]);
    await train(models[1]);
    const { device } = await load("auto");
    const ids = same(await models[1].logits([1, 2, 3]), logits[1]);
    return { pending, later, same: [same(again[0], logits[0]), same(again[1], logits[1]), ids], fallback: device };
  },
};

scenarios[process.argv[2]]().then((found) => process.stdout.write(JSON.stringify(found)));

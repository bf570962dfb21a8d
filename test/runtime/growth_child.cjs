// Rounds of creating and disposing: `node --expose-gc growth_child.cjs tensors|adapters|models|dropped ROUNDS WARM_UP`.
// Prints how many bytes the resident set grew by after the warm-up rounds.
const { native, architecture, plan, load, microBatch, options } = require("./native_support.cjs");
const { engineOptions, requestOf } = require("./engine_defaults.cjs");

const kinds = {
  async tensors() {
    const { Tensor, Tape, ops } = native;
    const tape = new Tape();
    const x = Tensor.from(new Float32Array(64 * 256).fill(0.5), [64, 256], "float32", false);
    const w = Tensor.from(new Float32Array(256 * 256).fill(0.01), [256, 256], "float32", true);
    const y = ops.linear(tape, x, w);
    const loss = ops.sum(tape, y);
    tape.backward(loss);
    for (const each of [w.grad(), loss, y, w, x, tape]) each.dispose();
  },
  /** Frees objects that are not disposed of. */
  async dropped() {
    const { Tensor, Tape, ops } = native;
    const tape = new Tape();
    const x = Tensor.from(new Float32Array(64 * 256).fill(0.5), [64, 256], "float32", true);
    tape.backward(ops.sum(tape, ops.silu(tape, x)));
  },
  async adapters() {
    const { Adapter, Optimizer } = native;
    const adapter = new Adapter(architecture, plan);
    const optimizer = new Optimizer(adapter);
    adapter.setValues(adapter.values());
    optimizer.dispose();
    adapter.dispose();
  },
  async models() {
    const model = await load();
    const { Adapter, Optimizer } = native;
    const adapter = new Adapter(architecture, plan);
    const optimizer = new Optimizer(adapter);
    const tenants = [{ parameters: adapter, optimizer, options }];
    await model.trainStep({ tenants, microBatches: [microBatch], recompute: false, update: true }).promise;
    const version = await model.publish(adapter).promise;
    await new Promise((ended) => {
      const onOutputs = (rows) => rows.at(-3) >= 4 && ended();
      model.createEngine(engineOptions, onOutputs).submit(requestOf({ version, maxNewTokens: 2 }));
    });
    for (const each of [version, optimizer, adapter, model]) each.dispose();
  },
};

async function main([kind, rounds, warmUp]) {
  const settle = async () => {
    for (let i = 0; i < 3; i++) {
      global.gc();
      await new Promise(setImmediate);
    }
  };
  let before = 0;
  for (let round = 0; round < Number(rounds); round++) {
    if (round === Number(warmUp)) {
      await settle();
      before = process.memoryUsage.rss();
    }
    await kinds[kind]();
    if (round % 50 === 49) await settle();
  }
  await settle();
  process.stdout.write(String(process.memoryUsage.rss() - before));
}

main(process.argv.slice(2));

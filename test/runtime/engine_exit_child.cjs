// One scenario of engine_exit.test.ts: `node --require ./typescript.cjs engine_exit_child.cjs SCENARIO`.
const { Worker, isMainThread, parentPort } = require("node:worker_threads");

const lib = () => require("../../lib/index.ts");
const print = (line) => process.stdout.write(`${line}\n`);
const long = { tokenIds: [1, 5, 9], maxNewTokens: 500 };

async function load() {
  const { LanguageModel, embeddedModelDir } = lib();
  const model = await LanguageModel.fromPretrained(embeddedModelDir(), { device: "cpu" });
  return Object.defineProperty(model, "eosTokenIds", { value: [] });
}

const scenarios = {
  // Nobody waits for a token: the process ends.
  async halfWay() {
    const model = await load();
    const pieces = model.generate(long);
    await pieces.next();
    print("left");
  },
  // A reader that comes back to a request that paused keeps the process alive to its end.
  async pausedThenRead() {
    const model = await load();
    const pieces = model.generate(long);
    await pieces.next();
    await new Promise((resolve) => setTimeout(resolve, 500));
    let tokens = 1;
    for await (const _ of pieces) tokens++;
    print(`read ${tokens}`);
  },
  async collected() {
    const model = await load();
    const { Engine } = lib();
    const engine = new Engine({ model });
    await (async () => {
      const pieces = engine.generate(long);
      await pieces.next();
    })();
    while (engine.stats().requests > 0) {
      global.gc();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    print("collected");
    await engine.close();
  },
  // Thousands of requests leave neither objects nor pages.
  async memory() {
    const model = await load();
    const { Engine } = lib();
    const engine = new Engine({ model, maxQueue: 2 ** 20 });
    const round = () =>
      Promise.all(
        Array.from({ length: 500 }, (_, at) =>
          engine.complete({ tokenIds: [at], maxNewTokens: 1, tenant: `t${at % 50}` }),
        ),
      );
    const used = async () => {
      for (let at = 0; at < 3; at++) {
        global.gc();
        await new Promise((resolve) => setImmediate(resolve));
      }
      return process.memoryUsage().heapUsed;
    };
    for (let at = 0; at < 2; at++) await round();
    const before = await used();
    for (let at = 0; at < 6; at++) await round();
    const grown = (await used()) - before;
    const { requests, running, waiting } = engine.stats();
    print(`${requests} ${running} ${waiting} ${grown < 300 * 6 * 500 ? "flat" : grown}`);
    await engine.close();
  },
  async workerEnds() {
    const worker = new Worker(__filename, { execArgv: ["--require", require.resolve("./typescript.cjs")] });
    await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    await worker.terminate();
    const model = await load();
    const { tokenIds } = await model.complete({ ...long, maxNewTokens: 5 });
    print(`usable ${tokenIds.length}`);
  },
};

async function inWorker() {
  const model = await load();
  const { Engine } = lib();
  const engine = new Engine({ model });
  let told = false;
  for (;;) {
    const pieces = Array.from({ length: 4 }, () => engine.generate(long));
    await Promise.all(pieces.map((one) => one.next()));
    if (!told) parentPort.postMessage("started");
    told = true;
    await Promise.all(pieces.map((one) => one.return()));
  }
}

if (isMainThread) scenarios[process.argv[2]]();
else inWorker();

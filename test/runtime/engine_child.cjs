// One scenario of engine.test.ts, in its own process: `node engine_child.cjs SCENARIO`. In a worker, the scenario is its
// workerData.
const { Worker, isMainThread, parentPort, workerData } = require("node:worker_threads");
const { engineOptions, requestOf } = require("./engine_defaults.cjs");

const support = () => require("./native_support.cjs");
const print = (line) => process.stdout.write(`${line}\n`);

const options = { ...engineOptions, maxSequences: 8, maxQueue: 8 };
const request = (more) => requestOf({ maxNewTokens: 100, ...more });

/** An engine, and a function that submits a request and resolves with its end. */
async function engine() {
  const { load } = support();
  const model = await load();
  const ends = new Map();
  const started = model.createEngine(options, (rows, _numbers, failures) => {
    for (let row = 0; row < rows.length; row += 4) {
      const [id, kind, value] = rows.subarray(row, row + 4);
      if (kind === 1) started.taken(id, 1);
      if (kind >= 5) ends.get(id)(kind === 8 ? failures[value].code : `end ${kind}`);
    }
  });
  const ask = (more) => new Promise((resolve) => ends.set(started.submit(request(more)), resolve));
  return { model, engine: started, ask };
}

/** Requests that are not read, so that they stay under way. */
async function unread() {
  const model = await support().load();
  let seen;
  const first = new Promise((resolve) => {
    seen = resolve;
  });
  const started = model.createEngine(options, () => seen());
  started.submit(request({ maxNewTokens: 100, tokenIds: Int32Array.of(1) }));
  started.submit(request({ maxNewTokens: 100, tokenIds: Int32Array.of(2) }));
  await first;
  return model;
}

const inWorker = {
  async busy() {
    const { ask } = await engine();
    const again = () => ask().then(again);
    for (let i = 0; i < 6; i++) again();
    parentPort.postMessage("started");
  },
};

const inMain = {
  /** The process ends by itself although the engine was never closed. */
  async idle() {
    const { ask } = await engine();
    print(await ask());
  },
  /** The process waits for the request, which nothing else keeps alive. */
  async awaited() {
    const { ask } = await engine();
    ask({ tokenIds: new Int32Array(100).fill(7), maxNewTokens: 29 }).then(print);
  },
  async exit() {
    await unread();
    process.exit(5);
  },
  async terminate() {
    for (let round = 0; round < 6; round++) {
      const worker = new Worker(__filename, { workerData: "busy" });
      await new Promise((resolve) => worker.once("message", resolve));
      await new Promise((resolve) => setTimeout(resolve, round * 3));
      await worker.terminate();
    }
    const { ask } = await engine();
    print(await ask());
  },
  async throwing() {
    const model = await support().load();
    process.on("uncaughtException", (error) => print(error.message));
    const started = model.createEngine(options, () => {
      throw new Error("meant to be");
    });
    started.submit(request({ maxNewTokens: 1 }));
  },
};

if (isMainThread) inMain[process.argv[2]]();
else inWorker[workerData]();

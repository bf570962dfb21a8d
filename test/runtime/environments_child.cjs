// One scenario of environments.test.ts: `node environments_child.cjs SCENARIO`. In a worker, the scenario is its workerData.
const { Worker, isMainThread, parentPort, workerData } = require("node:worker_threads");
const { setTimeout: sleep } = require("node:timers/promises");

const support = () => require("./native_support.cjs");
const print = (line) => process.stdout.write(`${line}\n`);

async function losses(steps) {
  const { step } = await support().trainee();
  const all = [];
  for (let i = 0; i < steps; i++) all.push((await step().promise)[0].loss);
  return all.join(" ");
}

const inWorker = {
  losses: async () => parentPort.postMessage(await losses(40)),
  async long() {
    const { step } = await support().trainee();
    step(100_000);
    parentPort.postMessage("started");
  },
  async throwing() {
    const { step } = await support().trainee();
    step(100_000);
    setTimeout(() => {
      throw new Error("meant to be");
    }, 10);
  },
  async exiting() {
    const { step } = await support().trainee();
    step(100_000);
    setTimeout(() => process.exit(3), 10);
  },
};

const worker = (scenario) => new Worker(__filename, { workerData: scenario });
const message = (of) =>
  new Promise((resolve, reject) => {
    of.once("message", resolve);
    of.once("error", reject);
  });
const exit = (of) => new Promise((resolve) => of.once("exit", resolve));

const inMain = {
  async twoWorkers() {
    const [a, b, own] = await Promise.all([message(worker("losses")), message(worker("losses")), losses(40)]);
    print(a === b && b === own && a.split(" ").length === 40 ? "equal" : `different:\n${a}\n${b}\n${own}`);
  },
  async terminate() {
    for (let round = 0; round < 12; round++) {
      const of = worker("long");
      await message(of);
      await sleep(round * 3);
      await of.terminate();
    }
    print("terminated");
    print((await losses(2)).split(" ").length === 2 ? "usable" : "unusable");
  },
  async onlyInWorkers() {
    for (let round = 0; round < 4; round++) {
      const of = worker("losses");
      await Promise.all([message(of), exit(of)]);
      await sleep(30);
    }
    print("alive");
  },
  async endsInWorkers() {
    const thrower = worker("throwing");
    const [error] = await Promise.all([new Promise((resolve) => thrower.once("error", resolve)), exit(thrower)]);
    print(`${error.message}, exit ${await exit(worker("exiting"))}`);
  },
  async exit() {
    const { step } = await support().trainee();
    step(100_000);
    await sleep(15);
    print("exiting");
    process.exit(7);
  },
  async throw() {
    const { step } = await support().trainee();
    step(100_000);
    setTimeout(() => {
      throw new Error("meant to be");
    }, 15);
  },
  async variables() {
    const { native, trainee } = support();
    const codes = [];
    for (const call of [() => native.cpu(), () => native.setThreads(1)]) {
      try {
        call();
      } catch (error) {
        codes.push(error.code);
      }
    }
    const { step } = await trainee().catch((error) => ({ step: () => ({ promise: Promise.reject(error) }) }));
    await step().promise.catch((error) => codes.push(error.code));
    print(codes.join());
  },
  async natural() {
    const { step, adapter } = await support().trainee();
    const before = adapter.values();
    step(200).promise.then(() => print(adapter.values().some((x, i) => x !== before[i]) ? "trained" : "unchanged"));
  },
  async collectedMidway() {
    let pending = (await support().trainee()).step(300).promise;
    for (let i = 0; i < 5; i++) {
      global.gc();
      await sleep(5);
    }
    pending = await pending;
    global.gc();
    print(Number.isFinite(pending[0].loss) ? "settled" : "broken");
  },
};

(isMainThread ? inMain[process.argv[2]] : inWorker[workerData])();

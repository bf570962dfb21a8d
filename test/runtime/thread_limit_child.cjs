// Loads a model and runs a matmul when no thread can be started, and when one can again. Thread stacks are 1 GB here
// (`ulimit -s`), so
// that a limit of address space refuses threads and nothing else. Prints the result of each call as JSON.
const { execFileSync } = require("node:child_process");
const { readFileSync } = require("node:fs");
const { load, native } = require("./native_support.cjs");

const limitAddresses = (bytes) => execFileSync("prlimit", ["--pid", String(process.pid), `--as=${bytes}:unlimited`]);

/** Runs `work` while the process may use 700 MB more of address space: less than a stack. */
async function withoutThreads(work) {
  const used = Number(/VmSize:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
  limitAddresses(used + 700e6);
  try {
    return await work();
  } finally {
    limitAddresses("unlimited");
  }
}

/** A matmul that is large enough for the pool's threads. */
async function product() {
  const matrix = native.Tensor.from(new Float32Array(256 * 256).fill(0.5), [256, 256], "float32", false);
  native.ops.linear(new native.Tape(), matrix, matrix);
}

async function main() {
  native.setThreads(2);
  const outcomes = [];
  const note = async (work) => {
    const { code, message } = await work().then(
      () => ({}),
      (error) => error,
    );
    outcomes.push(code === undefined ? "done" : `${code}: ${message}`);
  };
  await note(() => withoutThreads(load));
  const model = await load();
  await note(() => withoutThreads(product));
  await note(product);
  outcomes.push(`${model.pendingJobs} pending`);
  console.log(JSON.stringify(outcomes)); // the process ends by itself, because no job keeps it alive
}

main();

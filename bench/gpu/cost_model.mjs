// Predicts a RED training step and a decoded token of LLaMA-2-7B's shape on one GPU from counts: bytes and operations of each op,
// calls of kernels (launches.json), and instructions of the kernels (native/device/cuda/RESOURCES.md). Every figure that it prints is a
// prediction; --result FILE prints what `run.sh` measured beside it.
//
//   node bench/gpu/cost_model.mjs [--result FILE] [--json]
//
// launches.json: what one more layer adds, and the rest, from two runs without a GPU:
//   bench_gpu profile --rehearse --layers 2 --out FILE2; bench_gpu profile --rehearse --layers 3 --out FILE3
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");

const shape = { layers: 32, hidden: 4096, feedForward: 11008, vocabulary: 32000, heads: 32, headDim: 128 };

/**
 * An H200. clock: Hz under load; copy: bytes/s that a copy should reach, of 4.8e12 by its data sheet; library: operations/s that cuBLASLt
 * reaches in bf16, of 989e12 (794e12 on an H100 of the same chip: stas00/ml-engineering, table of maximum achievable matmul FLOPS). The
 * others are estimates, to be replaced by the first measurement: issue: the share of its issue slots that a kernel of tensor cores uses;
 * perTurn: clock cycles of an instruction in a loop that waits for memory, with few warps; launch: seconds of the host for a launch;
 * waits: of the host for losses, gradients' norms and values, a step.
 */
const device = {
  name: "H200",
  multiprocessors: 132,
  clock: 1.75e9,
  copy: 4.3e12,
  library: 790e12,
  issue: 0.65,
  perTurn: 2.45,
  launch: 4.5e-6,
  waits: 1.2e-3,
};
const operationsOfMma = 16 * 8 * 16 * 2;

/** Instructions for each mma of a kernel on sm_90. */
function instructionsPerMma(kernel) {
  const table = readFileSync(join(root, "native", "device", "cuda", "RESOURCES.md"), "utf8").split("\n");
  const columns = table.find((line) => line.startsWith("| kernel |")).split(" | ");
  const row = table.find((line) => line.startsWith(`| \`${kernel}\` |`));
  const count = row?.split(" | ")[columns.indexOf("sm_90")]?.match(/ ([\d.]+) m/)?.[1];
  if (count === undefined) throw new Error(`RESOURCES.md has no instructions for each mma of ${kernel} on sm_90`);
  return Number(count);
}

/** Operations/s of a kernel of tensor cores that is limited by the instructions it issues. */
const issueLimited = (kernel) =>
  (device.multiprocessors * 4 * device.clock * device.issue * operationsOfMma) / instructionsPerMma(kernel);

/** Rows { name, times, operations, rate, bytes }: what one call does, and how often. */
function trainingRows(sequences, length = 1024) {
  const { layers, hidden: d, feedForward: f, vocabulary, heads, headDim } = shape;
  const tokens = sequences * length;
  const matmul = (name, times, n, k) => ({ name, times, operations: 2 * tokens * n * k, rate: device.library });
  const memory = (name, times, bytesOfToken) => ({ name, times, bytes: bytesOfToken * tokens });
  // Scores of the causal half, in blocks of 64 keys: half a block more than half.
  const scores = sequences * heads * length * (length / 2 + 32);
  const attention = (name, times, products, kernel) => {
    return { name, times, operations: products * 2 * headDim * scores, rate: issueLimited(kernel) };
  };
  const backward = layers - 1; // the first edit is behind the first layer
  return [
    matmul("q, k, v, o", 4 * layers, d, d),
    matmul("gate, up, down", 3 * layers, f, d),
    memory("rope, q and k", layers, 12 * d),
    attention("attention", layers, 2, "attention_forward_tensor_cores<128, false>"),
    memory("edit, residual, norm", 2 * layers, 8 * d),
    memory("swiglu", layers, 6 * f),
    matmul("head, forward", 1, vocabulary, d),
    matmul("head, backward", 1, vocabulary, d),
    memory("edit, residual, norm backward", 2 * backward, 11 * d),
    matmul("gate, up, down backward", 3 * backward, f, d),
    memory("swiglu backward", backward, 10 * f),
    matmul("q, k, v, o backward", 4 * backward, d, d),
    memory("attention, dO o", backward, 8 * d),
    attention("attention, dq", backward, 3, "attention_query_gradient<128, false>"),
    attention("attention, dk and dv", backward, 4, "attention_key_gradient<128, false>"),
    memory("rope backward and rounding", backward, 24 * d),
    memory("sums of dx", backward, 18 * d),
  ];
}

const secondsOf = ({ operations = 0, rate = 1, bytes = 0 }) => Math.max(operations / rate, bytes / device.copy);

function launchesOfStep() {
  const counted = JSON.parse(readFileSync(join(here, "launches.json"), "utf8"));
  return counted.reduce((sum, { perLayer, others }) => sum + perLayer * shape.layers + others, 0);
}

/** PyTorch's step on the same model of cost: its matmuls, attention, and the bytes that its other ops move, counted op by op. */
function torchSeconds(sequences, compiled) {
  const rows = trainingRows(sequences);
  const matmuls = rows.filter(({ name }) => /^(q, k|gate|head)/.test(name));
  const products = matmuls.reduce((sum, row) => sum + row.times * secondsOf(row), 0);
  const forward = rows.find(({ name }) => name === "attention").operations / 260e12; // FlashAttention 2 on an H100, causal
  const attention = shape.layers * forward * (1 + 2.5 * (260 / 195));
  const bytes = (compiled ? 113 : 423) * shape.hidden * shape.layers * sequences * 1024;
  return products + attention + bytes / device.copy;
}

function predictTraining(sequences) {
  const rows = trainingRows(sequences).map((row) => ({ ...row, seconds: row.times * secondsOf(row) }));
  const onDevice = rows.reduce((sum, { seconds }) => sum + seconds, 0);
  const launches = launchesOfStep();
  const seconds = Math.max(onDevice, launches * device.launch) + device.waits;
  const tokens = sequences * 1024;
  return {
    sequences,
    launches,
    milliseconds: 1e3 * seconds,
    tokensPerSecond: tokens / seconds,
    torchEager: tokens / torchSeconds(sequences, false),
    torchCompiled: tokens / torchSeconds(sequences, true),
    rows: rows.map(({ name, seconds: own }) => ({ name, milliseconds: 1e3 * own })),
  };
}

/** A token of one sequence: each weight is read once, by our own kernel for up to 16 rows. */
function predictDecoding() {
  const { layers, hidden: d, feedForward: f, vocabulary } = shape;
  const kernel = "matmul_tensor_cores<bf16, false, true, 16, 32, 1, 2, 12>";
  const turn = (4 * instructionsPerMma(kernel) * device.perTurn) / device.clock; // 32 values of k
  const linear = (n, k) => {
    const waves = Math.ceil(n / 32 / (device.multiprocessors * 4)); // blocks of 32 columns, four on a multiprocessor
    return Math.max((2 * n * k) / device.copy, (waves * turn * k) / 32);
  };
  const layer = 4 * linear(d, d) + 2 * linear(f, d) + linear(d, f);
  const others = 20e-6; // norms, rope, attention with few keys
  const seconds = layers * (layer + others) + linear(vocabulary, d);
  const floor = (2 * (layers * (4 * d * d + 3 * d * f) + vocabulary * d)) / device.copy;
  return { milliseconds: 1e3 * seconds, tokensPerSecond: 1 / seconds, shareOfBandwidth: floor / seconds };
}

const { values: options } = parseArgs({ options: { result: { type: "string" }, json: { type: "boolean" } } });
const measured = options.result === undefined ? {} : JSON.parse(readFileSync(options.result, "utf8"));
const training = [1, 8, 16].map(predictTraining);
const decoding = predictDecoding();
if (options.json) {
  console.log(JSON.stringify({ prediction: true, device, training, decoding }, null, 2));
} else {
  const besides = (value) => (value === undefined ? "not measured" : `measured ${value.toFixed(1)}`);
  console.log(
    `Predictions for LLaMA-2-7B's shape, bf16, on an ${device.name}; nothing here is measured unless it says so.\n`,
  );
  for (const { sequences, launches, rows, ...step } of training) {
    const row = measured.training?.find(({ batch }) => batch === sequences);
    console.log(`RED step, ${sequences} x 1,024 (prediction): ${step.milliseconds.toFixed(1)} ms,`);
    console.log(
      `  ${step.tokensPerSecond.toFixed(0)} tokens/s, ${besides(row?.tokensPerSecond)}; ${launches} calls of kernels;`,
    );
    console.log(
      `  PyTorch (prediction): eager ${step.torchEager.toFixed(0)}, compiled ${step.torchCompiled.toFixed(0)} tokens/s`,
    );
    if (sequences !== 8) continue;
    for (const { name, milliseconds } of rows)
      console.log(`    ${name.padEnd(32)} ${milliseconds.toFixed(1).padStart(7)} ms`);
  }
  const row = measured.decoding?.find(({ batch }) => batch === 1);
  console.log(`A decoded token of one sequence (prediction): ${decoding.milliseconds.toFixed(1)} ms,`);
  console.log(`  ${decoding.tokensPerSecond.toFixed(0)} tokens/s, ${besides(row?.tokensPerSecond)};`);
  console.log(`  ${(100 * decoding.shareOfBandwidth).toFixed(0)} % of the rate of reading the weights`);
}

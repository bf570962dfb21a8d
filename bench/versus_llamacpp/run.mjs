/**
 * Prefill and greedy decoding compared with node-llama-cpp, on the same bf16 checkpoint and token ids.
 *
 *     node bench/versus_llamacpp/run.mjs --peer FOLDER [--read BINARY] [--filter TEXT] [--pairs 8] [--out FILE.json]
 *
 * --peer  a folder in which node-llama-cpp is installed: npm install --ignore-scripts node-llama-cpp
 * --read  the workbench build-bench/bench_read, which measures the bandwidth of a plain read in the same run
 *
 * Both sides stay loaded and alternate; the first two turns of each are not counted. A row's figures: tokens/s (medians), the median of the
 * pairs' ratios with its 95 % confidence interval, the peaks of resident memory (VmHWM, mapped weights included). Prefill counts from the
 * call to the first token; decoding from when each sequence has its first token: ours by concurrent calls of `generate`. The sides' logits after a prompt must agree to 3 % of their spread
 * (root mean square), or the row is void; bits cannot agree, since llama.cpp rounds activations and cached keys at other points, so greedy
 * ids diverge at some near tie: the number of equal leading ids is reported.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "../js/folder.mjs";
import { describeRun, machineLine } from "../js/machine.mjs";
import { alternate, median, medianInterval, Side } from "../js/pairs.mjs";
import { writeRandomModel } from "../js/random_model.mjs";
import { shapes, tensorsOf } from "../js/shapes.mjs";
import { writeGguf } from "./gguf.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const warmup = 2;
const tolerance = 0.03;
const config = { ...shapes["110m"], tie_word_embeddings: false, max_position_embeddings: 2048 };

const cases = [
  { measure: "prefill", sequences: 1, length: 512, count: 1 },
  { measure: "decode", sequences: 1, length: 16, count: 64 },
  { measure: "decode", sequences: 8, length: 16, count: 64 },
  { measure: "decode", sequences: 16, length: 16, count: 64 },
];
const nameOf = ({ measure, sequences, length }) =>
  measure === "prefill" ? `prefill ${length}` : `decode x${sequences}`;

/** Bytes of weights that a step reads: all except the embedding, of which it reads single rows. */
const stepBytes = tensorsOf(config)
  .filter(({ name }) => name !== "model.embed_tokens.weight")
  .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 2), 0);

function readBandwidth(binary) {
  return binary === undefined ? undefined : JSON.parse(execFileSync(binary, { encoding: "utf8" }));
}

/** Root mean square of the difference over the standard deviation. */
function logitDifference(ours, theirs) {
  const mean = ours.reduce((sum, value) => sum + value, 0) / ours.length;
  const squares = ours.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const differences = ours.reduce((sum, value, i) => sum + (value - theirs[i]) ** 2, 0);
  return Math.sqrt(differences / squares);
}

const equalLeading = (a, b) => {
  const at = a.findIndex((id, i) => id !== b[i]);
  return at < 0 ? a.length : at;
};

async function compare(row, files, { peer, pairs, read }) {
  const common = Object.entries(row).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const ours = new Side(process.execPath, [join(here, "ours.mjs"), "--model", files.model, ...common]);
  const theirs = new Side(
    process.execPath,
    [join(here, "theirs.mjs"), "--peer", peer, "--model", files.gguf, ...common],
    { UV_THREADPOOL_SIZE: "1" },
  );
  const [us, them] = [await ours.ready(), await theirs.ready()];
  const difference = logitDifference(us.logits, them.logits);
  await alternate(ours, theirs, warmup);
  const before = readBandwidth(read);
  const answers = await alternate(ours, theirs, pairs);
  const after = readBandwidth(read);
  const rates = (list) => list.map(({ tokens, seconds }) => tokens / seconds);
  const theirRates = rates(answers.theirs);
  const ratios = rates(answers.ours).map((rate, i) => rate / theirRates[i]);
  const [{ peakMiB }, { peakMiB: theirPeakMiB }] = [await ours.end(), await theirs.end()];
  const tokensPerSecond = median(rates(answers.ours));
  const bandwidth = before && { before, after };
  const readGBs = bandwidth && Math.max(before.threads2, after.threads2);
  const weightGBs = row.measure === "decode" ? ((tokensPerSecond / row.sequences) * stepBytes) / 1e9 : undefined;
  return {
    ...row,
    name: nameOf(row),
    void: !(difference <= tolerance),
    ratio: median(ratios),
    interval: medianInterval(ratios),
    pairs,
    tokensPerSecond,
    theirTokensPerSecond: median(theirRates),
    weightGBs,
    readGBs,
    peakMiB,
    theirPeakMiB,
    logitDifference: difference,
    equalLeadingIds: answers.ours.map(({ ids }, i) => equalLeading(ids, answers.theirs[i].ids)),
    ours: { ...us, logits: undefined },
    theirs: { ...them, logits: undefined },
    bandwidth,
  };
}

function line(row) {
  const [low, high] = row.interval;
  const rates = `${row.tokensPerSecond.toFixed(0).padStart(6)} ${row.theirTokensPerSecond.toFixed(0).padStart(6)}`;
  const ratio = `${row.ratio.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`.padEnd(20);
  const memory = `${row.peakMiB.toFixed(0).padStart(5)} ${row.theirPeakMiB.toFixed(0).padStart(5)}`;
  const stream = row.weightGBs ? `${row.weightGBs.toFixed(1)} GB/s` : "";
  const share = row.weightGBs && row.readGBs ? ` of ${row.readGBs.toFixed(1)}` : "";
  const state = row.void ? "VOID: logits differ by" : "logits agree to";
  return `${row.name.padEnd(12)} ${rates}  ${ratio} ${memory}  ${`${stream}${share}`.padEnd(20)} ${state} ${row.logitDifference.toExponential(1)}`;
}

const { values } = parseArgs({
  options: {
    peer: { type: "string" },
    read: { type: "string" },
    filter: { type: "string", default: "" },
    pairs: { type: "string", default: "8" },
    out: { type: "string" },
  },
});
if (!values.peer) {
  console.error("usage: node bench/versus_llamacpp/run.mjs --peer FOLDER [--read BINARY] [--filter TEXT] [--pairs 8]");
  process.exit(2);
}
const head = describeRun();
console.log(machineLine(head));
console.log(`${"".padEnd(12)}   ours  peer's  ratio of tokens/s  peak MiB: ours, peer's; weights streamed`);
const rows = [];
await withTemporaryFolder(async (folder) => {
  const files = { model: join(folder, "model"), gguf: join(folder, "model.gguf") };
  writeRandomModel(files.model, config, { dtype: "bfloat16" });
  writeGguf(files.model, files.gguf);
  for (const row of cases.filter((row) => nameOf(row).includes(values.filter))) {
    rows.push(
      await compare(row, files, { peer: resolve(values.peer), pairs: Number(values.pairs), read: values.read }),
    );
    console.log(line(rows.at(-1)));
  }
});
if (values.out !== undefined) {
  mkdirSync(dirname(resolve(values.out)), { recursive: true });
  writeFileSync(values.out, `${JSON.stringify({ ...head, rows }, null, 2)}\n`);
}
process.exitCode = rows.some((row) => row.void) ? 1 : 0;

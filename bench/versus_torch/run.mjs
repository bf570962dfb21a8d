/**
 * A training step compared with PyTorch, on the same checkpoint, token ids, supervised tokens, edited layers and optimizer.
 *
 *     node bench/versus_torch/run.mjs --python PYTHON [--filter TEXT] [--pairs 10] [--out FILE.json]
 *
 * PYTHON: an interpreter with torch, transformers and, for LoRA, PEFT. LoRA has rank 8, on q and v, and both sides start from the same
 * matrices. Both sides stay loaded and alternate, a step each; the first two steps of each are
 * not counted. A row's figures: the median of the pairs' ratios of tokens/s with its 95 % confidence interval; the peaks of resident memory
 * (VmHWM) of both processes. PyTorch runs eager and compiled, a bf16 checkpoint in bf16 and in fp32, and the fastest mode counts. A row
 * whose losses differ by more than 1e-3 (fp32) or 1e-2 (bf16), relative, is void.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "../js/folder.mjs";
import { describeRun, machineLine } from "../js/machine.mjs";
import { rubricate } from "../js/package.mjs";
import { alternate, median, medianInterval, Side } from "../js/pairs.mjs";
import { writeRandomModel } from "../js/random_model.mjs";
import { shapes } from "../js/shapes.mjs";

const { LanguageModel, LoraAdapter } = rubricate;
const here = dirname(fileURLToPath(import.meta.url));
const warmup = 2;
const learningRate = 1e-3;
const tolerance = { float32: 1e-3, bfloat16: 1e-2 };

const cases = ["red", "lora", "full"].flatMap((method) =>
  ["float32", "bfloat16"].flatMap((dtype) => [
    { method, dtype, shape: "15m", batch: 8, length: 256 },
    { method, dtype, shape: "15m", batch: 2, length: 1024 },
    { method, dtype, shape: "110m", batch: 4, length: 256 },
    { method, dtype, shape: "110m", batch: 1, length: 1024 },
  ]),
);
const nameOf = ({ method, dtype, shape, batch, length }) => `${method} ${shape} ${dtype} ${batch} x ${length}`;

/** Sequences of ids, the same in every run. */
function writeIds(path, vocabulary) {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabulary);
  };
  writeFileSync(path, JSON.stringify(Array.from({ length: 64 }, () => Array.from({ length: 1024 }, next))));
}

/** The folder of a new LoRA adapter of a model. */
async function newLora(folder) {
  const model = await LanguageModel.fromPretrained(folder, { device: "cpu" });
  const adapter = await LoraAdapter.create(model);
  await adapter.savePretrained(`${folder}-lora`);
  model.dispose();
  return `${folder}-lora`;
}

async function warm(side, limit) {
  const about = await side.ready();
  const losses = [];
  for (let i = 0; i < warmup; i++) losses.push((await side.step(limit && limit * (i === 0 ? 4 : 1))).loss); // the first one may compile
  return { side, about, losses };
}

/** PyTorch's modes on a checkpoint: on a processor without bf16 arithmetic, fp32 is faster for a bf16 checkpoint. */
const modesOf = (dtype) =>
  [[], ["--compile"]].flatMap((mode) => (dtype === "bfloat16" ? [[...mode, "--upcast"], mode] : [mode]));

/** PyTorch in its fastest mode, warm, with the time of a step in each. */
async function bestTorch(python, args, dtype) {
  let best;
  const secondsOf = {};
  for (const mode of modesOf(dtype)) {
    const name = mode.map((flag) => flag.slice(2)).join(" ") || "eager";
    const side = new Side(python, [join(here, "torch_side.py"), ...args, ...mode]);
    const limit = best && Math.max(15, 4 * best.seconds); // of a step: beyond this the mode cannot be the fastest
    try {
      const warmed = await warm(side, limit);
      const more = [await side.step(limit), await side.step(limit)];
      warmed.losses.push(...more.map(({ loss }) => loss));
      const seconds = Math.min(...more.map((answer) => answer.seconds));
      secondsOf[name] = seconds;
      if (best && best.seconds <= seconds) side.kill();
      else {
        best?.side.kill();
        best = { ...warmed, seconds };
      }
    } catch (error) {
      side.kill();
      secondsOf[name] = `failed, or took more than ${limit?.toFixed(0)} s: ${String(error.message)
        .trim()
        .split(/[\r\n]+/)
        .at(-1)}`;
    }
  }
  if (!best) throw new Error(`PyTorch ran in none of its modes: ${JSON.stringify(secondsOf)}`);
  return { ...best, secondsOf };
}

async function compare(row, folders, python, pairs) {
  const { model, ids, adapter } = await folders(row);
  const common = ["--model", model, "--ids", ids, "--method", row.method, "--rate", String(learningRate)];
  common.push("--batch", String(row.batch), "--length", String(row.length));
  if (row.method === "lora") common.push("--adapter", adapter);
  const torch = await bestTorch(python, common, row.dtype);
  const ours = new Side(process.execPath, [join(here, "ours.mjs"), ...common, "--steps", String(pairs + warmup + 2)]);
  const us = await warm(ours);
  for (let i = 0; i < 2; i++) us.losses.push((await ours.step()).loss); // as many steps as PyTorch has run
  const answers = await alternate(ours, torch.side, pairs);
  us.losses.push(...answers.ours.map(({ loss }) => loss));
  torch.losses.push(...answers.theirs.map(({ loss }) => loss));
  const ratios = answers.theirs.map(({ seconds }, i) => seconds / answers.ours[i].seconds);
  const difference = Math.max(
    ...us.losses.map((loss, i) => Math.abs(loss - torch.losses[i]) / Math.abs(torch.losses[i])),
  );
  const tokens = row.batch * row.length;
  const rate = (list) => tokens / median(list.map(({ seconds }) => seconds));
  const [{ peakMiB }, theirs] = [await ours.end(), await torch.side.end()];
  return {
    ...row,
    name: nameOf(row),
    void: difference > tolerance[row.dtype],
    ratio: median(ratios),
    interval: medianInterval(ratios),
    pairs,
    tokensPerSecond: rate(answers.ours),
    torchTokensPerSecond: rate(answers.theirs),
    peakMiB,
    torchPeakMiB: theirs.peakMiB,
    memoryRatio: peakMiB / theirs.peakMiB,
    lossDifference: difference,
    losses: { ours: us.losses, torch: torch.losses },
    torch: { ...torch.about, secondsOfModes: torch.secondsOf },
    ours: us.about,
  };
}

function line(row) {
  const [low, high] = row.interval;
  const rates = `${row.tokensPerSecond.toFixed(0).padStart(6)} ${row.torchTokensPerSecond.toFixed(0).padStart(6)}`;
  const ratio = `${row.ratio.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`;
  const memory = `${row.peakMiB.toFixed(0).padStart(5)} ${row.torchPeakMiB.toFixed(0).padStart(5)} ${row.memoryRatio.toFixed(2)}`;
  const state = row.void ? "VOID: losses differ by" : "losses agree to";
  return `${row.name.padEnd(32)} ${rates}  ${ratio.padEnd(20)} ${memory}  ${row.torch.mode.padEnd(16)} ${state} ${row.lossDifference.toExponential(1)}`;
}

const { values } = parseArgs({
  options: {
    python: { type: "string" },
    filter: { type: "string", default: "" },
    pairs: { type: "string", default: "10" },
    out: { type: "string" },
  },
});
if (!values.python) {
  console.error(
    "usage: node bench/versus_torch/run.mjs --python PYTHON [--filter TEXT] [--pairs 10] [--out FILE.json]",
  );
  process.exit(2);
}
const head = describeRun();
console.log(machineLine(head));
console.log(
  `${"".padEnd(32)}   ours  torch  ratio of tokens/s     peak MiB: ours, torch, ratio; PyTorch's fastest mode; losses`,
);
const rows = [];
await withTemporaryFolder(async (folder) => {
  const folders = async ({ method, shape, dtype }) => {
    const model = join(folder, `${shape}-${dtype}`);
    const config = { ...shapes[shape], tie_word_embeddings: false, max_position_embeddings: 4096 };
    writeRandomModel(model, config, { dtype });
    const ids = join(folder, "ids.json");
    writeIds(ids, config.vocab_size);
    return { model, ids, ...(method === "lora" && { adapter: await newLora(model) }) };
  };
  for (const row of cases.filter((row) => nameOf(row).includes(values.filter))) {
    rows.push(await compare(row, folders, values.python, Number(values.pairs)));
    console.log(line(rows.at(-1)));
  }
});
if (values.out !== undefined) {
  mkdirSync(dirname(resolve(values.out)), { recursive: true });
  writeFileSync(values.out, `${JSON.stringify({ ...head, rows }, null, 2)}\n`);
}
process.exitCode = rows.some((row) => row.void) ? 1 : 0;

/**
 * Training steps and decoded tokens of two builds of this package in turn, on the same work: whether a change costs time or
 * memory, and whether it changes a bit. Prints the ratio of this build to the other: the median over pairs with its 95 %
 * confidence interval.
 *
 *     node bench/two_builds/run.mjs OTHER [--pairs 10] [--filter 15m] [--out FILE.json]
 *
 * OTHER is another built checkout (`npm run build`). Weights are random. The exit status is 1 if losses or tokens differ.
 */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "../js/folder.mjs";
import { describeRun, machineLine } from "../js/machine.mjs";
import { root } from "../js/package.mjs";
import { alternate, median, medianInterval, Side } from "../js/pairs.mjs";
import { writeRandomModel } from "../js/random_model.mjs";
import { shapes } from "../js/shapes.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    pairs: { type: "string", default: "10" },
    filter: { type: "string", default: "" },
    out: { type: "string" },
  },
});
if (positionals.length !== 1) {
  console.error("Expected one folder: another built checkout");
  process.exit(2);
}
const other = resolve(positionals[0]);
const pairs = Number(values.pairs);
const works = [
  { shape: "15m", dtype: "float32", sequences: 8, length: 256 },
  { shape: "15m", dtype: "bfloat16", sequences: 8, length: 256 },
  { shape: "110m", dtype: "float32", sequences: 4, length: 256 },
  { shape: "110m", dtype: "bfloat16", sequences: 4, length: 256 },
  { shape: "15m", dtype: "float32", sequences: 8, length: 256, method: "full" },
  { shape: "15m", dtype: "bfloat16", sequences: 8, length: 256, method: "full" },
];
const nameOf = ({ shape, dtype, method = "red" }) => `${shape} ${dtype} ${method}`;
const sideFile = fileURLToPath(new URL("side.mjs", import.meta.url));

async function measure(work, folder) {
  const { shape, dtype, sequences, length, method = "red" } = work;
  writeRandomModel(folder, shapes[shape], { dtype });
  const start = (checkout) =>
    new Side(process.execPath, [sideFile, join(checkout, "dist"), folder, String(sequences), String(length), method]);
  const [ours, theirs] = [start(root), start(other)];
  try {
    await Promise.all([ours.ready(), theirs.ready()]);
    const answers = await alternate(ours, theirs, pairs);
    const peaks = [(await ours.end()).peakBytes, (await theirs.end()).peakBytes];
    const same = answers.ours.every(
      ({ loss, ids }, i) => loss === answers.theirs[i].loss && ids === answers.theirs[i].ids,
    );
    const ratioOf = (key) => {
      const ratios = answers.ours.map((answer, i) => answer[key] / answers.theirs[i][key]);
      return {
        ratio: median(ratios),
        interval: medianInterval(ratios),
        median: median(answers.ours.map((a) => a[key])),
      };
    };
    return {
      ...work,
      step: ratioOf("stepMs"),
      decode: ratioOf("decodeMs"),
      memory: { ratio: peaks[0] / peaks[1], peakBytes: peaks[0] },
      loss: answers.ours.at(-1).loss,
      same,
    };
  } finally {
    ours.kill();
    theirs.kill();
  }
}

const head = {
  ...describeRun(),
  otherCommit: execFileSync("git", ["rev-parse", "HEAD"], { cwd: other, encoding: "utf8" }).trim(),
};
console.log(`${machineLine(head)}\nbeside commit ${head.otherCommit.slice(0, 12)}`);
const results = [];
for (const work of works.filter((work) => nameOf(work).includes(values.filter))) {
  const found = await withTemporaryFolder((folder) => measure(work, join(folder, "model")));
  const shown = ({ ratio, interval: [low, high] }) => `${ratio.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
  const { sequences, length, step, decode, memory, same } = found;
  console.log(
    `${nameOf(found)} ${sequences} x ${length}: step ${step.median.toFixed(1)} ms, ratio ${shown(step)}; ` +
      `decode ${decode.median.toFixed(2)} ms, ratio ${shown(decode)}; memory ${memory.ratio.toFixed(3)}; ` +
      `losses and tokens ${same ? "equal" : "DIFFER"}`,
  );
  results.push(found);
}
if (values.out) writeFileSync(values.out, `${JSON.stringify({ ...head, results }, null, 2)}\n`);
process.exitCode = results.every(({ same }) => same) ? 0 : 1;

/**
 * Eight generations with eight adapters at once: beside the same ones one after another, and beside another build's at once.
 * Prints tokens a second and the ratio: the median over alternating pairs with its 95 % confidence interval.
 *
 *     node bench/serve/concurrent.mjs [OTHER] [--shape 110m] [--dtype bfloat16] [--tokens 32] [--pairs 10] [--out FILE.json]
 *
 * OTHER is another built checkout (`npm run build`), from which generations of RedAdapters can be had. Weights are random.
 * The exit status is 1 if tokens differ.
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
    shape: { type: "string", default: "110m" },
    dtype: { type: "string", default: "bfloat16" },
    tokens: { type: "string", default: "32" },
    pairs: { type: "string", default: "10" },
    out: { type: "string" },
  },
});
if (positionals.length > 1 || !shapes[values.shape]) {
  console.error(
    `Expected at most one folder, another built checkout, and a shape among ${Object.keys(shapes).join(", ")}`,
  );
  process.exit(2);
}
const script = fileURLToPath(new URL("side.mjs", import.meta.url));

async function measure(folder, name, other, how) {
  const side = (checkout, kind) =>
    new Side(process.execPath, [script, join(checkout, "dist"), folder, kind, values.tokens]);
  const ours = side(root, "at-once");
  const theirs = side(other, how);
  try {
    await Promise.all([ours.ready(), theirs.ready()]);
    const answers = await alternate(ours, theirs, Number(values.pairs));
    const ratios = answers.ours.map(({ tokensPerSecond }, at) => tokensPerSecond / answers.theirs[at].tokensPerSecond);
    const rate = (list) => median(list.map(({ tokensPerSecond }) => tokensPerSecond));
    return {
      beside: name,
      tokensPerSecond: rate(answers.ours),
      theirTokensPerSecond: rate(answers.theirs),
      ratio: median(ratios),
      interval: medianInterval(ratios),
      same: [...answers.ours, ...answers.theirs].every(({ ids }) => ids === answers.ours[0].ids),
      peakBytes: (await ours.end()).peakBytes,
      theirPeakBytes: (await theirs.end()).peakBytes,
    };
  } finally {
    ours.kill();
    theirs.kill();
  }
}

const other = positionals[0] && resolve(positionals[0]);
const commit = other && execFileSync("git", ["rev-parse", "HEAD"], { cwd: other, encoding: "utf8" }).trim();
const head = { ...describeRun(), shape: values.shape, dtype: values.dtype, otherCommit: commit };
console.log(machineLine(head));
const results = await withTemporaryFolder(async (temporary) => {
  const folder = join(temporary, "model");
  writeRandomModel(folder, shapes[values.shape], { dtype: values.dtype });
  const found = [await measure(folder, "one after another", root, "in-turn")];
  if (other) found.push(await measure(folder, `commit ${commit.slice(0, 12)}, at once`, other, "at-once"));
  return found;
});
for (const { beside, tokensPerSecond, theirTokensPerSecond, ratio, interval, same } of results)
  console.log(
    `8 generations at once, 8 adapters, ${values.shape} ${values.dtype}: ${tokensPerSecond.toFixed(0)} tokens/s; ${beside}: ` +
      `${theirTokensPerSecond.toFixed(0)}; ratio ${ratio.toFixed(2)} [${interval.map((one) => one.toFixed(2)).join(", ")}]; ` +
      `tokens ${same ? "equal" : "DIFFER"}`,
  );
if (values.out) writeFileSync(values.out, `${JSON.stringify({ ...head, results }, null, 2)}\n`);
process.exitCode = results.every(({ same }) => same) ? 0 : 1;

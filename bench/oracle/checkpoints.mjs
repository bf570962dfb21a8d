/**
 * Compares this package with transformers on the folders of checkpoints.py.
 *
 *     node checkpoints.mjs --folders FOLDER [--verbose]
 *
 * Prints each refusal with its reason, each folder that transformers refuses and this package accepts, and the largest difference of a
 * logit, relative to the largest of its folder. Computes in float32, like the reference. The exit status is 1 if that difference is above
 * --most (default 1e-4: a wrong setting changes logits by far more).
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { rubricate } from "../js/package.mjs";

const { values } = parseArgs({
  options: {
    folders: { type: "string" },
    most: { type: "string", default: "1e-4" },
    verbose: { type: "boolean", default: false },
  },
});
if (!values.folders) {
  console.error("usage: node checkpoints.mjs --folders FOLDER [--most 1e-4] [--verbose]");
  process.exit(2);
}
const { LanguageModel } = rubricate;

/** Logits of a folder, [tokens * vocabulary], or the reason for having none; and the notices. */
async function logitsOf(folder, ids) {
  const notices = [];
  try {
    const options = { device: "cpu", dtype: "float32", onNotice: ({ code }) => notices.push(code) };
    const model = await LanguageModel.fromPretrained(folder, options);
    const logits = await model.logits(ids);
    model.dispose();
    return { logits, notices };
  } catch (error) {
    return { error: `${error.code} ${error.message}`, notices };
  }
}

const counts = { compared: 0, refusedByBoth: 0, refused: 0, taken: 0, notices: 0 };
let worst = { distance: 0, name: "none" };
for (const name of readdirSync(values.folders).sort()) {
  const folder = join(values.folders, name);
  const reference = JSON.parse(readFileSync(join(folder, "reference.json"), "utf8"));
  const { logits, error, notices } = await logitsOf(folder, reference.ids);
  counts.notices += notices.length;
  if (error && reference.error) counts.refusedByBoth++;
  else if (error) {
    counts.refused++;
    console.log(`${name}: refused, ${error.replaceAll(folder, name)}`);
  } else if (reference.error) {
    counts.taken++;
    console.log(`${name}: taken, where transformers says ${reference.error}`);
  } else {
    counts.compared++;
    const wanted = reference.logits.flat();
    const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const distance = wanted.reduce((most, value, at) => Math.max(most, Math.abs(value - logits[at])), 0) / largest;
    if (values.verbose) console.log(`${name}: ${distance.toExponential(2)} ${notices.join(" ")}`);
    if (distance > Number(values.most)) console.log(`${name}: DIFFERS, ${distance.toExponential(2)}`);
    if (!(distance <= worst.distance)) worst = { distance, name };
  }
}
console.log(JSON.stringify({ ...counts, largestDistance: worst.distance, of: worst.name }));
process.exitCode = worst.distance <= Number(values.most) ? 0 : 1;

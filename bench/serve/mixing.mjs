/**
 * What many adapters cost: requests at once through one Engine, over 256 adapters, over one, and over none.
 *
 *     node bench/serve/mixing.mjs [--adapters 256,1,0] [--requests 256] [--tokens-in 32] [--tokens-out 16] [--shape 110m]
 *         [--dtype bfloat16] [--pairs 10] [--out FILE.json]
 *     node bench/serve/mixing.mjs --resident 10000 [--few 8] [the same options without --adapters]
 *
 * Prints generated tokens/s of each number of adapters, and the ratio to the next number in the list. With `--resident` two
 * processes are compared: one has so many adapters set, the other few; the requests of both are over the few. Prints that ratio too, and
 * how much memory the other adapters took, by the process and by their bytes. Ratios are the median over alternating pairs with its 95 %
 * confidence interval. Prefixes are not reused. Weights are random. The exit status is 1 if tokens differ that must be equal: the same
 * requests again, and requests of one adapter beside other adapters or alone.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { describeRun, machineLine } from "../js/machine.mjs";
import { alternate, median, medianInterval, Side } from "../js/pairs.mjs";
import { ask, engineFor } from "./requests.mjs";
import { countOf, countsOf, setAdapters, shapeOf, shownRatio, withModel, withModelFolder } from "./work.mjs";

const { values } = parseArgs({
  options: {
    adapters: { type: "string", default: "256,1,0" },
    requests: { type: "string", default: "256" },
    "tokens-in": { type: "string", default: "32" },
    "tokens-out": { type: "string", default: "16" },
    resident: { type: "string" },
    few: { type: "string", default: "8" },
    shape: { type: "string", default: "110m" },
    dtype: { type: "string", default: "bfloat16" },
    pairs: { type: "string", default: "10" },
    out: { type: "string" },
  },
});
const size = {
  requests: countOf("requests", values.requests),
  tokensIn: countOf("tokens-in", values["tokens-in"]),
  tokensOut: countOf("tokens-out", values["tokens-out"]),
};
const numbers = countsOf("adapters", values.adapters, 0);
const pairs = countOf("pairs", values.pairs, 6);
const shape = shapeOf(values.shape);

const compared = (ours, theirs) => {
  const ratios = ours.map(({ tokensPerSecond }, at) => tokensPerSecond / theirs[at].tokensPerSecond);
  return { ratio: median(ratios), interval: medianInterval(ratios) };
};
const rateOf = (answers) => median(answers.map(({ tokensPerSecond }) => tokensPerSecond));
const sameIds = (some, others) => some.join() === others.join();

/** Requests whose adapter has the same number over `some` and over `others` adapters have the same tokens. */
function sameWhereShared(some, others, answers) {
  const numberOf = (at, over) => (over === 0 ? "none" : at % over);
  return answers
    .get(some)[0]
    .ids.every(
      (ids, at) => numberOf(at, some) !== numberOf(at, others) || sameIds(ids, answers.get(others)[0].ids[at]),
    );
}

async function mixing(model) {
  const engine = await engineFor(model, size);
  await setAdapters(engine, model, Math.max(...numbers));
  const answers = new Map(numbers.map((over) => [over, []]));
  const again = [...answers.keys()];
  await ask(engine, shape.vocab_size, size, again[0]); // memory is taken, threads are started
  for (let pair = 0; pair < pairs; pair++)
    for (const over of pair % 2 ? [...again].reverse() : again)
      answers.get(over).push(await ask(engine, shape.vocab_size, size, over));
  await engine.close();
  const same =
    again.every((over) => answers.get(over).every(({ ids }) => sameIds(ids, answers.get(over)[0].ids))) &&
    again.every((over) => again.every((other) => sameWhereShared(over, other, answers)));
  const results = again.map((over, at) => {
    const next = again[at + 1];
    const found = { adapters: over, tokensPerSecond: rateOf(answers.get(over)), against: next };
    if (next === undefined) return found;
    const differ = answers.get(over)[0].ids.filter((ids, i) => !sameIds(ids, answers.get(next)[0].ids[i])).length;
    return { ...found, ...compared(answers.get(over), answers.get(next)), differ };
  });
  return { results, same };
}

async function resident(folder, many, few) {
  const sizes = { ...size, vocabulary: shape.vocab_size };
  const script = fileURLToPath(new URL("mixing_side.mjs", import.meta.url));
  const sides = [];
  const begin = async (set) => {
    const side = new Side(process.execPath, [script, folder, String(set), String(few), JSON.stringify(sizes)]);
    sides.push(side);
    const { ready: _, ...grown } = await side.ready(); // before the other begins, so that neither disturbs the other's start
    return { side, grown };
  };
  try {
    const { side: ours, grown } = await begin(many);
    const { side: theirs } = await begin(few);
    const answers = await alternate(ours, theirs, pairs);
    const same = [...answers.ours, ...answers.theirs].every(({ ids }) => sameIds(ids, answers.ours[0].ids));
    const rates = { tokensPerSecond: rateOf(answers.ours), theirTokensPerSecond: rateOf(answers.theirs) };
    return { results: { resident: many, few, ...rates, ...compared(answers.ours, answers.theirs), ...grown }, same };
  } finally {
    for (const side of sides) side.kill();
  }
}

function printMixing(results) {
  console.log("adapters  tokens/s  ratio to the next [95 %], requests with other tokens");
  for (const { adapters, tokensPerSecond, against, ...found } of results) {
    const next = against === undefined ? "" : `  ${shownRatio(found)} to ${against}; ${found.differ} requests differ`;
    console.log(`${String(adapters).padStart(8)}  ${tokensPerSecond.toFixed(1).padStart(8)}${next}`);
  }
}

function printResident(found) {
  const { resident: many, few, tokensPerSecond, theirTokensPerSecond, setSeconds, adapterBytes, grownBytes } = found;
  const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  console.log(
    `requests over ${few} adapters: ${tokensPerSecond.toFixed(1)} tokens/s with ${many} set, ` +
      `${theirTokensPerSecond.toFixed(1)} with ${few}; ratio ${shownRatio(found)}`,
  );
  console.log(
    `the other ${many - few} adapters: ${mib(adapterBytes)} by their bytes, ${mib(grownBytes)} by the process (ratio ` +
      `${(grownBytes / adapterBytes).toFixed(3)}); set in ${setSeconds.toFixed(1)} s`,
  );
}

const head = { ...describeRun(), ...size, shape: values.shape, dtype: values.dtype, pairs };
console.log(machineLine(head));
const { requests, tokensIn, tokensOut } = size;
console.log(`${requests} requests of ${tokensIn} tokens in, ${tokensOut} out, ${values.shape} ${values.dtype}`);
let found;
if (values.resident === undefined) {
  found = await withModel(shape, values.dtype, mixing);
  printMixing(found.results);
} else {
  const few = countOf("few", values.few);
  const many = countOf("resident", values.resident, few + 1);
  found = await withModelFolder(shape, values.dtype, (folder) => resident(folder, many, few));
  printResident(found.results);
}
console.log(`tokens ${found.same ? "equal" : "DIFFER"}`);
if (values.out) writeFileSync(values.out, `${JSON.stringify({ ...head, ...found }, null, 2)}\n`);
process.exit(found.same ? 0 : 1);

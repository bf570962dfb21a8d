/**
 * How long `engine.adapters.set` takes, alone and beside streams: p50 and p99 in milliseconds.
 *
 *     node bench/serve/sets.mjs [--shape 110m] [--dtype bfloat16] [--sets 200] [--streams 8] [--out FILE.json]
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "../js/folder.mjs";
import { describeRun, machineLine } from "../js/machine.mjs";
import { rubricate } from "../js/package.mjs";
import { writeRandomModel } from "../js/random_model.mjs";
import { shapes } from "../js/shapes.mjs";

const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "110m" },
    dtype: { type: "string", default: "bfloat16" },
    sets: { type: "string", default: "200" },
    streams: { type: "string", default: "8" },
    out: { type: "string" },
  },
});
const { Engine, LanguageModel, RedAdapter } = rubricate;

function summary(times) {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  return { p50Ms: at(0.5), p99Ms: at(0.99), mostMs: sorted.at(-1) };
}

/** Each set has other vectors, or the core would not copy them again. */
async function times(engine, adapter) {
  const [name, vector] = adapter.vectors().entries().next().value;
  const found = [];
  for (let at = 0; at < Number(values.sets); at++) {
    vector[0] = 1 + at / 1e4;
    adapter.setVectors(new Map([[name, vector]]));
    const started = performance.now();
    await engine.adapters.set("a", adapter);
    found.push(performance.now() - started);
  }
  return summary(found);
}

const results = await withTemporaryFolder(async (temporary) => {
  const folder = join(temporary, "model");
  writeRandomModel(folder, shapes[values.shape], { dtype: values.dtype });
  const model = await LanguageModel.fromPretrained(folder, { device: "cpu" });
  const engine = new Engine({ model });
  const adapter = RedAdapter.create(model);
  await engine.adapters.set("a", adapter);
  const alone = await times(engine, adapter);
  const stop = new AbortController();
  const stream = async (seed) => {
    const options = { tokenIds: [1, 2, 3], adapter: "a", temperature: 1, seed, maxNewTokens: 200, signal: stop.signal };
    while (!stop.signal.aborted) await engine.complete(options);
  };
  const streams = Array.from({ length: Number(values.streams) }, (_, seed) => stream(seed).catch(() => {}));
  const beside = await times(engine, adapter);
  stop.abort();
  await Promise.all(streams);
  await engine.close();
  model.dispose();
  return { adapterBytes: 4 * adapter.parameterCount, alone, beside };
});
const head = { ...describeRun(), ...values };
console.log(machineLine(head));
const shown = ({ p50Ms, p99Ms }) => `p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`;
console.log(
  `set of an adapter of ${results.adapterBytes} bytes: alone ${shown(results.alone)}; beside ${values.streams} streams ` +
    `${shown(results.beside)}`,
);
if (values.out) writeFileSync(values.out, `${JSON.stringify({ ...head, results }, null, 2)}\n`);

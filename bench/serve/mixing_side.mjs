/**
 * One side of `mixing.mjs --resident`: an engine with SET adapters; each "step" on stdin is requests over the first FEW of them.
 * Its first line says how much memory the adapters beyond those took.
 *
 *     node mixing_side.mjs MODEL SET FEW SIZES
 */
import { createInterface } from "node:readline";
import { setTimeout as pauseFor } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { rubricate } from "../js/package.mjs";
import { ask, engineFor } from "./requests.mjs";
import { setAdapters } from "./work.mjs";

const [folder, setText, fewText, sizes] = process.argv.slice(2);
const [set, few] = [Number(setText), Number(fewText)];
const { vocabulary, ...size } = JSON.parse(sizes);
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");

/** Resident bytes without garbage; that of native handles is freed by finalizers, after the collection. */
async function residentBytes() {
  for (let time = 0; time < 3; time++) {
    collect();
    await pauseFor(100);
  }
  return process.memoryUsage.rss();
}

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const model = await rubricate.LanguageModel.fromPretrained(folder, { device: "cpu" });
const engine = await engineFor(model, size, { maxAdapterBytes: 2 ** 40 });
await setAdapters(engine, model, few);
await ask(engine, vocabulary, size, few); // memory is taken, threads are started
const before = { resident: await residentBytes(), adapters: engine.stats().adapterBytes };
const begun = performance.now();
await setAdapters(engine, model, set, few);
const setSeconds = (performance.now() - begun) / 1e3;
const grownBytes = (await residentBytes()) - before.resident;
say({ ready: true, setSeconds, grownBytes, adapterBytes: engine.stats().adapterBytes - before.adapters });
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== "step") break;
  say(await ask(engine, vocabulary, size, few));
}
say({ ended: true });
process.exit(0);

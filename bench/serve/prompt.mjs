/**
 * How long streams wait for a token while an engine reads a long prompt, by the option `stepMs`.
 *
 *     node bench/serve/prompt.mjs [--prompt 2048] [--streams 8] [--step-ms 20,50,100] [--repeats 5] [--shape 110m]
 *         [--dtype bfloat16] [--out FILE.json]
 *
 * In each repeat streams begin, each with its own adapter; after a while a prompt with another adapter arrives. Prints gaps between
 * two tokens of one stream, as they reach JavaScript: the longest and the 99th percentile of those from the prompt's arrival to its first
 * token, and of those in an equally long time before; then how long the prompt took to its first token, and how long it took alone. All
 * are medians over the repeats. Each repeat has a new prompt, so nothing of it is in the cache; the same prompts come for each `stepMs`.
 * Weights are random. The exit status is 1 if tokens differ between repeats, or if a part of a prompt was found in the cache.
 */
import { writeFileSync } from "node:fs";
import { setTimeout as pauseFor } from "node:timers/promises";
import { parseArgs } from "node:util";
import { describeRun, machineLine } from "../js/machine.mjs";
import { rubricate } from "../js/package.mjs";
import { median } from "../js/pairs.mjs";
import { Streams, summary } from "./streams.mjs";
import { countOf, countsOf, promptOf, setAdapters, shapeOf, withModel } from "./work.mjs";

const { Engine } = rubricate;
const { values } = parseArgs({
  options: {
    prompt: { type: "string", default: "2048" },
    streams: { type: "string", default: "8" },
    "step-ms": { type: "string", default: "20,50,100" },
    repeats: { type: "string", default: "5" },
    shape: { type: "string", default: "110m" },
    dtype: { type: "string", default: "bfloat16" },
    out: { type: "string" },
  },
});
const promptTokens = countOf("prompt", values.prompt);
const count = countOf("streams", values.streams);
const repeats = countOf("repeats", values.repeats);
const everyStepMs = countsOf("step-ms", values["step-ms"]);
/** Of a stream; more than it makes in a repeat. */
const streamTokens = 16384;
/** Tokens of each stream before anything is measured. */
const settled = 8;
const shape = shapeOf(values.shape, promptTokens + streamTokens);

/** Reads a prompt to its first token. @param {number} seed another one gives another prompt */
async function readPrompt(engine, seed) {
  const tokenIds = promptOf(1000 + seed, promptTokens, shape.vocab_size);
  const arrived = performance.now();
  let first;
  const pieces = engine.generate({ tokenIds, adapter: `a${count}`, maxNewTokens: 1 });
  for (;;) {
    const { value, done } = await pieces.next();
    if (done) return { arrived, answered: first.at, tokenId: first.tokenId, cachedTokens: value.cachedTokens };
    first ??= { at: performance.now(), tokenId: value.tokenId };
  }
}

/** @param {number} beforeMs how long the streams are watched before the prompt arrives */
async function repeat(engine, seed, beforeMs) {
  const streams = new Streams(engine, shape.vocab_size, count, streamTokens);
  try {
    await streams.more(settled);
    const begun = performance.now();
    await pauseFor(beforeMs);
    const { arrived, answered, ...prompt } = await readPrompt(engine, seed);
    await streams.more(1);
    return {
      streams,
      ...prompt,
      before: summary(streams.gaps(begun, arrived)),
      during: summary(streams.gaps(arrived, performance.now(), answered)),
      firstTokenMs: answered - arrived,
    };
  } finally {
    await streams.end();
  }
}

async function measure(model, stepMs) {
  const engine = new Engine({ model, stepMs });
  await setAdapters(engine, model, count + 1);
  const { arrived, answered } = await readPrompt(engine, 0);
  const alone = answered - arrived;
  const found = [];
  for (let seed = 1; seed <= repeats; seed++)
    found.push(await repeat(engine, seed, found.at(-1)?.firstTokenMs ?? alone));
  await engine.close();
  const middle = (of) => median(found.map(of));
  return {
    stepMs,
    longestMs: middle(({ during }) => during.longestMs),
    p99Ms: middle(({ during }) => during.p99Ms),
    beforeLongestMs: middle(({ before }) => before.longestMs),
    beforeP99Ms: middle(({ before }) => before.p99Ms),
    beforeP50Ms: middle(({ before }) => before.p50Ms),
    longestRatio: middle(({ before, during }) => during.longestMs / before.longestMs),
    firstTokenMs: middle(({ firstTokenMs }) => firstTokenMs),
    aloneFirstTokenMs: alone,
    cachedTokens: found.reduce((sum, { cachedTokens }) => sum + cachedTokens, 0),
    repeats: found.map(({ streams: _, ...one }) => one),
    streams: found.map(({ streams }) => streams),
  };
}

function print(results) {
  console.log("         while the prompt is read   before it                  ratio of       prompt's first token");
  console.log("stepMs   longest ms   p99 ms        longest ms   p99 ms        the longest    beside, alone ms");
  for (const one of results) {
    const shown = (value, width) => value.toFixed(1).padEnd(width);
    console.log(
      `${String(one.stepMs).padEnd(9)}${shown(one.longestMs, 13)}${shown(one.p99Ms, 14)}${shown(one.beforeLongestMs, 13)}` +
        `${shown(one.beforeP99Ms, 14)}${one.longestRatio.toFixed(2).padEnd(15)}` +
        `${one.firstTokenMs.toFixed(0)}, ${one.aloneFirstTokenMs.toFixed(0)}`,
    );
  }
}

const head = { ...describeRun(), shape: values.shape, dtype: values.dtype, promptTokens, streamCount: count };
console.log(machineLine(head));
console.log(
  `${count} streams and a prompt of ${promptTokens} tokens, ${values.shape} ${values.dtype}, ${repeats} repeats`,
);
const measured = await withModel(shape, values.dtype, async (model) => {
  const found = [];
  for (const stepMs of everyStepMs) found.push(await measure(model, stepMs));
  return found;
});
const firsts = measured.map((one) => one.repeats.map(({ tokenId }) => tokenId).join());
const same = Streams.agree(measured.flatMap(({ streams }) => streams)) && firsts.every((ids) => ids === firsts[0]);
const cachedTokens = measured.reduce((sum, one) => sum + one.cachedTokens, 0);
const results = measured.map(({ streams: _, ...one }) => one);
print(results);
console.log(`tokens ${same ? "equal" : "DIFFER"}; tokens of prompts from the cache: ${cachedTokens}`);
if (values.out) writeFileSync(values.out, `${JSON.stringify({ ...head, same, results }, null, 2)}\n`);
process.exit(same && cachedTokens === 0 ? 0 : 1);

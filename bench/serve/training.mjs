/**
 * Training and serving on one model at once, by the option `trainingShare`: what each costs the other.
 *
 *     node bench/serve/training.mjs [--streams 4] [--shares 0.1,0.2,0.5] [--seconds 15] [--sequences 4] [--length 256]
 *         [--tokens 128] [--shape 110m] [--dtype bfloat16] [--out FILE.json]
 *
 * A Trainer trains a RED adapter, `sequences` times `length` tokens a step, while streams decode through an engine, each with its own
 * adapter; a stream asks again after so many `tokens`. Prints gaps between two tokens of one stream, as they reach JavaScript, the longest
 * wait from a request to its first token, and the tokens/s of streams and job; of each also without the other. A phase lasts `seconds`, and with
 * training until a step ends, so at least one step. Weights are random. The exit status is 1 if tokens or losses differ between phases.
 */
import { writeFileSync } from "node:fs";
import { setTimeout as pauseFor } from "node:timers/promises";
import { parseArgs } from "node:util";
import { describeRun, machineLine } from "../js/machine.mjs";
import { rubricate } from "../js/package.mjs";
import { Streams, summary } from "./streams.mjs";
import { agree, countOf, numbersOf, promptOf, setAdapters, shapeOf, withModel } from "./work.mjs";

const { Engine, RedAdapter, Trainer } = rubricate;
const { values } = parseArgs({
  options: {
    streams: { type: "string", default: "4" },
    shares: { type: "string", default: "0.1,0.2,0.5" },
    seconds: { type: "string", default: "15" },
    sequences: { type: "string", default: "4" },
    length: { type: "string", default: "256" },
    tokens: { type: "string", default: "128" },
    shape: { type: "string", default: "110m" },
    dtype: { type: "string", default: "bfloat16" },
    out: { type: "string" },
  },
});
const count = countOf("streams", values.streams);
const seconds = countOf("seconds", values.seconds);
const sequences = countOf("sequences", values.sequences);
const length = countOf("length", values.length, 2);
const streamTokens = countOf("tokens", values.tokens);
const shares = numbersOf("shares", values.shares);
const shape = shapeOf(values.shape, Math.max(length, streamTokens + 16));
const train = Array.from({ length: sequences }, (_, row) => ({
  tokenIds: promptOf(2000 + row, length, shape.vocab_size),
  supervised: new Uint8Array(length).fill(1, 1),
}));
/** Tokens of each stream before anything is measured. */
const settled = 8;

/** Trains a new adapter for `seconds`, and to the end of the step; from the start of a step, so that the rate is of whole steps. */
async function job(model) {
  const adapter = RedAdapter.create(model);
  const options = { train, batchSize: sequences, maxSteps: 1e6, schedule: "constant" };
  const losses = [];
  let begun;
  let ended;
  for await (const event of new Trainer({ model, adapter, ...options }).run()) {
    if (event.type === "start") begun = performance.now();
    if (event.type !== "step") continue;
    ended = performance.now();
    losses.push(event.loss);
    if (ended - begun >= 1000 * seconds) break;
  }
  adapter.dispose();
  const tokensPerSecond = (losses.length * sequences * length * 1000) / (ended - begun);
  return { begun, ended, losses, tokensPerSecond };
}

/** Streams while `work` runs; it gives the times of its begin and its end. */
async function withStreams(engine, work) {
  const streams = new Streams(engine, shape.vocab_size, count, streamTokens);
  try {
    await streams.more(settled);
    const { begun, ended, ...found } = await work();
    const gaps = summary(streams.gaps(begun, ended));
    const longestFirstTokenMs = summary(streams.firstTokens(begun, ended)).longestMs ?? null;
    const tokensPerSecond = (1000 * streams.tokens(begun, ended)) / (ended - begun);
    return { streams, job: found, served: { ...gaps, longestFirstTokenMs, tokensPerSecond } };
  } finally {
    await streams.end();
  }
}

async function wait() {
  const begun = performance.now();
  await pauseFor(1000 * seconds);
  return { begun, ended: performance.now() };
}

async function measure(model, trainingShare) {
  const engine = new Engine({ model, trainingShare });
  await setAdapters(engine, model, count);
  const alone = await withStreams(engine, wait);
  const beside = await withStreams(engine, () => job(model));
  await engine.close();
  return { trainingShare, alone, beside };
}

function print(results, jobAlone) {
  console.log(
    "share  job   gaps of streams, ms: p50, p99, longest  first token, ms  streams' tokens/s  job's tokens/s",
  );
  const line = (share, name, { served, job }) => {
    const gaps = [served.p50Ms, served.p99Ms, served.longestMs].map((ms) => ms.toFixed(1)).join(", ");
    const first = served.longestFirstTokenMs?.toFixed(0) ?? "";
    console.log(
      `${String(share).padEnd(7)}${name.padEnd(6)}${gaps.padEnd(41)}${first.padEnd(17)}` +
        `${served.tokensPerSecond.toFixed(1).padEnd(19)}${job.tokensPerSecond?.toFixed(1) ?? ""}`,
    );
  };
  for (const { trainingShare, alone, beside } of results) {
    line(trainingShare, "no", alone);
    line(trainingShare, "yes", beside);
  }
  console.log(`the job without streams: ${jobAlone.tokensPerSecond.toFixed(1)} tokens/s`);
  for (const { trainingShare, alone, beside } of results) {
    const streams = beside.served.tokensPerSecond / alone.served.tokensPerSecond;
    const job = beside.job.tokensPerSecond / jobAlone.tokensPerSecond;
    console.log(
      `share ${trainingShare}: streams keep ${streams.toFixed(3)} of their tokens/s, the job ${job.toFixed(3)} ` +
        `(${beside.job.losses.length} steps)`,
    );
  }
}

const head = { ...describeRun(), ...values };
console.log(machineLine(head));
console.log(`${count} streams, and steps of ${sequences} x ${length} tokens, ${values.shape} ${values.dtype}`);
const { measured, jobAlone } = await withModel(shape, values.dtype, async (model) => {
  const { begun: _, ended: __, ...jobAlone } = await job(model);
  const measured = [];
  for (const share of shares) measured.push(await measure(model, share));
  return { measured, jobAlone };
});
const phases = measured.flatMap(({ alone, beside }) => [alone, beside]);
const sameTokens = Streams.agree(phases.map(({ streams }) => streams));
const sameLosses = measured.every(({ beside }) => agree(beside.job.losses, jobAlone.losses));
const results = measured.map(({ trainingShare, alone, beside }) => ({
  trainingShare,
  alone: { served: alone.served },
  beside: { served: beside.served, job: beside.job },
}));
print(measured, jobAlone);
console.log(
  `tokens ${sameTokens ? "equal" : "DIFFER"}; losses ${sameLosses ? "equal" : "DIFFER"}, the first ${jobAlone.losses[0].toFixed(6)}`,
);
if (values.out)
  writeFileSync(values.out, `${JSON.stringify({ ...head, sameTokens, sameLosses, jobAlone, results }, null, 2)}\n`);
process.exit(sameTokens && sameLosses ? 0 : 1);

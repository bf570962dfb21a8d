/**
 * What an engine costs the thread that runs JavaScript: its processor time for each token at 64 streams, and how late its timers
 * fire beside 200 streams whose prompts are long texts.
 *
 *     node bench/serve/javascript.mjs [--shape tiny,15m] [--dtype bfloat16] [--streams 64] [--seconds 10] [--late-streams 200]
 *         [--characters 4000] [--filter tokens|lateness] [--out FILE.json]
 *
 * The processor time is that of the main thread alone: `process.cpuUsage` counts all threads, also those that run the model.
 * Linux has it in /proc/self/task/TID/schedstat, whose first number is nanoseconds on a processor, in user code and in the kernel
 * (the main thread's TID is the process's). It has the JavaScript, the addon's calls into it, and the main thread's share of
 * garbage collection; not the model's steps, and not time in which the thread was ready but others ran. Weights are random, the
 * tokenizer is the package's. With the shape "tiny" JavaScript takes most of the time. For the lateness the models have a context
 * of 4,096 positions, so that the prompts fit; the timer is that of bench/js/lateness.mjs, of one millisecond.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "../js/folder.mjs";
import { latenessBeside } from "../js/lateness.mjs";
import { describeRun, machineLine } from "../js/machine.mjs";
import { rubricate } from "../js/package.mjs";
import { writeRandomModel } from "../js/random_model.mjs";
import { countOf, numbersOf, shapeOf } from "./work.mjs";

const { Engine, LanguageModel, embeddedModelDir } = rubricate;
const vocabulary = 2048; // of the tokenizer
const newTokens = 128;

const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "tiny,15m" },
    dtype: { type: "string", default: "bfloat16" },
    streams: { type: "string", default: "64" },
    seconds: { type: "string", default: "10" },
    "late-streams": { type: "string", default: "200" },
    characters: { type: "string", default: "4000" },
    filter: { type: "string", default: "" },
    out: { type: "string" },
  },
});
if (process.platform !== "linux") {
  console.error(`Expected Linux, for the time of one thread, but this is ${process.platform}`);
  process.exit(2);
}
const wanted = values.shape.split(",");
for (const shape of wanted) shapeOf(shape);
const tokenStreams = countOf("streams", values.streams);
const lateStreams = countOf("late-streams", values["late-streams"]);
const characters = countOf("characters", values.characters);
const [seconds] = numbersOf("seconds", values.seconds);

/** Microseconds that the main thread has run. */
const mainThreadUs = () => Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ")[0]) / 1e3;

/** Does something with an engine of a model of random weights. */
async function withEngine(shape, config, options, work) {
  return withTemporaryFolder(async (temporary) => {
    const folder = join(temporary, "model");
    const full = { ...shapeOf(shape), vocab_size: vocabulary, tie_word_embeddings: false, ...config };
    writeRandomModel(folder, full, { dtype: values.dtype, tokenizer: embeddedModelDir() });
    const model = await LanguageModel.fromPretrained(folder, { device: "cpu" });
    const engine = new Engine({ model, ...options });
    try {
      return await work(engine);
    } finally {
      await engine.close();
      model.dispose();
    }
  });
}

/** Ways to read an answer. @type {Record<string, (engine: object, request: object) => Promise<number>>} each gives the tokens */
const readers = {
  async generate(engine, request) {
    let tokens = 0;
    for await (const _ of engine.generate(request)) tokens++;
    return tokens;
  },
  complete: async (engine, request) => (await engine.complete(request)).tokenIds.length,
  "complete with 5 log-probabilities": async (engine, request) =>
    (await engine.complete({ ...request, logProbabilities: true, topLogProbabilities: 5 })).tokenIds.length,
};

async function perToken(engine, reader, streams) {
  const stream = async (seed, end) => {
    let tokens = 0;
    for (let round = 0; round === 0 || performance.now() < end; round++) {
      const tokenIds = [100 + seed, 200 + round];
      tokens += await readers[reader](engine, { tokenIds, temperature: 1, seed, maxNewTokens: newTokens });
    }
    return tokens;
  };
  const all = (end) => Promise.all(Array.from({ length: streams }, (_, seed) => stream(seed, end)));
  await all(0); // compiles the code
  const [begun, us, loop] = [performance.now(), mainThreadUs(), performance.eventLoopUtilization()];
  const tokens = (await all(begun + 1e3 * seconds)).reduce((sum, one) => sum + one, 0);
  const wallSeconds = (performance.now() - begun) / 1e3;
  return {
    tokens,
    mainThreadUsPerToken: (mainThreadUs() - us) / tokens,
    tokensPerSecond: tokens / wallSeconds,
    eventLoopUtilization: performance.eventLoopUtilization(loop).utilization,
  };
}

async function measureTokens(shape) {
  const streams = tokenStreams;
  return withEngine(shape, {}, { maxSequences: streams }, async (engine) => {
    const found = [];
    for (const reader of Object.keys(readers)) {
      const one = { shape, reader, streams, ...(await perToken(engine, reader, streams)) };
      const { mainThreadUsPerToken, tokensPerSecond, eventLoopUtilization } = one;
      console.log(
        `${shape}, ${streams} streams, ${reader}: ${mainThreadUsPerToken.toFixed(2)} us of the main thread for a token, ` +
          `${tokensPerSecond.toFixed(0)} tokens/s, event loop busy ${(100 * eventLoopUtilization).toFixed(0)} %`,
      );
      found.push(one);
    }
    return found;
  });
}

/** A text of that many characters, another one for each number. */
function textOf(number) {
  const words = ["river", "went", "home", "a", "girl", "and", "small", "told", "of", "winter"];
  let text = `${number}`;
  for (let at = number; text.length < characters; at++) text += ` ${words[(at * at + number) % words.length]}`;
  return text.slice(0, characters);
}

async function measureLateness(shape) {
  const streams = lateStreams;
  return withEngine(shape, { max_position_embeddings: 4096 }, { maxSequences: streams }, async (engine) => {
    let prompts = 0;
    const work = async () => {
      const stream = () =>
        readers.generate(engine, { prompt: textOf(prompts++), temperature: 1, seed: 1, maxNewTokens: 32 });
      await Promise.all(Array.from({ length: streams }, stream));
    };
    await readers.generate(engine, { prompt: textOf(prompts++), maxNewTokens: 2 });
    const lateMs = await latenessBeside(work, seconds);
    const promptTokens = engine.stats().promptTokens / prompts;
    console.log(
      `${shape}, ${streams} streams of ${characters} characters (${promptTokens.toFixed(0)} tokens computed for each): timers late by p50 ${lateMs.p50} ms, ` +
        `p99 ${lateMs.p99} ms, p99.9 ${lateMs["p99.9"]} ms, at most ${lateMs.max} ms`,
    );
    return { shape, streams, characters, promptTokens, lateMs };
  });
}

const head = { ...describeRun(), ...values };
console.log(machineLine(head));
const results = { tokens: [], lateness: [] };
for (const shape of wanted) {
  if ("tokens".includes(values.filter)) results.tokens.push(...(await measureTokens(shape)));
  if ("lateness".includes(values.filter)) results.lateness.push(await measureLateness(shape));
}
if (values.out !== undefined) {
  mkdirSync(dirname(resolve(values.out)), { recursive: true });
  writeFileSync(values.out, `${JSON.stringify({ ...head, results }, null, 2)}\n`);
}

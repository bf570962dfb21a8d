#!/usr/bin/env node
/**
 * Random requests through one Engine at once, compared with the same requests alone:
 *
 *   node test/runtime/engine_requests.mjs [COUNT = 1000] [SHAPE = 15m] [seed]
 *
 * 100 adapters; room for keys and values of a tenth of what the requests would take together; the first third of them is admitted
 * and then outgrows it. Text, ids, what ended it and log-probabilities must be equal bit for bit, and what was aborted must be a
 * beginning. Equal requests are computed alone once.
 */
import { rubricate } from "../../bench/js/package.mjs";
import { outgrowing, prefixes, randomRequest } from "./engine_requests_random.mjs";
import {
  adapterOf,
  countOf,
  Difference,
  everyPageBack,
  exitWith,
  firstDifference,
  randomFrom,
  withRandomModel,
} from "./engine_runs.mjs";

const { Engine } = rubricate;
const adapterCount = 100;

const [count = "1000", shape = "15m", seed = String(Date.now() % 100000)] = process.argv.slice(2);

/** What must be equal. Scores have no text. */
const answerOf = ({ text, tokenIds, finishReason, logProbabilities, sum, promptTokens }) => ({
  text,
  tokenIds,
  finishReason,
  logProbabilities,
  sum,
  promptTokens,
});

/** Reads a generation, and ends it by its signal after some tokens. @returns its pieces, and its result unless it was ended */
async function readUntil(generate, options, abortAfter) {
  const controller = new AbortController();
  const pieces = generate({ ...options, signal: controller.signal });
  const read = [];
  if (abortAfter < 0) setTimeout(() => controller.abort(), -abortAfter);
  try {
    for (;;) {
      if (abortAfter === read.length) controller.abort();
      const { done, value } = await pieces.next();
      if (done) return { read, result: value };
      read.push(value);
    }
  } catch (error) {
    if (error.code === "ERR_ABORTED") return { read };
    throw error;
  }
}

/** How a request is asked, with an adapter's name in the engine under test, or with a RedAdapter. */
function ask({ engine, model, adapters }, { kind, adapter, tenant, options, abortAfter }, named) {
  const given = adapter < 0 ? null : named && kind !== "model" ? `a${adapter}` : adapters[adapter];
  const full = { ...options, adapter: given };
  if (kind === "score") return engine.score({ ...full, tenant });
  if (kind === "model") return model.complete(full);
  if (named && abortAfter !== undefined)
    return readUntil((own) => engine.generate({ ...own, tenant }), full, abortAfter);
  return engine.complete({ ...full, tenant });
}

/** Where what was read before an abort is no beginning of the whole answer. */
function aborted({ read, result }, alone) {
  if (result) return firstDifference(answerOf(result), alone);
  const { text, tokenIds, logProbabilities } = alone;
  const readText = read.map((piece) => piece.text).join("");
  if (!text.startsWith(readText)) return `text: ${JSON.stringify(readText)} does not begin ${JSON.stringify(text)}`;
  // A last piece of held-back text repeats the last token, and what ended the text is in no answer.
  const shared = Math.min(read.length, tokenIds.length);
  for (let at = 0; at < shared; at++) {
    const { text: _, ...token } = read[at];
    const wanted = logProbabilities ? logProbabilities[at] : { tokenId: tokenIds[at] };
    const difference = firstDifference(token, wanted, `token ${at}`);
    if (difference) return difference;
  }
  return undefined;
}

/** @returns bytes for a tenth of what the requests would take, at least for the largest */
async function tenth(model, requests) {
  const engine = new Engine({ model });
  const { pageBytes } = engine.stats();
  await engine.close();
  const pages = requests.map(({ positions }) => Math.ceil(Math.min(positions, model.contextLength) / 64));
  const all = pages.reduce((sum, one) => sum + one, 0);
  return pageBytes * Math.max(Math.ceil(all / 10), ...pages);
}

async function together(model, requests) {
  const adapters = Array.from({ length: adapterCount }, (_, at) => adapterOf(model, at));
  // Only the memory bounds how many share a step: so that there is too little of it.
  const engine = new Engine({ model, cacheBytes: await tenth(model, requests), maxSequences: requests.length });
  for (const [at, adapter] of adapters.entries()) await engine.adapters.set(`a${at}`, adapter);
  const answers = await Promise.all(requests.map((request) => ask({ engine, model, adapters }, request, true)));
  await everyPageBack(engine);
  const stats = engine.stats();
  await engine.close();
  return { answers, stats };
}

async function compare(model, requests, answers) {
  const adapters = Array.from({ length: adapterCount }, (_, at) => adapterOf(model, at));
  const engine = new Engine({ model, prefixCache: false });
  const known = new Map();
  for (const [at, request] of requests.entries()) {
    const { kind, adapter, options, abortAfter } = request;
    const key = JSON.stringify([kind === "score", adapter, options]);
    if (!known.has(key)) known.set(key, answerOf(await ask({ engine, model, adapters }, request, false)));
    const alone = known.get(key);
    const cut = kind === "generate" && abortAfter !== undefined;
    const difference = cut ? aborted(answers[at], alone) : firstDifference(answerOf(answers[at]), alone);
    if (difference)
      throw new Difference(`request ${at} differs from the same alone: ${difference}\n${JSON.stringify(request)}`);
  }
  await engine.close();
  return known.size;
}

async function main() {
  const total = countOf(count);
  console.log(`seed ${seed}`);
  const random = randomFrom(Number(seed));
  const endIds = Array.from({ length: 3 }, (_, at) => 400 + 500 * at);
  await withRandomModel(shape, { eos_token_id: endIds }, async (load) => {
    const model = await load();
    const own = prefixes(random, model.contextLength);
    const requests = [];
    for (let at = 0; at < total; at++) {
      const again = at > 0 && random(10) === 0;
      const make = 3 * at < total ? outgrowing : randomRequest;
      requests.push(again ? requests[random(at)] : make(random, own, adapterCount));
    }
    const begun = performance.now();
    const { answers, stats } = await together(model, requests);
    const { putOut, cachedTokens, generatedTokens, steps, pages } = stats;
    const ended = answers.filter((answer) => answer.read && !answer.result).length;
    const seconds = ((performance.now() - begun) / 1e3).toFixed(1);
    console.log(
      `${total} requests in ${seconds} s, ${pages} pages: ` +
        JSON.stringify({ preemptions: putOut, prefixTokens: cachedTokens, generatedTokens, steps, aborted: ended }),
    );
    const alone = await compare(await load(), requests, answers);
    if (putOut === 0 || cachedTokens === 0 || ended === 0)
      throw new Difference("Expected preemptions, tokens of prefixes and aborted requests above zero");
    console.log(`all answers are those of the ${alone} different requests alone`);
  });
}

await exitWith(main);

/** The random requests of engine_requests.mjs. */
import { vocabulary } from "./engine_runs.mjs";

const words = "the of girl went home and slept when 7 rivers, cold; «été» told no one. 東京 was 🙂 far away".split(" ");
const stops = ["a", "er", " t", "ing", "zzzz"];

const pick = (random, list) => list[random(list.length)];
const idsOf = (random, length) => Array.from({ length }, () => 100 + random(vocabulary - 100));
const textOf = (random, length) => Array.from({ length }, () => pick(random, words)).join(" ");

/** Beginnings that prompts share. */
export function prefixes(random, context) {
  const lengths = [0.3, 0.5, 0.6].map((share) => Math.floor(share * Math.min(context, 512)));
  return Array.from({ length: 6 }, (_, at) => idsOf(random, lengths[at % lengths.length]));
}

function prompt(random, shared, adapter) {
  if (random(3) === 0) {
    const length = 1 + random(20);
    return { options: { prompt: textOf(random, length) }, most: 8 * length };
  }
  const beginning = random(3) ? shared[(adapter + 1) % shared.length] : [];
  const tokenIds = [...beginning, ...idsOf(random, 1 + random(20))];
  return { options: { tokenIds }, most: tokenIds.length };
}

function sampling(random) {
  if (random(3) === 0) return {};
  const options = { temperature: (1 + random(15)) / 10, seed: random(1e9) };
  if (random(3) === 0) options.topK = 1 + random(100);
  if (random(3) === 0) options.topP = (50 + random(50)) / 100;
  if (random(4) === 0) options.minP = random(10) / 100;
  return options;
}

function penalties(random) {
  const options = {};
  if (random(4) === 0) options.repetitionPenalty = 1 + random(10) / 10;
  if (random(4) === 0) options.frequencyPenalty = random(20) / 10;
  if (random(4) === 0) options.presencePenalty = (random(40) - 20) / 10;
  if (random(4) === 0)
    options.logitBias = Object.fromEntries(idsOf(random, 1 + random(30)).map((id) => [id, (random(200) - 100) / 20]));
  return options;
}

function outputs(random) {
  const options = {};
  if (random(2) === 0) Object.assign(options, { logProbabilities: true, topLogProbabilities: random(6) });
  if (random(4) === 0) options.stop = random(2) ? pick(random, stops) : stops.slice(random(stops.length));
  if (random(8) === 0) options.skipSpecialTokens = false;
  return options;
}

/**
 * A request whose prompt takes a page of 64 positions but for a few, and whose answer takes several: if only such are admitted,
 * they soon need more pages than there are.
 */
export function outgrowing(random, shared, adapters) {
  for (;;) {
    const request = randomRequest(random, shared, adapters);
    if (request.kind === "score" || request.abortAfter !== undefined) continue;
    const { prompt: _, ...options } = request.options;
    Object.assign(options, { tokenIds: idsOf(random, 48 + random(16)), maxNewTokens: 80 + random(100) });
    return { ...request, options, positions: 63 + options.maxNewTokens };
  }
}

/**
 * @param {number} adapters how many there are; the first are chosen most often, so that prefixes are found
 * @returns {{kind: "generate" | "score" | "model", adapter: number, tenant?: string, options: object, abortAfter?: number,
 * positions: number}} adapter: -1 is the base. abortAfter: tokens before its signal fires; minus the milliseconds if it is
 * negative. positions: of keys and values, at most
 */
export function randomRequest(random, shared, adapters) {
  const kind = pick(random, ["generate", "generate", "generate", "generate", "score", "model"]);
  const adapter = random(8) === 0 ? -1 : Math.floor((random(1000) / 1000) ** 4 * adapters);
  const { options: asked, most } = prompt(random, shared, adapter);
  const tenant = random(4) === 0 ? `tenant ${random(3)}` : undefined;
  if (kind === "score") {
    const text = "prompt" in asked && random(2) === 0;
    const continuation = text ? ` ${textOf(random, 1 + random(8))}` : idsOf(random, 1 + random(30));
    const options = { ...asked, continuation, ...(random(2) && { topLogProbabilities: random(21) }) };
    return { kind, adapter, tenant, options, positions: most + 70 };
  }
  const maxNewTokens = 1 + random(random(3) ? 60 : 200);
  const options = { ...asked, maxNewTokens, ...sampling(random), ...penalties(random), ...outputs(random) };
  const request = { kind, adapter, tenant, options, positions: most + maxNewTokens };
  if (kind === "generate" && random(5) === 0) request.abortAfter = random(2) ? random(20) : -1 - random(300);
  return request;
}

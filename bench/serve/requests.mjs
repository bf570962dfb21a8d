/** The requests of mixing.mjs and of its sides: all at once through one Engine, over some of its adapters. */
import { rubricate } from "../js/package.mjs";
import { promptOf } from "./work.mjs";

const { Engine } = rubricate;
const pagePositions = 64;

/** An engine in which all requests run at once. Prefixes are not reused, so that the same requests are the same work again. */
export async function engineFor(model, { requests, tokensIn, tokensOut }, more = {}) {
  const probe = new Engine({ model });
  const { pageBytes } = probe.stats();
  await probe.close();
  const cacheBytes = requests * Math.ceil((tokensIn + tokensOut) / pagePositions) * pageBytes;
  return new Engine({ model, cacheBytes, maxSequences: requests, maxQueue: requests, prefixCache: false, ...more });
}

/**
 * @param {number} over how many adapters the requests name, in turn; 0: none
 * @returns tokens/s of generated tokens, and the ids of each request
 */
export async function ask(engine, vocabulary, { requests, tokensIn, tokensOut }, over) {
  const all = Array.from({ length: requests }, (_, at) => ({
    tokenIds: promptOf(at, tokensIn, vocabulary),
    adapter: over === 0 ? null : `a${at % over}`,
    maxNewTokens: tokensOut,
  }));
  const started = performance.now();
  const answers = await Promise.all(all.map((options) => engine.complete(options)));
  const seconds = (performance.now() - started) / 1e3;
  const ids = answers.map(({ tokenIds }) => [...tokenIds]);
  return { seconds, tokensPerSecond: ids.flat().length / seconds, ids };
}

/** Streams that decode through an engine, each with its own adapter, and the times at which their tokens reach JavaScript. */
import { setTimeout as pauseFor } from "node:timers/promises";
import { agree, promptOf } from "./work.mjs";

const promptTokens = 16;

/** Percentiles and the largest of some times, in milliseconds. */
export function summary(times) {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  return { count: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), longestMs: sorted.at(-1) };
}

export class Streams {
  /** Of each stream its generations: when each was asked for, the ids of its tokens, and when each of them came. */
  #generations;
  #stop = new AbortController();
  #readers;
  #failure;

  /**
   * Begins to read. A stream that has all tokens of a generation asks for the same again.
   * @param {number} count stream i uses the adapter ai
   * @param {number} tokens of a generation; the first of stream i has fewer, so that they do not all end at once
   */
  constructor(engine, vocabulary, count, tokens) {
    const read = async (stream) => {
      for (let turn = 0; ; turn++) {
        const generation = { asked: performance.now(), ids: [], times: [] };
        this.#generations[stream].push(generation);
        const pieces = engine.generate({
          tokenIds: promptOf(stream, promptTokens, vocabulary),
          adapter: `a${stream}`,
          maxNewTokens: turn === 0 ? Math.ceil((tokens * (stream + 1)) / count) : tokens,
          signal: this.#stop.signal,
        });
        for await (const { tokenId } of pieces) {
          generation.times.push(performance.now());
          generation.ids.push(tokenId);
        }
      }
    };
    this.#generations = Array.from({ length: count }, () => []);
    const watched = (reading) =>
      reading.catch((error) => {
        if (!this.#stop.signal.aborted) this.#failure ??= error;
      });
    this.#readers = this.#generations.map((_, stream) => watched(read(stream)));
  }

  /** Waits until each stream has so many more tokens. */
  async more(tokens) {
    const had = this.#counts();
    while (this.#counts().some((count, stream) => count < had[stream] + tokens)) {
      if (this.#failure) throw this.#failure;
      await pauseFor(2);
    }
  }

  #counts() {
    return this.#generations.map((all) => all.reduce((sum, { ids }) => sum + ids.length, 0));
  }

  /** Ends all generations. @throws what one of them failed with */
  async end() {
    this.#stop.abort();
    await Promise.all(this.#readers);
    if (this.#failure) throw this.#failure;
  }

  /** Milliseconds between two tokens of one generation, of the gaps that ended in a span of time and began before `begunBefore`. */
  gaps(from, to, begunBefore = to) {
    const inside = (begun, ended) => ended > from && ended <= to && begun < begunBefore;
    return this.#generations
      .flat()
      .flatMap(({ times }) =>
        times.slice(1).flatMap((time, at) => (inside(times[at], time) ? [time - times[at]] : [])),
      );
  }

  /** Milliseconds from the request of a generation to its first token, of those that came in a span of time. */
  firstTokens(from, to) {
    return this.#generations
      .flat()
      .flatMap(({ asked, times: [first] }) => (first > from && first <= to ? [first - asked] : []));
  }

  /** Tokens that came in a span of time. */
  tokens(from, to) {
    const times = this.#generations.flat().flatMap((generation) => generation.times);
    return times.filter((time) => time > from && time <= to).length;
  }

  /** Of each stream, the ids of its longest generation. */
  longest() {
    return this.#generations.map((all) => all.reduce((most, { ids }) => (ids.length > most.length ? ids : most), []));
  }

  /** Whether all generations of these and of other streams have the same ids, as far as each of them goes. */
  static agree(all) {
    const references = all[0]
      .longest()
      .map((_, stream) =>
        all.map((one) => one.longest()[stream]).reduce((most, ids) => (ids.length > most.length ? ids : most)),
      );
    return all.every((one) =>
      references.every((ids, stream) => one.#generations[stream].every((generation) => agree(generation.ids, ids))),
    );
  }
}

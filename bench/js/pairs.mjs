/** Two processes that alternate with the same work, and the statistics of their times. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/**
 * A process that does one piece of work for each line it reads, and answers with lines of JSON: first `{ready, ...}`, then one for
 * each "step", and a last one after "end".
 */
export class Side {
  #child;
  #lines;
  #errors = "";

  /** @param {string} command @param {string[]} args @param {Record<string, string>} environment */
  constructor(command, args, environment = {}) {
    this.#child = spawn(command, args, { env: { ...process.env, ...environment }, stdio: ["pipe", "pipe", "pipe"] });
    this.#child.on("error", (error) => {
      this.#errors += error.message;
    });
    this.#child.stdin.on("error", () => {}); // #answer reports a side that died
    this.#child.stderr.on("data", (data) => {
      this.#errors = (this.#errors + data).slice(-4000);
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async #answer() {
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error(`a side ended early: ${this.#errors}`);
      if (value.startsWith("{")) return JSON.parse(value);
    }
  }

  /** Waits until the side is ready. @returns {Promise<object>} its description */
  ready() {
    return this.#answer();
  }

  /** @param {number} [limit] seconds, after which the side is killed @returns {Promise<object>} the answer to one piece of work */
  async step(limit) {
    this.#child.stdin.write("step\n");
    const timer = limit === undefined ? undefined : setTimeout(() => this.kill(), limit * 1e3);
    try {
      return await this.#answer();
    } finally {
      clearTimeout(timer);
    }
  }

  /** @returns {Promise<object>} the last answer, such as the peak of memory */
  async end() {
    this.#child.stdin.end("end\n");
    return this.#answer();
  }

  kill() {
    this.#child.kill("SIGKILL");
  }
}

/** @returns {number} */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * A confidence interval (at least 95 %) of the median for any distribution: from the k-th smallest to the k-th largest value, k by
 * the binomial distribution.
 *
 * @param {number[]} values at least 6; with fewer there is no such interval
 * @returns {[number, number]}
 */
export function medianInterval(values) {
  const n = values.length;
  if (n < 6) throw new Error(`Expected at least 6 values but received ${n}`);
  const sorted = [...values].sort((a, b) => a - b);
  let probability = 0.5 ** n; // of fewer than k values below the median
  let term = probability;
  let k = 1;
  for (; k < n / 2; k++) {
    term *= (n - k + 1) / k;
    if (probability + term > 0.025) break;
    probability += term;
  }
  return [sorted[k - 1], sorted[n - k]];
}

/** Time for the other side's threads to fall asleep. */
const rest = 100;

/**
 * Both sides do a piece of work in turn; the side that begins alternates.
 *
 * @param {Side} ours @param {Side} theirs @param {number} pairs @returns {Promise<{ours: object[], theirs: object[]}>} answers
 */
export async function alternate(ours, theirs, pairs) {
  const answers = { ours: [], theirs: [] };
  for (let pair = 0; pair < pairs; pair++) {
    const order = pair % 2 ? ["theirs", "ours"] : ["ours", "theirs"];
    for (const name of order) {
      await new Promise((resolve) => setTimeout(resolve, rest));
      answers[name].push(await (name === "ours" ? ours : theirs).step());
    }
  }
  return answers;
}

/** How late a timer of this process's event loop fires: the delay that a server in this process would have. */

function quantile(sorted, share) {
  return sorted.length === 0 ? Number.NaN : sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}

/**
 * Runs work with a timer of one millisecond, set again when it fires, until the work is done and at least
 * `leastSeconds` have passed (work that ends earlier is repeated).
 * @param {() => Promise<void>} work
 * @returns milliseconds by which the timer was late: percentiles and maximum; samples; runs of the work; seconds
 */
export async function latenessBeside(work, leastSeconds) {
  const late = [];
  let timer;
  let due;
  const set = () => {
    due = performance.now() + 1;
    timer = setTimeout(fired, 1);
  };
  const fired = () => {
    late.push(Math.max(0, performance.now() - due));
    set();
  };
  const start = performance.now();
  const passed = () => (performance.now() - start) / 1e3;
  set();
  let runs = 0;
  try {
    do {
      await work();
      runs++;
    } while (passed() < leastSeconds);
    late.push(Math.max(0, performance.now() - due)); // the work may have delayed the last one
  } finally {
    clearTimeout(timer);
  }
  const seconds = passed();
  late.sort((a, b) => a - b);
  const round = (ms) => Number(ms.toFixed(3));
  return {
    p50: round(quantile(late, 0.5)),
    p99: round(quantile(late, 0.99)),
    "p99.9": round(quantile(late, 0.999)),
    max: round(late.at(-1)),
    samples: late.length,
    runs,
    seconds: round(seconds),
  };
}

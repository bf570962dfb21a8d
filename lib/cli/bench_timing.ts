/** Times a case, and describes the times. */
import type { BenchCase, Started } from "./bench_cases";
import type { Peaks } from "./bench_machine";

/** How often and how long a case runs at least. */
export interface Effort {
  readonly runs: number;
  readonly seconds: number;
}

export const thorough: Effort = { runs: 5, seconds: 0.5 };
export const quick: Effort = { runs: 2, seconds: 0 };

export interface BenchResult {
  /** "GROUP: NAME" of the case. */
  readonly name: string;
  readonly runs: number;
  /** Calls in each run. */
  readonly calls: number;
  /** Milliseconds of a call, of the fastest and of the median run. */
  readonly bestMs: number;
  readonly medianMs: number;
  /** How much the runs differ: the interquartile range of their times, as a share of the median. */
  readonly spread: number;
  /** Rate of the fastest run in `unit`. */
  readonly rate: number;
  readonly unit: string;
  /** Share of the machine's peak, from the same run; null where the case has none. */
  readonly peakShare: number | null;
}

/** A quantile of sorted values, of which there is at least one, interpolated. */
function quantile(sorted: readonly number[], share: number): number {
  const place = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!];
  return below + (place - Math.floor(place)) * (above - below);
}

/** The result of a case from the milliseconds of its runs. */
export function resultOf(one: Omit<BenchCase, "start">, milliseconds: readonly number[], peaks: Peaks): BenchResult {
  const { group, name, work, unit, calls = 1, peak } = one;
  const times = [...milliseconds].sort((a, b) => a - b);
  const [best, median] = [times[0]!, quantile(times, 0.5)];
  const rate = work / (best / 1e3);
  return {
    name: `${group}: ${name}`,
    runs: times.length,
    calls,
    bestMs: best / calls,
    medianMs: median / calls,
    spread: (quantile(times, 0.75) - quantile(times, 0.25)) / median,
    rate,
    unit,
    peakShare: peak === undefined ? null : (rate * 1e9) / peaks[peak],
  };
}

/** @returns undefined if the signal fired */
export async function timeCase(
  one: Omit<BenchCase, "start"> & { start(): Started | Promise<Started> },
  effort: Effort,
  peaks: Peaks,
  signal: AbortSignal,
): Promise<BenchResult | undefined> {
  const { run, end } = await one.start();
  const times: number[] = [];
  try {
    await run(); // warm-up
    for (let total = 0; times.length < effort.runs || total < effort.seconds * 1e3; ) {
      if (signal.aborted) return undefined;
      const before = process.hrtime.bigint();
      await run();
      const ms = Number(process.hrtime.bigint() - before) / 1e6;
      times.push(ms);
      total += ms;
    }
  } finally {
    end();
  }
  return resultOf(one, times, peaks);
}

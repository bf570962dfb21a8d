import { readText } from "../files/read";
import { limits } from "../limits";

/** Speed of a run, smoothed: recent steps have more weight. */
export class Meter {
  private readonly memory = 0.9;
  private weight = 0;
  private tokens = 0;
  private seconds = 0;
  private totalTokens = 0;
  private totalSeconds = 0;

  /** Adds a step. */
  add(tokens: number, seconds: number): void {
    this.weight = this.weight * this.memory + 1;
    this.tokens = this.tokens * this.memory + tokens;
    this.seconds = this.seconds * this.memory + seconds;
    this.totalTokens += tokens;
    this.totalSeconds += seconds;
  }

  /** Tokens per second of the last steps. */
  get tokensPerSecond(): number {
    return this.seconds > 0 ? this.tokens / this.seconds : 0;
  }

  /** Tokens per second of all steps. */
  get overallTokensPerSecond(): number {
    return this.totalSeconds > 0 ? this.totalTokens / this.totalSeconds : 0;
  }

  /** Estimated seconds for the remaining steps. */
  secondsFor(steps: number): number {
    return this.weight > 0 ? (this.seconds / this.weight) * steps : 0;
  }
}

/** The process's largest resident memory so far, in MiB. */
export function peakMemoryMib(): number {
  return process.resourceUsage().maxRSS / 1024;
}

/**
 * The same without what `peakMemoryMib` may have from the process that started this one: getrusage's maximum outlives exec. It
 * takes some 50 us, too much for each step.
 */
export async function ownPeakMib(): Promise<number> {
  try {
    const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(await readText("/proc/self/status", limits.documentBytes))!;
    return Number(kib) / 1024;
  } catch {
    return peakMemoryMib(); // no /proc
  }
}

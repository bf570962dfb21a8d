import { constants } from "node:os";

/** The signals that ask a command to stop: Ctrl-C, the end of a service or a job, a terminal that was closed. */
export const stopSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export type StopSignal = (typeof stopSignals)[number];

/** The exit status of a process that a signal has ended, as shells report it. */
export function statusOf(signal: StopSignal): number {
  return 128 + constants.signals[signal];
}

/**
 * Two signals that are closer count as one: `timeout` signals its child and then its group, and a Ctrl-C below npm comes from
 * the terminal and from npm. A person who wants to end the process at once presses Ctrl-C again later than that.
 */
const repetitionMs = 500;

/**
 * Signals: the first asks the command to stop, through its AbortSignal; the second ends the process
 * immediately. A command may handle the first one itself, for example to stop an answer.
 */
export class Interrupts {
  private readonly controller = new AbortController();
  private readonly takers: (() => void)[] = [];
  private stopping: (() => void) | undefined;
  private interruptedAt: number | undefined;
  /** Whether the command stops without a message. */
  isQuiet = false;

  /** @param now milliseconds on a clock that never goes back */
  constructor(private readonly now = () => performance.now()) {}

  /** Aborted by the first interrupt that no other function handles. */
  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** @param handler called when the command is asked to stop */
  onStop(handler: () => void): void {
    this.stopping = handler;
  }

  /**
   * Handles an interrupt. A closed terminal may send SIGHUP twice, from the shell and from the system, and its output is
   * lost before or after that: neither ends the process before it has written its checkpoint.
   * @returns whether the process must end immediately
   */
  interrupt(signal: StopSignal = "SIGINT"): boolean {
    const taker = this.takers.at(-1);
    if (taker) {
      taker();
      return false;
    }
    if (this.interruptedAt !== undefined) return signal !== "SIGHUP" && this.now() - this.interruptedAt >= repetitionMs;
    this.interruptedAt = this.now();
    if (this.signal.aborted) return false;
    this.stopping?.();
    this.controller.abort(new Error("interrupted"));
    return false;
  }

  /** Stops the command silently, when its output is no longer read. */
  stopQuietly(): void {
    this.isQuiet = true;
    this.controller.abort(new Error("the reader of the output went away"));
  }

  /** Passes interrupts to a function until the returned function is called. */
  take(handler: () => void): () => void {
    this.takers.push(handler);
    return () => {
      const at = this.takers.indexOf(handler);
      if (at >= 0) this.takers.splice(at, 1);
    };
  }
}

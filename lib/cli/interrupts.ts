/**
 * Ctrl-C (SIGINT) and SIGTERM: the first asks the command to stop, through its AbortSignal; the second ends the process
 * immediately. A command may handle the first one itself, for example to stop an answer.
 */
export class Interrupts {
  private readonly controller = new AbortController();
  private readonly takers: (() => void)[] = [];
  private stopping: (() => void) | undefined;
  /** Whether the command stops without a message. */
  isQuiet = false;

  /** Aborted by the first interrupt that no other function handles. */
  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** @param handler called when the command is asked to stop */
  onStop(handler: () => void): void {
    this.stopping = handler;
  }

  /** Handles an interrupt. @returns whether the process must end immediately */
  interrupt(): boolean {
    const taker = this.takers.at(-1);
    if (taker) {
      taker();
      return false;
    }
    if (this.signal.aborted) return true;
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

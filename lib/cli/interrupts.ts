/**
 * Ctrl-C (SIGINT) and SIGTERM: the first asks the command to stop, through its AbortSignal; the second ends the process at
 * once. A command may take the first for a purpose of its own, such as stopping an answer.
 */
export class Interrupts {
  private readonly controller = new AbortController();
  private readonly takers: (() => void)[] = [];
  private told: (() => void) | undefined;

  /** Aborted by the first interrupt that nobody else takes. */
  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** @param told called when the command is asked to stop */
  onStop(told: () => void): void {
    this.told = told;
  }

  /** An interrupt arrived. @returns whether the process is to end at once */
  interrupt(): boolean {
    const taker = this.takers.at(-1);
    if (taker) {
      taker();
      return false;
    }
    if (this.signal.aborted) return true;
    this.told?.();
    this.controller.abort(new Error("interrupted"));
    return false;
  }

  /** Stops the command without a word, as when nobody reads its output any more. */
  stopQuietly(): void {
    this.controller.abort(new Error("the reader of the output went away"));
  }

  /** Interrupts are this function's until the one that is returned is called. */
  take(handler: () => void): () => void {
    this.takers.push(handler);
    return () => {
      const at = this.takers.indexOf(handler);
      if (at >= 0) this.takers.splice(at, 1);
    };
  }
}

/** Loads by name: whoever waits for a name waits for the same load. */
import { RubricateError } from "../errors";
import { onAbort, throwIfAborted } from "../job";

interface Load {
  readonly done: Promise<void>;
  readonly controller: AbortController;
  waiting: number;
}

/** Waits for a promise, until a signal fires or `work.stop` is called. @throws RubricateError ERR_ABORTED */
async function unlessStopped(
  done: Promise<void>,
  signal: AbortSignal | undefined,
  work: { stop: () => void },
): Promise<void> {
  let stop = () => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(new RubricateError("ERR_ABORTED", "The operation was aborted"));
  });
  const release = signal && onAbort(signal, stop);
  work.stop = stop;
  try {
    await Promise.race([done, stopped]);
  } catch (error) {
    throwIfAborted(signal);
    throw error;
  } finally {
    release?.();
    work.stop = () => {};
  }
}

export class Loads {
  private readonly byName = new Map<string, Load>();

  /** @param load loads a name; its signal fires when nobody waits for it */
  constructor(private readonly load: (name: string, signal: AbortSignal) => Promise<void>) {}

  /** Waits for the load of a name, which begins if there is none. Rejects with its error. */
  async wait(name: string, signal: AbortSignal | undefined, work: { stop: () => void }): Promise<void> {
    const load = this.byName.get(name) ?? this.begin(name);
    load.waiting++;
    try {
      await unlessStopped(load.done, signal, work);
    } finally {
      load.waiting--;
      if (load.waiting === 0) {
        this.forget(name, load);
        load.controller.abort(); // has no effect once it is done
      }
    }
  }

  /** Ends all loads. */
  abort(): void {
    for (const [name, load] of this.byName) {
      this.forget(name, load);
      load.controller.abort();
    }
  }

  private begin(name: string): Load {
    const controller = new AbortController();
    const load: Load = { done: this.load(name, controller.signal), controller, waiting: 0 };
    this.byName.set(name, load);
    const forget = () => this.forget(name, load);
    load.done.then(forget, forget);
    return load;
  }

  private forget(name: string, load: Load): void {
    if (this.byName.get(name) === load) this.byName.delete(name);
  }
}

/** The parent's side of a worker thread that answers calls. */
import { type ResourceLimits, Worker } from "node:worker_threads";
import { type ErrorCode, RubricateError } from "./errors";
import { packageRoot } from "./package_root";

/** The calls of a thread: each has an argument and a result. */
export type Calls<C> = { readonly [K in keyof C]: { readonly argument: unknown; readonly result: unknown } };

/** What a thread sends: the answer to a call, or a notice during one. */
export type Reply<C extends Calls<C>, Notice = never> =
  | { readonly id: number; readonly result: C[keyof C]["result"] }
  | { readonly id: number; readonly error: { readonly code: ErrorCode; readonly message: string } }
  | { readonly notice: Notice };

export type Request<C extends Calls<C>> = {
  [K in keyof C]: { readonly id: number; readonly call: K; readonly argument: C[K]["argument"] };
}[keyof C];

/** Describes a thread, for starting it and for messages. */
export interface ThreadKind {
  /** Path of the module that it runs, without extension. */
  readonly module: string;
  /** "data": a debugger shows the thread as "rubricate data". */
  readonly name: string;
  /** For the message when memory runs out: "tokenising". */
  readonly doing: string;
  /** Limits of its heap, if the default ones are too large. */
  readonly resourceLimits?: ResourceLimits;
}

/** How a module becomes a file for `Worker`. The tests run from TypeScript and replace this. */
export const workerEntry = {
  of: (module: string): { readonly file: string; readonly argv: readonly string[] } => ({
    file: `${module}.js`,
    argv: [],
  }),
};

interface Pending {
  resolve(result: never): void;
  reject(error: RubricateError): void;
}

/**
 * The thread keeps the process alive only during a call, and ends with `close` at the latest, or after `abandon`. A thread
 * holds its listeners, and these hold this object: an object that should be garbage-collected must not be reachable from
 * it.
 */
export class WorkerThread<C extends Calls<C>, Notice = never> {
  /** Called with each notice that the thread sends during a call. */
  onNotice: ((notice: Notice) => void) | undefined;
  private readonly worker: Worker;
  private readonly pending = new Map<number, Pending>();
  private calls = 0;
  private abandoned: RubricateError | undefined;
  /** Why no more calls are taken. */
  private ended: RubricateError | undefined;

  /** @param workerData what the thread starts with */
  constructor({ module, name, doing, resourceLimits = {} }: ThreadKind, workerData: unknown) {
    packageRoot(); // throws in a bundle, where the worker's file is missing
    const { file, argv } = workerEntry.of(module);
    // The process's options, such as --input-type or a debugger's, do not apply to this thread.
    this.worker = new Worker(file, {
      argv: [...argv],
      workerData,
      execArgv: [],
      resourceLimits,
      name: `rubricate ${name}`,
    });
    this.worker.unref();
    this.worker.on("message", (reply: Reply<C, Notice>) => this.take(reply));
    this.worker.on("error", (error: NodeJS.ErrnoException) => {
      const outOfMemory = error.code === "ERR_WORKER_OUT_OF_MEMORY";
      const message = outOfMemory ? `Memory ran out while ${doing}` : `The ${name} worker failed: ${error.message}`;
      this.end(new RubricateError(outOfMemory ? "ERR_OUT_OF_MEMORY" : "ERR_INTERNAL", message, { cause: error }));
    });
    this.worker.on("exit", (code) =>
      this.end(new RubricateError("ERR_INTERNAL", `The ${name} worker ended with code ${code}`)),
    );
  }

  /** Whether the thread has ended or is ending: it takes no more calls. */
  get isEnded(): boolean {
    return this.ended !== undefined;
  }

  call<K extends keyof C>(call: K, argument: C[K]["argument"]): Promise<C[K]["result"]> {
    return new Promise((resolve, reject) => {
      if (this.ended) {
        reject(this.ended);
        return;
      }
      const id = this.calls++;
      this.pending.set(id, { resolve, reject });
      this.worker.ref();
      this.worker.postMessage({ id, call, argument });
    });
  }

  /** Ends the thread once no call is running. For a thread that nobody can call any more. */
  abandon(reason: RubricateError): void {
    this.abandoned = reason;
    if (this.pending.size === 0) void this.close(reason);
  }

  /** Ends the thread immediately, even during a call; running calls reject with `reason`. */
  async close(reason: RubricateError): Promise<void> {
    this.end(reason);
    await this.worker.terminate();
  }

  private take(reply: Reply<C, Notice>): void {
    if ("notice" in reply) {
      this.onNotice?.(reply.notice);
      return;
    }
    const pending = this.pending.get(reply.id);
    if (!pending) return;
    this.pending.delete(reply.id);
    if (this.pending.size === 0) this.worker.unref();
    if ("error" in reply) pending.reject(new RubricateError(reply.error.code, reply.error.message));
    else pending.resolve(reply.result as never);
    if (this.abandoned) this.abandon(this.abandoned);
  }

  private end(reason: RubricateError): void {
    this.ended ??= reason;
    for (const { reject } of this.pending.values()) reject(this.ended);
    this.pending.clear();
  }
}

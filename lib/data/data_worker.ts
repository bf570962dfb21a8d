import path from "node:path";
import { Worker } from "node:worker_threads";
import { RubricateError } from "../errors";
import { packageRoot } from "../package_root";
import type { IndexProgress } from "./row_index";
import type { WorkerCalls, WorkerReply, WorkerStart } from "./worker_protocol";

interface Pending {
  resolve(result: never): void;
  reject(error: RubricateError): void;
}

/**
 * The main thread's side of a data worker. The worker keeps the process alive only while a call is under way, and ends with
 * `close` at the latest, or after `abandon`. A thread holds its listeners, and these hold this object: whoever is to be
 * collected must not be reachable from it.
 */
export class DataWorker {
  /** Told how far indexing has come, some twenty times a second. */
  onProgress: ((progress: IndexProgress) => void) | undefined;
  private readonly worker: Worker;
  private readonly pending = new Map<number, Pending>();
  private calls = 0;
  private abandoned = false;
  /** Why no more calls are taken. */
  private ended: RubricateError | undefined;

  constructor(start: WorkerStart) {
    packageRoot(); // else the worker's file is not where it is looked for
    const entry = path.join(__dirname, path.extname(__filename) === ".js" ? "dataset_worker.js" : "source_worker.cjs");
    // Options of the process, such as --input-type or a debugger's, are not meant for this thread.
    this.worker = new Worker(entry, { workerData: start, execArgv: [], name: "rubricate data" });
    this.worker.unref();
    this.worker.on("message", (reply: WorkerReply) => this.take(reply));
    this.worker.on("error", (error: NodeJS.ErrnoException) => {
      const outOfMemory = error.code === "ERR_WORKER_OUT_OF_MEMORY";
      const message = outOfMemory ? "Memory ran out while tokenising" : `The data worker failed: ${error.message}`;
      this.end(new RubricateError(outOfMemory ? "ERR_OUT_OF_MEMORY" : "ERR_INTERNAL", message, { cause: error }));
    });
    this.worker.on("exit", (code) =>
      this.end(new RubricateError("ERR_INTERNAL", `The data worker ended with code ${code}`)),
    );
  }

  /** Whether the thread has ended, or is about to: it takes no more calls. */
  get isEnded(): boolean {
    return this.ended !== undefined;
  }

  call<K extends keyof WorkerCalls>(call: K, argument: WorkerCalls[K]["argument"]): Promise<WorkerCalls[K]["result"]> {
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

  /** Ends the thread once no call is under way. For when nobody is left who could call. */
  abandon(): void {
    this.abandoned = true;
    if (this.pending.size === 0)
      void this.close(new RubricateError("ERR_DISPOSED", "The dataset was left to the garbage collector"));
  }

  /** Ends the thread at once, in the midst of a call too; calls under way reject with `reason`. */
  async close(reason: RubricateError): Promise<void> {
    this.end(reason);
    await this.worker.terminate();
  }

  private take(reply: WorkerReply): void {
    if ("progress" in reply) {
      this.onProgress?.(reply.progress);
      return;
    }
    const pending = this.pending.get(reply.id);
    if (!pending) return;
    this.pending.delete(reply.id);
    if (this.pending.size === 0) this.worker.unref();
    if ("error" in reply) pending.reject(new RubricateError(reply.error.code, reply.error.message));
    else pending.resolve(reply.result as never);
    if (this.abandoned) this.abandon();
  }

  private end(reason: RubricateError): void {
    this.ended ??= reason;
    for (const { reject } of this.pending.values()) reject(this.ended);
    this.pending.clear();
  }
}

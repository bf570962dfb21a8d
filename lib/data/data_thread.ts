/** The threads that read and tokenise rows: at most two, for all datasets of a thread of JavaScript. */
import path from "node:path";
import type { RubricateError } from "../errors";
import type { TokenizerParts } from "../tokenizer/parts";
import { WorkerThread } from "../worker_thread";
import type { IndexProgress } from "./types";
import type { DatasetCalls, DatasetNotice, DatasetStart, ThreadCalls } from "./worker_protocol";

const kind = { module: path.join(__dirname, "dataset_worker"), name: "data", doing: "tokenising" };

/**
 * A thread takes 10 MB before its first row. Two tokenise while a run and its evaluation, or several runs, are prepared; more
 * would take cores from the model.
 */
const mostThreads = 2;

/** A thread, and the datasets that it holds. */
class DataThread {
  readonly datasets = new Map<number, DataWorker>();
  readonly worker = new WorkerThread<ThreadCalls, DatasetNotice>(kind, undefined);

  constructor() {
    this.worker.onNotice = ({ dataset, progress }) => this.datasets.get(dataset)?.onNotice?.(progress);
  }
}

const threads: DataThread[] = [];
let made = 0;

/** The thread for one more dataset. Each dataset stays in its thread. */
function threadForNext(): DataThread {
  for (let at = threads.length - 1; at >= 0; at--) if (threads[at]!.worker.isEnded) threads.splice(at, 1);
  if (threads.length < mostThreads) threads.push(new DataThread());
  return threads.reduce((least, one) => (one.datasets.size < least.datasets.size ? one : least));
}

const numbers = new WeakMap<TokenizerParts, number>();
let numbered = 0;

function numberOf(parts: TokenizerParts): number {
  const known = numbers.get(parts);
  if (known !== undefined) return known;
  numbers.set(parts, ++numbered);
  return numbered;
}

/**
 * A dataset in one of the threads. If the thread fails, all its datasets end with that error, and later ones get a new thread.
 * An object that should be garbage-collected must not be reachable from this one: its thread holds it until it is closed.
 */
export class DataWorker {
  /** Called with the progress of indexing, some twenty times a second. */
  onNotice: ((progress: IndexProgress) => void) | undefined;
  private readonly thread = threadForNext();
  private readonly dataset = made++;
  private readonly ready: Promise<unknown>;
  /** Rejects the calls that are under way. */
  private readonly pending = new Set<(reason: unknown) => void>();
  /** Why no more calls are taken. */
  private ended: RubricateError | undefined;
  private closing: Promise<void> | undefined;
  private abandoned: RubricateError | undefined;

  constructor(start: DatasetStart) {
    this.thread.datasets.set(this.dataset, this);
    this.ready = this.tell("hold", { ...start, tokenizerNumber: numberOf(start.tokenizer) });
    this.ready.catch(() => {}); // each call rejects with it
  }

  call<K extends keyof DatasetCalls>(
    call: K,
    argument: DatasetCalls[K]["argument"],
  ): Promise<DatasetCalls[K]["result"]> {
    return new Promise((resolve, reject) => {
      if (this.ended) {
        reject(this.ended);
        return;
      }
      this.pending.add(reject);
      const answered = this.ready.then(() => {
        if (this.ended) throw this.ended;
        return this.tell(call, argument as never);
      });
      const settled = () => {
        this.pending.delete(reject);
        if (this.abandoned) this.abandon(this.abandoned);
      };
      answered.then(resolve, reject).then(settled);
    });
  }

  /** Forgets the dataset once no call is running. For one that nobody can use any more. */
  abandon(reason: RubricateError): void {
    this.abandoned = reason;
    if (this.pending.size === 0) void this.close(reason);
  }

  /** Forgets the dataset, even during a call; running calls reject with `reason`. The last dataset of a thread ends it. */
  close(reason: RubricateError): Promise<void> {
    this.closing ??= this.end(reason);
    return this.closing;
  }

  private async end(reason: RubricateError): Promise<void> {
    this.ended = reason;
    for (const reject of this.pending) reject(reason);
    this.pending.clear();
    const { datasets, worker } = this.thread;
    datasets.delete(this.dataset);
    if (datasets.size > 0) {
      await this.tell("close", null).catch(() => {}); // the thread has ended
      return;
    }
    const at = threads.indexOf(this.thread);
    if (at >= 0) threads.splice(at, 1);
    await worker.close(reason);
  }

  private tell<K extends keyof ThreadCalls>(
    call: K,
    argument: ThreadCalls[K]["argument"]["argument"],
  ): Promise<ThreadCalls[K]["result"]> {
    return this.thread.worker.call(call, { dataset: this.dataset, argument } as ThreadCalls[K]["argument"]);
  }
}

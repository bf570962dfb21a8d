/** One thread for each tokenizer that encodes long prompts, one after another, with the same tables. */
import path from "node:path";
import { RubricateError } from "../errors";
import { abortError, onAbort } from "../job";
import type { TokenizerParts } from "../tokenizer/parts";
import type { Tokenizer } from "../tokenizer/tokenizer";
import { WorkerThread } from "../worker_thread";
import type { Prompt, PromptCalls, PromptWorkerStart } from "./prompt_protocol";

const kind = { module: path.join(__dirname, "prompt_worker"), name: "prompt", doing: "encoding a prompt" };

/** The thread that encodes prompts. */
export class PromptWorker extends WorkerThread<PromptCalls> {
  constructor(start: PromptWorkerStart) {
    super(kind, start);
  }
}

/** Work that somebody may end before its time. */
export interface Stoppable {
  stop: () => void;
}

interface Job {
  readonly argument: PromptCalls["encode"]["argument"];
  readonly ids: Promise<Int32Array<ArrayBuffer>>;
  resolve(ids: Int32Array<ArrayBuffer>): void;
  reject(error: unknown): void;
  dropped: boolean;
}

function newJob(prompt: Prompt, context: number): Job {
  // Messages of many objects would take several times as long to send as their JSON.
  const sent = "text" in prompt ? prompt : { messagesJson: JSON.stringify(prompt.messages) };
  const job = { argument: { prompt: sent, context }, dropped: false } as {
    -readonly [K in keyof Job]: Job[K];
  };
  job.ids = new Promise((resolve, reject) => Object.assign(job, { resolve, reject }));
  return job;
}

/** A thread without work ends after this time. */
const idleMs = 10_000;

class PromptThread {
  private readonly waiting: Job[] = [];
  private running: Job | undefined;
  private worker: PromptWorker | undefined;
  private idle: NodeJS.Timeout | undefined;

  /** It does not hold the tokenizer, by which it is found. */
  constructor(private readonly parts: TokenizerParts) {}

  /** Puts a job into the queue. */
  add(job: Job): void {
    this.waiting.push(job);
    if (!this.running) void this.work();
  }

  /** Rejects a job. A waiting one leaves the queue; for one that runs the thread ends, and the next job gets a new one. */
  drop(job: Job, reason: RubricateError): void {
    job.dropped = true;
    job.reject(reason);
    const at = this.waiting.indexOf(job);
    if (at >= 0) this.waiting.splice(at, 1);
    else if (this.running === job) void this.worker?.close(reason);
  }

  private async work(): Promise<void> {
    clearTimeout(this.idle);
    for (let job = this.waiting.shift(); job; job = this.waiting.shift()) {
      if (job.dropped) continue;
      this.running = job;
      try {
        job.resolve(await this.usableWorker().call("encode", job.argument));
      } catch (error) {
        job.reject(error);
        if (this.worker?.isEnded) await this.close(); // before another thread starts
      }
    }
    this.running = undefined;
    this.idle = setTimeout(() => void this.close(), idleMs).unref();
  }

  private usableWorker(): PromptWorker {
    if (!this.worker || this.worker.isEnded) this.worker = new PromptWorker({ tokenizer: this.parts });
    return this.worker;
  }

  private async close(): Promise<void> {
    const { worker } = this;
    this.worker = undefined;
    await worker?.close(new RubricateError("ERR_DISPOSED", "The thread that encodes prompts had no work"));
  }
}

const threads = new WeakMap<Tokenizer, PromptThread>();

/**
 * @param work gets a `stop` that ends the job
 * @throws {RubricateError} as `encodeAtOnce`; ERR_ABORTED
 */
export async function encodeInThread(
  tokenizer: Tokenizer,
  prompt: Prompt,
  context: number,
  signal: AbortSignal | undefined,
  work: Stoppable | undefined,
): Promise<Int32Array<ArrayBuffer>> {
  let thread = threads.get(tokenizer);
  if (!thread) {
    thread = new PromptThread(tokenizer.parts);
    threads.set(tokenizer, thread);
  }
  const job = newJob(prompt, context);
  const drop = (reason: RubricateError) => thread.drop(job, reason);
  const release = signal && onAbort(signal, () => drop(abortError(signal)));
  if (work) work.stop = () => drop(new RubricateError("ERR_ABORTED", "The generator was ended by return()"));
  try {
    thread.add(job);
    return await job.ids;
  } finally {
    release?.();
    if (work) work.stop = () => {};
  }
}

/** The worker threads that a test starts. */
import type { Worker } from "node:worker_threads";
import { WorkerThread } from "../../lib/worker_thread";

/** Those that are called meanwhile, in the order of their first calls; until `jest.restoreAllMocks()`. */
export function watchedThreads(): Worker[] {
  const workers: Worker[] = [];
  const { call } = WorkerThread.prototype;
  jest.spyOn(WorkerThread.prototype, "call").mockImplementation(function (this: WorkerThread<never>, ...given) {
    const { worker } = this as never as { worker: Worker };
    if (!workers.includes(worker)) workers.push(worker);
    return call.apply(this, given as never) as never;
  });
  return workers;
}

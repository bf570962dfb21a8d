import { RubricateError } from "./errors";
import type { NativeJob } from "./native";

function aborted(signal: AbortSignal): RubricateError {
  return new RubricateError("ERR_ABORTED", "The operation was aborted", { cause: signal.reason });
}

/** Throws ERR_ABORTED, with the signal's reason as its cause, when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(signal);
}

/**
 * Starts a native job and waits for it; when the signal fires, the job is cancelled and the promise rejects with
 * ERR_ABORTED once it has really stopped.
 */
export async function runJob<T>(start: () => NativeJob<T>, signal?: AbortSignal): Promise<T> {
  throwIfAborted(signal);
  const job = start();
  if (!signal) return job.promise;
  const cancel = () => job.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return await job.promise;
  } catch (error) {
    if (signal.aborted && error instanceof RubricateError && error.code === "ERR_ABORTED") throw aborted(signal);
    throw error;
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

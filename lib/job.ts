import { RubricateError } from "./errors";
import { readArgument } from "./options";

/** An operation that runs on a native thread. `promise` settles on this thread; it rejects with a RubricateError. */
export interface NativeJob<T> {
  readonly promise: Promise<T>;
  /** Asks the job to stop at the next op; `promise` then rejects with ERR_ABORTED. Harmless once it has settled. */
  cancel(): void;
}

/** The error of work stopped by a signal. Its cause is the signal's reason, or the error thrown by reading that. */
export function abortError(signal: AbortSignal, message = "The operation was aborted"): RubricateError {
  let cause: unknown;
  try {
    cause = signal.reason;
  } catch (thrown) {
    cause = thrown;
  }
  return new RubricateError("ERR_ABORTED", message, { cause });
}

/** Whether a signal has fired. @throws RubricateError ERR_ARGUMENT if it cannot be read */
export function isAborted(signal: AbortSignal | undefined): boolean {
  return signal !== undefined && readArgument("signal", "an AbortSignal", () => signal.aborted === true);
}

/** Throws ERR_ABORTED, with the signal's reason as its cause, when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, message?: string): void {
  if (signal && isAborted(signal)) throw abortError(signal, message);
}

const nothing = () => {};

/** Removes a listener. A polyfill may be unable to, or throw: then the listener stays and does nothing. */
function removeListener(signal: AbortSignal, listener: () => void): boolean {
  try {
    if (typeof signal.removeEventListener !== "function") return false;
    signal.removeEventListener("abort", listener);
    return true;
  } catch {
    return false;
  }
}

interface Stops {
  readonly each: Set<() => void>;
  readonly all: () => void;
}

const stopsOf = new WeakMap<AbortSignal, Stops>();

/**
 * Calls `stop` when the signal fires. All running work shares one listener for a signal, since Node warns about more than
 * ten.
 * @returns a function that ends this
 */
export function onAbort(signal: AbortSignal, stop: () => void): () => void {
  let stops = stopsOf.get(signal);
  if (!stops) {
    const each = new Set<() => void>();
    const all = () => {
      for (const one of [...each]) one();
    };
    stops = { each, all };
    readArgument("signal", "an AbortSignal", () => signal.addEventListener("abort", all, { once: true }));
    stopsOf.set(signal, stops);
  }
  const { each, all } = stops;
  const one = () => stop(); // its own function, so that the same `stop` can be given twice
  each.add(one);
  return () => {
    if (each.delete(one) && each.size === 0 && removeListener(signal, all)) stopsOf.delete(signal);
  };
}

/**
 * A caller's function that is called during some work. If it throws, or its promise rejects, the work stops and the
 * caller's call rejects with the same value.
 */
export class Callback<T> {
  /** Stops the work. */
  stop: () => void = () => {};
  private failure: { readonly reason: unknown } | undefined;
  private readonly promises = new Set<Promise<void>>();

  constructor(private readonly call: ((value: T) => unknown) | undefined) {}

  tell(value: T): void {
    const { call } = this;
    if (!call || this.failure) return;
    try {
      const answer = call(value) as PromiseLike<unknown> | null | undefined;
      if (typeof answer?.then === "function") this.watch(answer);
    } catch (reason) {
      this.fail(reason);
    }
  }

  /** Does the work, waits for the function's promises, and throws what the function threw. */
  async during<R>(work: () => Promise<R>): Promise<R> {
    try {
      const result = await work();
      await Promise.all(this.promises);
      this.throwIfFailed();
      return result;
    } catch (error) {
      this.throwIfFailed();
      throw error;
    }
  }

  throwIfFailed(): void {
    if (this.failure) throw this.failure.reason;
  }

  private watch(answer: PromiseLike<unknown>): void {
    const watched: Promise<void> = Promise.resolve(answer).then(
      () => void this.promises.delete(watched),
      (reason) => this.fail(reason),
    );
    this.promises.add(watched);
  }

  private fail(reason: unknown): void {
    this.failure ??= { reason };
    this.stop();
  }
}

/**
 * Starts a native job and waits for it; when the signal fires, the job is cancelled and the promise rejects with
 * ERR_ABORTED once the job has stopped.
 * @param callback called by the job; when it fails, the job is cancelled
 */
export async function runJob<T>(
  start: () => NativeJob<T>,
  signal?: AbortSignal,
  callback?: { stop: () => void },
): Promise<T> {
  throwIfAborted(signal);
  let job: NativeJob<T> | undefined;
  const cancel = () => job?.cancel();
  if (callback) callback.stop = cancel;
  // The listener comes first: a signal that refuses it must not leave a job running.
  const release = signal && onAbort(signal, cancel);
  try {
    job = start();
    return await job.promise;
  } catch (error) {
    if (signal && error instanceof RubricateError && error.code === "ERR_ABORTED") throwIfAborted(signal);
    throw error;
  } finally {
    release?.();
    if (callback) callback.stop = nothing;
  }
}

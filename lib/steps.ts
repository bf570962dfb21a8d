import { throwIfAborted } from "./job";

/**
 * Work that would block the event loop, split into steps of well under a millisecond: a generator that yields after each.
 * `atOnce` runs all of them synchronously; `inSlices` lets the event loop run in between.
 */
export type Steps<T> = Generator<void, T, void>;

/** Milliseconds that steps run before yielding to the event loop. */
const sliceMs = 1;

export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/**
 * Runs steps for a millisecond at a time. If one throws, the promise rejects with that.
 * @param signal asked after each turn of the event loop
 * @throws RubricateError ERR_ABORTED
 */
export async function inSlices<T>(steps: Steps<T>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    const end = performance.now() + sliceMs;
    do {
      const { done, value } = steps.next();
      if (done) return value;
    } while (performance.now() < end);
    await new Promise<void>((resolve) => setImmediate(resolve));
    throwIfAborted(signal);
  }
}

/**
 * Work that would hold up the event loop, cut into steps of well under a millisecond: a generator that pauses after each.
 * Who needs the result at once runs through them; else they give way to the event loop in between.
 */
export type Steps<T> = Generator<void, T, void>;

/** How long steps run before the event loop gets its turn. */
const sliceMs = 1;

export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** Runs steps for a millisecond at a time. What they throw, the promise rejects with. */
export async function inSlices<T>(steps: Steps<T>): Promise<T> {
  for (;;) {
    const end = performance.now() + sliceMs;
    do {
      const { done, value } = steps.next();
      if (done) return value;
    } while (performance.now() < end);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

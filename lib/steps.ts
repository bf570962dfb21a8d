/**
 * Work that would hold up the event loop, cut into steps of well under a millisecond: a generator that pauses after each.
 * Who needs the result at once runs through them; else they give way to the event loop in between.
 */
export type Steps<T> = Generator<void, T, void>;

/** How long steps run before the event loop gets its turn. */
const sliceMs = 1;

/** Elements that are handled in one step. */
const stepElements = 1 << 10;

/** Elements of a long list, in steps. */
export function* eachIn<T>(list: Iterable<T>, work: (element: T) => void): Steps<void> {
  let count = 0;
  for (const element of list) {
    work(element);
    if (++count % stepElements === 0) yield;
  }
}

/** A sorted copy of a long list, by a merge sort whose runs are the engine's. Equal elements keep their order. */
export function* sortedIn<T>(list: readonly T[], compare: (a: T, b: T) => number): Steps<T[]> {
  let runs: T[][] = [];
  for (let at = 0; at < list.length; at += stepElements) {
    runs.push(list.slice(at, at + stepElements).sort(compare));
    yield;
  }
  while (runs.length > 1) {
    const merged: T[][] = [];
    for (let at = 0; at < runs.length; at += 2) merged.push(yield* merge(runs[at]!, runs[at + 1] ?? [], compare));
    runs = merged;
  }
  return runs[0] ?? [];
}

function* merge<T>(left: readonly T[], right: readonly T[], compare: (a: T, b: T) => number): Steps<T[]> {
  const merged: T[] = [];
  let [a, b] = [0, 0];
  while (a < left.length || b < right.length) {
    const takesLeft = b === right.length || (a < left.length && compare(left[a]!, right[b]!) <= 0);
    merged.push(takesLeft ? left[a++]! : right[b++]!);
    if (merged.length % stepElements === 0) yield;
  }
  return merged;
}

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

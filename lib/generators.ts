/** Generators of long work: those of `generate` and `run`. */
import { RubricateError } from "./errors";

/**
 * Has no effect until it is iterated, so that awaiting it is a mistake: that rejects with ERR_STATE, and TypeScript refuses
 * it. An async function that returns it awaits it, too: return an object that holds it, or `yield*` it from an async
 * generator.
 */
export interface IteratedOnly {
  /** Rejects with ERR_STATE. */
  then(): never;
}

/**
 * Makes `await` of a generator fail. Without this, `await` gives the generator, and its work is silently not done.
 * @param what what made it, for the message
 * @param instead the call to await in its place
 */
export function iteratedOnly<T, R>(
  generator: AsyncGenerator<T, R, void>,
  what: string,
  instead: string,
): AsyncGenerator<T, R, void> & IteratedOnly {
  // A getter, because `await` reads `then` on the caller's line, which is then in the error's stack.
  const get = () => {
    const error = new RubricateError(
      "ERR_STATE",
      `Expected the generator of ${what} to be iterated (for await) but it was awaited: await ${instead} instead. ` +
        "An async function that returns the generator awaits it, too: return it in an object",
    );
    return (...handlers: Parameters<Promise<never>["then"]>) => Promise.reject(error).then(...handlers);
  };
  // Not enumerable: otherwise it is an ordinary generator, also for util.inspect.
  // biome-ignore lint/suspicious/noThenProperty: it is read by `await` alone, to refuse it
  return Object.defineProperty(generator, "then", { get }) as AsyncGenerator<T, R, void> & IteratedOnly;
}

/** Iterates a generator to its end. @returns what it returns */
export async function returned<T, R>(generator: AsyncGenerator<T, R, void>, onValue?: (value: T) => void): Promise<R> {
  for (;;) {
    const next = await generator.next();
    if (next.done) return next.value;
    onValue?.(next.value);
  }
}

/** First values of parameters: random numbers that depend on a seed only, the same on every machine. */
import { Random } from "../data/random";
import { atOnce, type Steps } from "../steps";

/** Numbers drawn per step. */
const portion = 1 << 12;

/**
 * Fills with numbers that are uniform in [-bound, bound).
 * @param stream two integers in [0, 2^32) that distinguish one use of a seed from another
 */
export function* fillUniform(
  values: Float32Array,
  bound: number,
  seed: number,
  stream: readonly [number, number],
): Steps<void> {
  const random = new Random(seed, stream);
  for (let at = 0; at < values.length; at++) {
    values[at] = (random.uint32() / 2 ** 31 - 1) * bound;
    if (at % portion === 0) yield;
  }
}

/** The same as a new array, in one step. */
export function uniform(count: number, bound: number, seed: number, stream: readonly [number, number]): Float32Array {
  const values = new Float32Array(count);
  atOnce(fillUniform(values, bound, seed, stream));
  return values;
}

/** First values of parameters: random numbers that depend on a seed only, the same on every machine. */
import { Random } from "../data/random";

/**
 * Numbers that are uniform in [-bound, bound).
 * @param stream two integers in [0, 2^32) that distinguish one use of a seed from another
 */
export function uniform(count: number, bound: number, seed: number, stream: readonly [number, number]): Float32Array {
  const random = new Random(seed, stream);
  const values = new Float32Array(count);
  for (let at = 0; at < count; at++) values[at] = (random.uint32() / 2 ** 31 - 1) * bound;
  return values;
}

/**
 * Numbers of a normal distribution with mean 0, by the method of Box and Muller.
 * @param stream two integers in [0, 2^32) that distinguish one use of a seed from another
 */
export function normal(
  count: number,
  deviation: number,
  seed: number,
  stream: readonly [number, number],
): Float32Array {
  const random = new Random(seed, stream);
  const values = new Float32Array(count);
  for (let at = 0; at < count; at += 2) {
    const radius = deviation * Math.sqrt(-2 * Math.log((random.uint32() + 0.5) / 2 ** 32));
    const angle = (2 * Math.PI * random.uint32()) / 2 ** 32;
    values[at] = radius * Math.cos(angle);
    if (at + 1 < count) values[at + 1] = radius * Math.sin(angle);
  }
  return values;
}

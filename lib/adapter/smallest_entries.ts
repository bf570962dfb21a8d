/** Which entries of a matrix are small: how PaFi and SaRA choose what they train. */
import type { Steps } from "../steps";

/** Numbers looked at in one step. */
const portion = 1 << 16;
const magnitude = 0x7fffffff;
const lowBits = 15;

/** Calls body with start and end of each portion. */
function* inPortions(count: number, body: (start: number, end: number) => void): Steps<void> {
  for (let start = 0; start < count; start += portion) {
    body(start, Math.min(count, start + portion));
    yield;
  }
}

/**
 * The `count` entries of smallest magnitude, ascending by place; of equal ones the first. By two histograms of the bits: those of a
 * float32 without its sign are ordered as magnitudes are.
 */
export function* smallestEntries(weight: Float32Array, count: number): Steps<Int32Array> {
  const bits = new Uint32Array(weight.buffer, weight.byteOffset, weight.length);
  const histogram = function* (of: (key: number) => number, bins: number): Steps<Uint32Array> {
    const counts = new Uint32Array(bins);
    yield* inPortions(bits.length, (start, end) => {
      for (let at = start; at < end; at++) {
        const bin = of(bits[at]! & magnitude);
        if (bin >= 0) counts[bin]!++;
      }
    });
    return counts;
  };
  /** The bin in which the last of `wanted` lies, and how many of it are wanted. */
  const binOf = (counts: Uint32Array, wanted: number) => {
    let [bin, left] = [0, wanted];
    while (counts[bin]! < left) left -= counts[bin++]!;
    return { bin, left };
  };
  const high = binOf(yield* histogram((key) => key >>> lowBits, 1 << (31 - lowBits)), count);
  const low = binOf(
    yield* histogram((key) => (key >>> lowBits === high.bin ? key & ((1 << lowBits) - 1) : -1), 1 << lowBits),
    high.left,
  );
  const last = high.bin * (1 << lowBits) + low.bin;
  const entries = new Int32Array(count);
  let [filled, equal] = [0, low.left];
  yield* inPortions(bits.length, (start, end) => {
    for (let at = start; at < end; at++) {
      const key = bits[at]! & magnitude;
      if (key < last || (key === last && equal-- > 0)) entries[filled++] = at;
    }
  });
  return entries;
}

/** The entries whose magnitude is below a threshold, ascending by place. */
export function* entriesBelow(weight: Float32Array, threshold: number): Steps<Int32Array> {
  let count = 0;
  yield* inPortions(weight.length, (start, end) => {
    for (let at = start; at < end; at++) if (Math.abs(weight[at]!) < threshold) count++;
  });
  const entries = new Int32Array(count);
  let filled = 0;
  yield* inPortions(weight.length, (start, end) => {
    for (let at = start; at < end; at++) if (Math.abs(weight[at]!) < threshold) entries[filled++] = at;
  });
  return entries;
}

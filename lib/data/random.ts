/**
 * Random numbers for orders and splits: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011). A number depends only on its seed, stream and place in the stream, so the same arguments give the same order
 * on every machine.
 */
import { invalid } from "../errors";

const multiplierA = 0xd2511f53;
const multiplierB = 0xcd9e8d57;
const weylA = 0x9e3779b9;
const weylB = 0xbb67ae85;

/** High 32 bits of the product of two 32-bit numbers. */
function highProduct(a: number, b: number): number {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  // Each sum stays below 2^32, so that unsigned shifts hold all of it.
  const middle = (Math.imul(aHigh, bLow) >>> 0) + (Math.imul(aLow, bLow) >>> 16);
  const carry = (Math.imul(aLow, bHigh) >>> 0) + (middle & 0xffff);
  return ((Math.imul(aHigh, bHigh) >>> 0) + (middle >>> 16) + (carry >>> 16)) >>> 0;
}

/**
 * One block of Philox4x32-10.
 * @param counter four 32-bit words
 * @param key two 32-bit words
 * @returns four uniform 32-bit words
 */
export function philox4x32(counter: readonly number[], key: readonly number[]): [number, number, number, number] {
  let [a, b, c, d] = counter as [number, number, number, number];
  let [keyA, keyB] = key as [number, number];
  for (let round = 0; round < 10; round++) {
    const nextA = (highProduct(multiplierB, c) ^ b ^ keyA) >>> 0;
    const nextC = (highProduct(multiplierA, a) ^ d ^ keyB) >>> 0;
    b = Math.imul(multiplierB, c) >>> 0;
    d = Math.imul(multiplierA, a) >>> 0;
    a = nextA;
    c = nextC;
    keyA = (keyA + weylA) >>> 0;
    keyB = (keyB + weylB) >>> 0;
  }
  return [a, b, c, d];
}

/** A stream of random numbers. */
export class Random {
  private readonly key: [number, number];
  private block: [number, number, number, number] = [0, 0, 0, 0];
  private used = 4;
  private blocks = 0;

  /**
   * @param seed integer in [0, 2^53)
   * @param stream two integers in [0, 2^32) that distinguish one use of a seed from another
   */
  constructor(
    seed: number,
    private readonly stream: readonly [number, number] = [0, 0],
  ) {
    if (!Number.isSafeInteger(seed) || seed < 0) throw invalid("seed", "an integer in [0, 2^53)", seed);
    this.key = [seed >>> 0, Math.floor(seed / 2 ** 32)];
  }

  /** Uniform on the integers of [0, 2^32). */
  uint32(): number {
    if (this.used === 4) {
      const counter = [this.blocks >>> 0, Math.floor(this.blocks / 2 ** 32), this.stream[0], this.stream[1]];
      this.block = philox4x32(counter, this.key);
      this.blocks++;
      this.used = 0;
    }
    return this.block[this.used++]!;
  }

  /** Uniform on the integers of [0, bound), 1 <= bound <= 2^32: numbers that would make some likelier are drawn again. */
  below(bound: number): number {
    const limit = 2 ** 32 - (2 ** 32 % bound);
    for (;;) {
      const drawn = this.uint32();
      if (drawn < limit) return drawn % bound;
    }
  }

  /** Puts the elements into an order that is uniform among all orders (Fisher and Yates). */
  shuffle<T extends number[] | Int32Array | number[][]>(array: T): T {
    for (let at = array.length - 1; at > 0; at--) {
      const other = this.below(at + 1);
      const element = array[at]!;
      array[at] = array[other]!;
      array[other] = element;
    }
    return array;
  }
}

/** Typed arrays that grow as numbers are added: objects of JavaScript take ten times the memory. */

type Numbers = Uint8Array | Uint16Array | Int32Array | Uint32Array | Float64Array;

/** @returns an array of that length with the same numbers first, in shared memory where the given one is */
export function grown<T extends Numbers>(array: T, length: number): T {
  const Kind = array.constructor as new (from: number | SharedArrayBuffer) => T;
  const isShared = array.buffer instanceof SharedArrayBuffer;
  const larger = new Kind(isShared ? new SharedArrayBuffer(array.BYTES_PER_ELEMENT * length) : length);
  larger.set(array as never);
  return larger;
}

/** A list of numbers that grows. */
export class Column<T extends Numbers> {
  /**
   * @param array memory to begin with, at least one number
   * @param length how many of its numbers are the list's
   */
  constructor(
    private array: T,
    public length = 0,
  ) {}

  push(value: number): void {
    if (this.length === this.array.length) this.array = grown(this.array, 2 * this.length);
    this.array[this.length++] = value;
  }

  at(index: number): number {
    return this.array[index]!;
  }

  /** The numbers, in the list's own memory until it grows. */
  view(): T {
    return this.array.subarray(0, this.length) as T;
  }

  copy(): T {
    return this.array.slice(0, this.length) as T;
  }
}

import { smallestEntries } from "../adapter/smallest_entries";
import { invalid } from "../errors";
import type { Steps } from "../steps";

const portion = 1 << 16;
const largest = 0x7f800000;

/** The largest of many numbers that come tensor by tensor, with twice as many kept at a time. Of equal ones the first count. */
export class TopEntries {
  private values = new Float32Array(1 << 10);
  private places = new Int32Array(1 << 10);
  private tensors = new Int32Array(1 << 10);
  private size = 0;
  /** Only larger numbers count: there are enough that are not smaller. */
  private floor = 0;

  constructor(private readonly count: number) {}

  /** @param values finite, 0 or more */
  *add(tensor: number, values: Float32Array): Steps<void> {
    for (let begin = 0; begin < values.length; begin += portion) {
      const end = Math.min(begin + portion, values.length);
      for (let at = begin; at < end; at++) {
        const value = values[at]!;
        if (!(value > this.floor)) continue;
        if (this.size === 2 * this.count) yield* this.prune();
        if (!(value > this.floor)) continue;
        if (this.size === this.values.length) this.grow();
        this.values[this.size] = value;
        this.places[this.size] = at;
        this.tensors[this.size++] = tensor;
      }
      yield;
    }
  }

  /**
   * The places of each tensor that has some, by its name, ascending.
   * @throws RubricateError ERR_ARGUMENT if there are fewer numbers above 0
   */
  *marked(names: readonly string[]): Steps<ReadonlyMap<string, Int32Array>> {
    if (this.size < this.count)
      throw invalid("budget", `at most ${this.size}, the weights with a gradient other than 0,`, this.count);
    yield* this.prune();
    const found = new Map<string, Int32Array>();
    for (const [tensor, name] of names.entries()) {
      const own = this.places.subarray(0, this.size).filter((_, at) => this.tensors[at] === tensor);
      if (own.length > 0) found.set(name, own);
      yield;
    }
    return found;
  }

  private *prune(): Steps<void> {
    if (this.size <= this.count) return;
    // The bits of floats that are not negative are ordered as these are, so that the smallest keys are the largest numbers.
    const bits = new Uint32Array(this.values.buffer, 0, this.size);
    const keys = bits.map((one) => largest - one);
    const kept = yield* smallestEntries(new Float32Array(keys.buffer), this.count);
    this.floor = Number.POSITIVE_INFINITY;
    for (const [to, from] of kept.entries()) {
      this.values[to] = this.values[from]!;
      this.places[to] = this.places[from]!;
      this.tensors[to] = this.tensors[from]!;
      this.floor = Math.min(this.floor, this.values[to]!);
    }
    this.size = this.count;
  }

  private grow(): void {
    const wider = <T extends Float32Array | Int32Array>(all: T, old: T): T => {
      all.set(old);
      return all;
    };
    const length = 2 * this.values.length;
    this.values = wider(new Float32Array(length), this.values);
    this.places = wider(new Int32Array(length), this.places);
    this.tensors = wider(new Int32Array(length), this.tensors);
  }
}

import { grown } from "../columns";

/** A growing list of token ids with an upper bound. */
export class IdList {
  private ids = new Int32Array(64);
  length = 0;

  /** @param most ids that are wanted; a few more may come in */
  constructor(readonly most: number) {}

  get full(): boolean {
    return this.length >= this.most;
  }

  push(id: number): void {
    if (this.length === this.ids.length) this.ids = grown(this.ids, 2 * this.length);
    this.ids[this.length++] = id;
  }

  /** The ids from `start` on. */
  from(start: number): number[] {
    return Array.from(this.ids.subarray(start, this.length));
  }

  /** @returns those that are wanted, between a prefix and a suffix */
  between(prefix: readonly number[], suffix: readonly number[]): Int32Array<ArrayBuffer> {
    const count = Math.min(this.length, this.most);
    const whole = new Int32Array(prefix.length + count + suffix.length);
    whole.set(prefix);
    whole.set(this.ids.subarray(0, count), prefix.length);
    whole.set(suffix, prefix.length + count);
    return whole;
  }
}

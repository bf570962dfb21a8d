/**
 * Seeded random numbers for the scripts in this folder: the same seed gives the same files on every machine.
 * mulberry32 for the uniform numbers (32 bits of state; Tommy Ettinger, public domain), Box-Muller for normal ones.
 */
export class Random {
  #state;

  /** @param {number} seed any integer; only its low 32 bits are used */
  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** @returns {number} uniform in [0, 1), a multiple of 2^-32 */
  uniform() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** @returns {number} standard normal; two uniform numbers are drawn for each */
  normal() {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** @returns {number} an integer in [0, n) */
  below(n) {
    return Math.floor(this.uniform() * n);
  }

  /** Fisher-Yates, in place. */
  shuffle(items) {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [items[i], items[j]] = [items[j], items[i]];
    }
    return items;
  }
}

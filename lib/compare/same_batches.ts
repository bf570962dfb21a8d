/** Checks that all methods of a seed were trained on the same batches. */
import { RubricateError } from "../errors";

const shown = (hash: string) => hash.slice(0, 12);

export class SameBatches {
  private readonly bySeed = new Map<number, { hash: string; who: string }>();

  /**
   * Adds a run.
   * @param hash of its batches
   * @throws RubricateError ERR_DATA naming both runs if another one of the seed had other batches
   */
  add(seed: number, who: string, hash: string): void {
    if (!/^[0-9a-f]{64}$/.test(hash))
      throw new RubricateError("ERR_DATA", `Expected the SHA-256 of the batches of ${who} but received ${hash}`);
    const first = this.bySeed.get(seed);
    if (first === undefined) this.bySeed.set(seed, { hash, who });
    else if (first.hash !== hash)
      throw new RubricateError(
        "ERR_DATA",
        `Expected the same batches in all runs of seed ${seed} but those of ${first.who} (${shown(first.hash)}) and of ${who} ` +
          `(${shown(hash)}) differ: the data may have changed meanwhile; nothing of this seed can be compared`,
      );
  }

  /** The hash of each seed. */
  get hashes(): Record<string, string> {
    return Object.fromEntries([...this.bySeed].map(([seed, { hash }]) => [String(seed), hash]));
  }
}

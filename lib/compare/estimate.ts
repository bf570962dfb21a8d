/** The time that is left of a comparison: from how long its runs took so far. */

/** The kinds of runs, which take different times. */
export type Stage = "train" | "test";

export class Estimate {
  private readonly seconds: Record<Stage, number[]> = { train: [], test: [] };
  private readonly left: Record<Stage, number>;
  private startedAt = 0;
  private stage: Stage = "train";

  /**
   * @param total runs of each kind
   * @param now seconds on a clock that never goes back
   */
  constructor(
    private readonly total: Readonly<Record<Stage, number>>,
    private readonly now = () => performance.now() / 1000,
  ) {
    this.left = { ...total };
  }

  begin(stage: Stage): void {
    this.stage = stage;
    this.startedAt = this.now();
  }

  /** @param wasMade false: its record was there, and says nothing of the time */
  end(wasMade: boolean): void {
    this.left[this.stage] = Math.max(0, this.left[this.stage] - 1);
    if (wasMade) this.seconds[this.stage].push(this.now() - this.startedAt);
  }

  /** Of a run that is not needed after all. */
  skip(stage: Stage): void {
    this.left[stage] = Math.max(0, this.left[stage] - 1);
  }

  /** The run that is under way, from 1, and all of them. */
  get place(): { readonly number: number; readonly of: number } {
    const of = this.total.train + this.total.test;
    return { number: Math.min(of, of - this.left.train - this.left.test + 1), of };
  }

  /** The share of all runs that are done. @param share of the run under way, 0 to 1 */
  done(share: number): number {
    const { number, of } = this.place;
    return Math.min(1, (number - 1 + share) / of);
  }

  /**
   * Seconds until the end.
   * @param share of the run under way that is done
   * @returns undefined while nothing is known
   */
  secondsLeft(share: number): number | undefined {
    const passed = this.now() - this.startedAt;
    const current = share > 0 ? passed / share : undefined;
    const train = mean(this.seconds.train) ?? (this.stage === "train" ? current : undefined);
    // Without a finished test a run of the same kind is unknown: a small share of a training.
    const test = mean(this.seconds.test) ?? (this.stage === "test" ? current : undefined) ?? 0;
    if (train === undefined && this.left.train > 0) return undefined;
    const usual = this.stage === "train" ? train! : test;
    const ofThis = Math.max(0, usual - passed); // the share lacks the start, so it is not used once a run has ended
    const others = { ...this.left };
    others[this.stage] = Math.max(0, others[this.stage] - 1);
    return ofThis + others.train * (train ?? 0) + others.test * test;
  }
}

function mean(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
}

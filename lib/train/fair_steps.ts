/**
 * Which runs take part in the next shared step: fair queueing by rows (tokens). Each run has a count of the rows that it was
 * served, divided by its weight; the run with the lowest is next, and others with it, unless they are far ahead.
 */

/** What the choice knows of a run. */
export interface Share {
  /** Runs with equal layouts can share a step. */
  readonly layout: string;
  /** Its share of the rows while it is among others. */
  readonly weight: number;
  /** Rows of its next step. */
  readonly rows: number;
  /** Rows that it was served, divided by its weight. */
  served: number;
}

export interface StepBounds {
  /** Rows of a step; a run whose own step has more goes alone. */
  readonly maxRows: number;
  /** Runs of a step. */
  readonly maxTenants: number;
}

/**
 * Steps of the largest size by which a run may be ahead of the last one. With 0 only runs of exactly equal rows would share
 * steps; what a run is served differs from its share by no more than this, however long they run.
 */
const stepsAhead = 4;

export class FairSteps {
  /** The lowest count of the runs that waited for the last step. */
  private floor = 0;

  constructor(private readonly bounds: StepBounds) {}

  /**
   * Before a run waits for a step again after it took part in none: it catches up with the last of the others, since nobody
   * saves up rows.
   */
  enter(share: { served: number }): void {
    share.served = Math.max(share.served, this.floor);
  }

  /** Chooses those of the next step, and counts their rows as served. @param waiting at least one */
  choose<S extends Share>(waiting: readonly S[]): S[] {
    const order = [...waiting].sort((a, b) => a.served - b.served); // stable: of equal ones the longest waiting is first
    const first = order[0]!;
    this.floor = Math.max(this.floor, first.served);
    const { maxRows, maxTenants } = this.bounds;
    const ahead = stepsAhead * Math.max(...waiting.map(({ rows, weight }) => rows / weight));
    const chosen: S[] = [];
    let rows = 0;
    for (const share of order) {
      if (chosen.length === maxTenants || share.served - first.served >= ahead) break;
      if (share.layout !== first.layout || (chosen.length > 0 && rows + share.rows > maxRows)) continue;
      chosen.push(share);
      rows += share.rows;
    }
    for (const share of chosen) share.served += share.rows / share.weight;
    return chosen;
  }
}

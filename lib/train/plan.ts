import type { EpochPlan } from "../data/batches";
import type { ExampleSource } from "./examples";
import type { TrainerSettings } from "./options";

/** A position between two optimizer steps: the epoch, and the micro-batches of it that are done. */
export interface Cursor {
  readonly epoch: number;
  readonly microBatch: number;
}

/** A planned optimizer step. */
export interface PlannedStep {
  /** Examples of each micro-batch. */
  readonly indices: readonly Int32Array[];
  readonly after: Cursor;
  /** Passes over the data after this step, with a fraction. */
  readonly epochs: number;
}

/** Plans the examples of each optimizer step of a run: a function of data, options and seed. */
export class Plan {
  private latest: { epoch: number; batches: EpochPlan } | undefined;

  constructor(
    private readonly source: ExampleSource,
    private readonly settings: Pick<
      TrainerSettings,
      | "maxSteps"
      | "epochs"
      | "packing"
      | "gradientAccumulationSteps"
      | "batchSize"
      | "shuffle"
      | "seed"
      | "groupByLength"
    >,
  ) {}

  /** Optimizer steps of the run: those of its epochs, or `maxSteps`. */
  async totalSteps(): Promise<number> {
    const { maxSteps, epochs, packing } = this.settings;
    if (maxSteps !== undefined) return maxSteps;
    if (!packing) return epochs * (await this.stepsOf(0)); // only packing makes their number depend on the order
    let steps = 0;
    for (let epoch = 0; epoch < epochs; epoch++) steps += await this.stepsOf(epoch);
    return steps;
  }

  /** The step after a position; the last one of an epoch may have fewer micro-batches, as in transformers' Trainer. */
  async next({ epoch, microBatch }: Cursor): Promise<PlannedStep> {
    const batches = await this.batchesOf(epoch);
    const end = Math.min(microBatch + this.settings.gradientAccumulationSteps, batches.length);
    const ends = end === batches.length;
    return {
      indices: Array.from({ length: end - microBatch }, (_, at) => batches.batch(microBatch + at)),
      after: ends ? { epoch: epoch + 1, microBatch: 0 } : { epoch, microBatch: end },
      epochs: ends ? epoch + 1 : epoch + end / batches.length,
    };
  }

  /**
   * Whether a position is that of a run after this many steps. With packing only the range is checked: the exact position
   * would need the plans of all epochs before.
   */
  async isAfter(step: number, { epoch, microBatch }: Cursor): Promise<boolean> {
    const { gradientAccumulationSteps, packing } = this.settings;
    if (microBatch % gradientAccumulationSteps !== 0) return false;
    if (packing) return epoch <= step && microBatch < (await this.batchesOf(epoch)).length;
    const steps = await this.stepsOf(0);
    const made = microBatch / gradientAccumulationSteps;
    return made < steps && epoch * steps + made === step;
  }

  private async stepsOf(epoch: number): Promise<number> {
    return Math.ceil((await this.batchesOf(epoch)).length / this.settings.gradientAccumulationSteps);
  }

  private async batchesOf(epoch: number): Promise<EpochPlan> {
    if (this.latest?.epoch !== epoch) {
      const { batchSize, shuffle, seed, packing, groupByLength } = this.settings;
      const batches = await this.source.plan({ batchSize, shuffle, seed, epoch, packing, groupByLength });
      this.latest = { epoch, batches };
    }
    return this.latest.batches;
  }
}

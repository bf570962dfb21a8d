import { planEpoch } from "../data/batches";
import type { ExampleSource } from "./examples";
import type { Settings } from "./options";

/** A place between two optimizer steps: micro-batches of the epoch that are done. */
export interface Cursor {
  readonly epoch: number;
  readonly microBatch: number;
}

/** An optimizer step to be made. */
export interface PlannedStep {
  /** Examples of each micro-batch. */
  readonly indices: readonly (readonly number[])[];
  readonly after: Cursor;
  /** Passes over the data once it is made, with the part of the present one. */
  readonly epochs: number;
}

/** Which examples each optimizer step of a run takes: a function of data, options and seed. */
export class Plan {
  private latest: { epoch: number; batches: number[][] } | undefined;

  constructor(
    private readonly source: ExampleSource,
    private readonly settings: Settings,
  ) {}

  /** Optimizer steps of the run: those of its epochs, or `maxSteps`. */
  totalSteps(): number {
    const { maxSteps, epochs, packing } = this.settings;
    if (maxSteps !== undefined) return maxSteps;
    if (!packing) return epochs * this.stepsOf(0); // packing alone makes their number depend on the order
    let steps = 0;
    for (let epoch = 0; epoch < epochs; epoch++) steps += this.stepsOf(epoch);
    return steps;
  }

  /** The step from a place on; the last of an epoch may have fewer micro-batches, as in transformers' Trainer. */
  next({ epoch, microBatch }: Cursor): PlannedStep {
    const batches = this.batchesOf(epoch);
    const end = Math.min(microBatch + this.settings.gradientAccumulationSteps, batches.length);
    const ends = end === batches.length;
    return {
      indices: batches.slice(microBatch, end),
      after: ends ? { epoch: epoch + 1, microBatch: 0 } : { epoch, microBatch: end },
      epochs: ends ? epoch + 1 : epoch + end / batches.length,
    };
  }

  private stepsOf(epoch: number): number {
    return Math.ceil(this.batchesOf(epoch).length / this.settings.gradientAccumulationSteps);
  }

  private batchesOf(epoch: number): number[][] {
    if (this.latest?.epoch !== epoch) {
      const { lengths, supervisedCounts } = this.source;
      const { batchSize, shuffle, seed, packing, groupByLength } = this.settings;
      const batches = planEpoch({ lengths, supervisedCounts, batchSize, shuffle, seed, epoch, packing, groupByLength });
      this.latest = { epoch, batches };
    }
    return this.latest.batches;
  }
}

/** How the steps and evaluations of a run are made: alone here; together with those of other runs in shared_steps.ts. */
import { runJob } from "../job";
import type { LanguageModel } from "../model/model";
import type { NativeMicroBatch, NativeOptimizer, NativeOptimizerOptions, NativeTenantResult } from "../native";
import { type EvaluationPart, type EvaluationSums, sumsAlone } from "./evaluate";
import type { Trainee } from "./trainee";

/** A step that a run is ready to make. */
export interface StepRequest {
  readonly microBatches: readonly NativeMicroBatch[];
  readonly trainee: Trainee;
  readonly optimizer: NativeOptimizer;
  readonly options: NativeOptimizerOptions;
  /** Whether to recompute blocks in a step whose largest micro-batch has so many rows. */
  readonly recomputes: (rows: number) => boolean;
}

export interface StepMaker {
  /** Makes a step. @throws RubricateError then nothing of the run has changed */
  make(step: StepRequest, signal: AbortSignal | undefined): Promise<NativeTenantResult>;
  /** Evaluates a part of the run's examples. */
  evaluate(part: EvaluationPart, signal: AbortSignal | undefined): Promise<EvaluationSums>;
  /** Tells that an evaluation of several parts begins, or that it has ended. */
  evaluates(now: boolean): void;
  /** Tells that the run does something before its next step that takes long. */
  away(): void;
}

/** Rows of micro-batches: their tokens. */
export function rowsOf(microBatches: readonly NativeMicroBatch[]): number {
  return microBatches.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
}

/** Makes steps of one run alone. */
export function stepsAlone(model: LanguageModel): StepMaker {
  return {
    async make({ microBatches, trainee, optimizer, options, recomputes }, signal) {
      const tenants = [{ parameters: trainee.parameters, optimizer, options }];
      const largest = microBatches.reduce((most, { tokenIds }) => Math.max(most, tokenIds.length), 0);
      const request = { tenants, microBatches, recompute: recomputes(largest), update: true };
      const [result] = await runJob(() => model.native.trainStep(request), signal);
      return result!;
    },
    evaluate: (part, signal) => sumsAlone(model, part, signal),
    evaluates() {},
    away() {},
  };
}

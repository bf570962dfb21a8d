import { RubricateError } from "../errors";

/** Shape of the learning rate over a run. */
export type Schedule = "linear" | "cosine" | "constant" | "constant_with_warmup";

export const schedules: readonly Schedule[] = ["linear", "cosine", "constant", "constant_with_warmup"];

/**
 * Learning rate of a step, as in transformers' `get_scheduler` (optimization.py): linear from 0 during the warm-up, then
 * linear to 0, half a cosine to 0, or constant. "constant" has no warm-up.
 * @param step optimizer steps made before, from 0
 * @param warmupSteps a whole number
 * @param totalSteps of the run
 */
export function learningRateAt(
  schedule: Schedule,
  peak: number,
  step: number,
  warmupSteps: number,
  totalSteps: number,
): number {
  return peak * factor(schedule, step, warmupSteps, totalSteps);
}

function factor(schedule: Schedule, step: number, warmup: number, total: number): number {
  if (schedule === "constant") return 1;
  if (step < warmup) return step / Math.max(1, warmup);
  if (schedule === "constant_with_warmup") return 1;
  if (schedule === "linear") return Math.max(0, (total - step) / Math.max(1, total - warmup));
  const progress = (step - warmup) / Math.max(1, total - warmup);
  return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
}

interface Warmup {
  readonly warmupSteps?: number;
  readonly warmupRatio?: number;
}

/** @throws RubricateError ERR_ARGUMENT if both are given; `say` formats their names */
export function requireOneWarmup(options: Warmup, say: (name: keyof Warmup) => string = (name) => name): void {
  if (options.warmupSteps !== undefined && options.warmupRatio !== undefined)
    throw new RubricateError("ERR_ARGUMENT", `Give ${say("warmupSteps")} or ${say("warmupRatio")}, not both`);
}

/**
 * Steps of the warm-up. A ratio is rounded up, as `TrainingArguments.get_warmup_steps` does.
 * @throws RubricateError ERR_ARGUMENT if both are given
 */
export function warmupStepsOf(options: Warmup, totalSteps: number): number {
  requireOneWarmup(options);
  return options.warmupSteps ?? Math.ceil(totalSteps * (options.warmupRatio ?? 0));
}

/** The default learning rates, and those that a sweep tries. docs/training.md has the measurements behind them. */
import type { RedSite } from "../adapter/config";

export type TrainingMethod = "red" | "lora" | "ia3" | "full";

export const defaultMethod = "red" as const;

/** What a learning rate fits. */
export interface Trained {
  readonly method: TrainingMethod;
  /** The sites that the adapter edits; empty with method "full". */
  readonly sites: readonly RedSite[];
  /** The model's hidden size. */
  readonly hidden: number;
}

/** The best rates of models up to this hidden size. For wider ones they fall in proportion to it. */
const measuredHidden = 200;

/** The default learning rate: that of the method and the sites, less for wide models, rounded to one digit. */
export function defaultLearningRate({ method, sites, hidden }: Trained): number {
  const ofSites = sites.every((site) => site === "ffn") ? 0.1 : 0.03;
  const narrow = { red: ofSites, lora: 0.005, ia3: 0.06, full: 0.001 }[method];
  return Number((narrow * Math.min(1, measuredHidden / hidden)).toPrecision(1));
}

const sweptRates = {
  red: [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1],
  lora: [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
  ia3: [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1],
  full: [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3],
};

/** The learning rates that a sweep tries, ascending. */
export function ratesToSweep(method: TrainingMethod): readonly number[] {
  return sweptRates[method];
}

/** The default learning rates, and those that a sweep tries. docs/training.md has the measurements behind them. */
import type { AdapterMethod } from "../adapter/adapter";
import type { RedSite } from "../adapter/config";
import { type MethodKind, methodKinds } from "../adapter/methods";

/** A method of this package, or "full": all weights of the model. */
export type TrainingMethod = MethodKind | "full";

export const trainingMethods: readonly TrainingMethod[] = [...methodKinds, "full"];

export const defaultMethod = "red" as const;

/** What a learning rate fits. */
export interface Trained {
  readonly method: AdapterMethod | TrainingMethod;
  /** The sites that the adapter edits; empty with method "full". */
  readonly sites: readonly RedSite[];
  /** The model's hidden size. */
  readonly hidden: number;
  /** The method's own rate for narrow models; undefined for those that this file knows. */
  readonly usualRate?: number | undefined;
}

/** The best rates of models up to this hidden size. For wider ones they fall in proportion to it. */
const measuredHidden = 200;

/** The default learning rate: that of the method and the sites, less for wide models, rounded to one digit. */
export function defaultLearningRate({ method, sites, hidden, usualRate }: Trained): number {
  const ofSites = sites.every((site) => site === "ffn") ? 0.1 : 0.03;
  const known: Readonly<Record<string, number>> = { red: ofSites, lora: 0.005, ia3: 0.06, full: 0.001 };
  const narrow = usualRate ?? known[method]!;
  return Number((narrow * Math.min(1, measuredHidden / hidden)).toPrecision(1));
}

const sweptRates: Readonly<Record<string, readonly number[]>> = {
  red: [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1],
  lora: [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
  ia3: [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1],
  full: [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3],
};

/** Whether this file knows the rates of a method; others have a usual rate of their own. */
export const hasMeasuredRates = (method: string): boolean => Object.hasOwn(sweptRates, method);

/** Those of another method, in multiples of its usual rate. */
const sweptMultiples = [0.01, 0.03, 0.1, 0.3, 1, 3];

/** The learning rates that a sweep tries, ascending. */
export function ratesToSweep({ method, usualRate }: Pick<Trained, "method" | "usualRate">): readonly number[] {
  if (usualRate === undefined) return sweptRates[method]!;
  return sweptMultiples.map((multiple) => Number((multiple * usualRate).toPrecision(2)));
}

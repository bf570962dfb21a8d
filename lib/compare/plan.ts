/** What a comparison runs: the methods, their learning rates and seeds. */
import { createHash } from "node:crypto";

/** A method to compare. */
export interface ComparedMethod {
  /** As it was asked for, such as "lora:rank=4". */
  readonly label: string;
  /** Its flags for `rubricate train`. */
  readonly words: readonly string[];
  /** Whether all weights are trained, so that the result is a model. */
  readonly isFull: boolean;
  /** The learning rates that it tries, ascending, each once, at least one. */
  readonly rates: readonly number[];
}

/** A run of `rubricate train`. */
export interface Training {
  readonly method: ComparedMethod;
  readonly rate: number;
  readonly seed: number;
}

/** The seed with which learning rates are tried. The best one's trial is also the run of this seed. */
export const trialSeed = 0;

/** Three around a default, each three times the one before. */
export function ratesAround(rate: number): number[] {
  return [0.3, 1, 3].map((multiple) => Number((multiple * rate).toPrecision(2)));
}

/** The name of a training's files: what it is for people, and a hash, since a label may have any characters. */
export function trainingName({ method: { label }, rate, seed }: Training): string {
  const readable = label.replace(/[^\w.+-]/g, "_").slice(0, 60);
  const hash = createHash("sha256").update(label).digest("hex").slice(0, 8);
  return `${readable}-${hash}-lr${rate}-seed${seed}`;
}

/** A training in words. */
export function trainingText({ method: { label }, rate, seed }: Training): string {
  return `${label}, learning rate ${rate}, seed ${seed}`;
}

/** How a trial ended: the loss on the dev part; undefined if there is none, because the run failed. */
export interface Trial {
  readonly rate: number;
  readonly loss: number | undefined;
}

/** The rate of the lowest loss; of equal ones the lowest rate. undefined if all failed. */
export function bestRate(trials: readonly Trial[]): number | undefined {
  let best: { rate: number; loss: number } | undefined;
  for (const { rate, loss } of [...trials].sort((a, b) => a.rate - b.rate))
    if (loss !== undefined && (best === undefined || loss < best.loss)) best = { rate, loss };
  return best?.rate;
}

/** Whether a better rate may lie beyond those that were tried. */
export function edgeOf(rate: number, rates: readonly number[]): "lowest" | "highest" | undefined {
  if (rates.length < 2) return undefined;
  if (rate === rates[0]) return "lowest";
  return rate === rates.at(-1) ? "highest" : undefined;
}

/** How many runs there are in all. */
export function planSize(methods: readonly ComparedMethod[], seeds: number): { trainings: number; tests: number } {
  const trainings = methods.reduce((sum, { rates }) => sum + rates.length + seeds - 1, 0);
  return { trainings, tests: methods.length * seeds };
}

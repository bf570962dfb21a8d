/** The rows of a comparison: what each method reached, and what it cost. */
import type { MethodOutcome, Outcome } from "./comparison";
import { isFailed } from "./records";
import { type BySeed, type Interval, intervalOf, medianOf, pairedDifference } from "./statistics";

/** A score of the test file: how it is called, and which way is better. */
export interface Score {
  /** As in the records. */
  readonly name: string;
  readonly title: string;
  readonly better: "lower" | "higher";
  readonly digits: number;
}

const known: readonly Score[] = [
  { name: "loss", title: "Test loss", better: "lower", digits: 4 },
  { name: "accuracy", title: "Accuracy", better: "higher", digits: 4 },
  { name: "bleu", title: "BLEU", better: "higher", digits: 4 },
  { name: "nist", title: "NIST", better: "higher", digits: 4 },
  { name: "rougeL", title: "ROUGE-L", better: "higher", digits: 4 },
  { name: "cider", title: "CIDEr", better: "higher", digits: 4 },
];

/** The scores that an outcome has, the main one first. */
export const scoresOf = ({ base }: Outcome): Score[] => known.filter(({ name }) => Object.hasOwn(base.scores, name));

export type Verdict = "better" | "worse" | "no difference found";

export interface Difference extends Interval {
  /** null with one seed: an interval is needed to tell. */
  readonly verdict: Verdict | null;
}

/** A score of a method. */
export interface Scored extends Interval {
  /** By seed. */
  readonly values: Readonly<Record<string, number>>;
  /** From the first method, over the same seeds; null: it is the first, or no seed has both. */
  readonly difference: Difference | null;
}

/** Why a run of a method has no result. */
export interface FailedRun {
  readonly learningRate: number;
  readonly seed: number;
  readonly stage: "train" | "test";
  readonly reason: string;
}

export interface Row {
  readonly method: string;
  /** The one that all seeds were trained with; null if no trial had a result. */
  readonly learningRate: number | null;
  /** Where it is the lowest or highest of those that were tried: a better one may lie beyond. */
  readonly edge: "lowest" | "highest" | null;
  /** Dev losses of the rates that were tried; null: that run failed. */
  readonly trials: readonly { readonly learningRate: number; readonly devLoss: number | null }[];
  /** Trained numbers; null without a finished run. */
  readonly parameters: number | null;
  /** Bytes of the saved tensors. */
  readonly bytes: number | null;
  /** By the score's name; empty without a finished run. */
  readonly scores: Readonly<Record<string, Scored>>;
  readonly failures: readonly FailedRun[];
  /** What its runs of the seeds said to people. */
  readonly notices: readonly { readonly seed: number; readonly message: string }[];
  /** What differs between two calls of the same command. */
  readonly measured: {
    /** The highest of the trainings. */
    readonly peakMib: number;
    readonly aboveBaseMib: number;
    /** The median of the trainings. */
    readonly tokensPerSecond: number;
    readonly seconds: number;
  } | null;
}

/** Rows of all methods, in their order: differences are from the first. */
export function rowsOf(outcome: Outcome): Row[] {
  const scores = scoresOf(outcome);
  const bySeed = (method: MethodOutcome, name: string): BySeed =>
    new Map(
      method.seeds.flatMap(({ seed, test }) => (test && !isFailed(test) ? [[seed, test.scores[name]!] as const] : [])),
    );
  return outcome.methods.map((method, at) => {
    const first = outcome.methods[0]!;
    const scored = scores.flatMap((score) => {
      const values = bySeed(method, score.name);
      if (values.size === 0) return [];
      const difference = at === 0 ? null : differenceOf(values, bySeed(first, score.name), score);
      const interval = intervalOf([...values.values()]);
      return [[score.name, { ...interval, values: Object.fromEntries(values), difference }] as const];
    });
    return { ...settledOf(method, outcome.basePeakMib), scores: Object.fromEntries(scored) };
  });
}

/** A number with its digits; never "-0.0000". */
export const fixed = (value: number, digits: number) => Number(value.toFixed(digits)).toFixed(digits);

function differenceOf(values: BySeed, reference: BySeed, { better, digits }: Score): Difference | null {
  const interval = pairedDifference(values, reference);
  if (interval === undefined) return null;
  const { mean, half } = interval;
  if (half === null) return { ...interval, verdict: null };
  // One that its digits do not show is none that anybody would look for.
  if (Math.abs(mean) <= half || Number(mean.toFixed(digits)) === 0)
    return { ...interval, verdict: "no difference found" };
  return { ...interval, verdict: mean < 0 === (better === "lower") ? "better" : "worse" };
}

function settledOf({ method, rate, edge, trials, seeds }: MethodOutcome, basePeakMib: number): Omit<Row, "scores"> {
  const done = seeds.flatMap(({ training }) => (isFailed(training) ? [] : [training]));
  const peakMib = Math.max(...done.map(({ measured }) => measured.peakMib));
  return {
    method: method.label,
    learningRate: rate ?? null,
    edge: edge ?? null,
    trials: trials.map(({ rate: learningRate, record }) => ({
      learningRate,
      devLoss: isFailed(record) ? null : record.result.devLoss,
    })),
    parameters: done[0]?.result.parameters ?? null,
    bytes: done[0]?.result.bytes ?? null,
    failures: failuresOf({ rate, trials, seeds }),
    notices: seeds.flatMap(({ seed, training }) =>
      isFailed(training) ? [] : training.result.notices.map((message) => ({ seed, message })),
    ),
    measured:
      done.length === 0
        ? null
        : {
            peakMib,
            aboveBaseMib: peakMib - basePeakMib,
            tokensPerSecond: medianOf(done.map(({ measured }) => measured.tokensPerSecond)),
            seconds: medianOf(done.map(({ measured }) => measured.seconds)),
          },
  };
}

function failuresOf({ rate, trials, seeds }: Pick<MethodOutcome, "rate" | "trials" | "seeds">): FailedRun[] {
  const ofTrials = trials.flatMap(({ rate: learningRate, record }): FailedRun[] =>
    isFailed(record) ? [{ learningRate, seed: 0, stage: "train", reason: record.failure.reason }] : [],
  );
  const ofSeeds = seeds.flatMap(({ seed, training, test }): FailedRun[] => {
    const failed = (stage: "train" | "test", record: object | undefined) =>
      record && isFailed(record) ? [{ learningRate: rate!, seed, stage, reason: record.failure.reason }] : [];
    return [...failed("train", training), ...failed("test", test)];
  });
  return [...ofTrials, ...ofSeeds];
}

/** Whether a method lacks a result of one of its seeds; a learning rate at which it diverged is none. */
export function lacksResults({ learningRate, scores }: Row, seeds: number): boolean {
  return learningRate === null || Object.values(scores)[0]?.count !== seeds;
}

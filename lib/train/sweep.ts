/**
 * The learning rate of a run with "sweep": successive halving (Jamieson and Talwalkar, "Non-stochastic best arm
 * identification and hyperparameter optimization", AISTATS 2016) over a grid of rates. A trial trains from the start with the
 * run's own data order and a schedule of the same shape over fewer steps, then evaluates; afterwards the parameters are those
 * from before.
 */
import { RubricateError } from "../errors";
import { nonNegativeFloat32 } from "../option_kinds";
import type { TrialEvent } from "./events";
import type { ExampleSource } from "./examples";
import { ratesToSweep } from "./learning_rates";
import type { Settings, TrainerSettings } from "./options";
import { Plan } from "./plan";
import { OtherRun, savedRun } from "./resume";
import { Run } from "./run";
import { RunLock } from "./run_lock";
import { warmupStepsOf } from "./schedule";
import { sourcesOf } from "./sources";
import type { StepMaker } from "./step_maker";
import { traineeOf } from "./trainee";

/** Rates of the second round: the best of the first, each with twice its steps. */
const finalists = 2;
/** Steps of all trials together, as a share of the run's. */
const stepShare = 1 / 5;
/** Work of all evaluations together, as a share of that of the run's steps. With `stepShare` and what else a trial takes: below a third. */
const evaluationShare = 1 / 10;
/** Cost of a token in training, in evaluations of one: at least one backward pass of the same matmuls. */
const trainingCost = 2;
/** Losses of finalists that differ by less are taken as equal, and the higher rate wins: short trials favour the lower ones. */
const equalLosses = 0.05;
/** Steps of a trial of the first round below which losses say too little: with 2, rates were missed by 0.15 nats. */
const fewestSteps = 5;

interface Swept {
  readonly settings: Settings;
  /** Empty if no sweep was made. */
  readonly trials: readonly TrialEvent[];
}

/** What the trials share with the run. */
interface SweptRun {
  readonly signal: AbortSignal | undefined;
  readonly steps: StepMaker;
}

/**
 * The settings with a learning rate. "sweep": that of the run to resume from; otherwise trials find it, whose events are
 * yielded.
 * @throws RubricateError ERR_ARGUMENT if the run is too short for a sweep; ERR_CHECKPOINT if the run to resume from had no
 * sweep; the errors of a run
 */
export async function* withLearningRate(
  settings: TrainerSettings,
  run: SweptRun & { readonly resume: boolean | string },
): AsyncGenerator<TrialEvent, Swept, void> {
  const { learningRate } = settings;
  const { resume } = run;
  if (learningRate !== "sweep") return { settings: { ...settings, learningRate }, trials: [] };
  const saved = await savedRun(settings, resume);
  if (!saved) return yield* sweep(settings, run);
  const { learningRate: found, learningRateFrom } = saved.identity;
  if (learningRateFrom !== "sweep" && settings.overwrite) return yield* sweep(settings, run);
  if (learningRateFrom !== "sweep" || nonNegativeFloat32.fault(found) !== undefined)
    throw new OtherRun(saved.path, `it has learningRate ${JSON.stringify(found)}, which no sweep found`);
  return { settings: { ...settings, learningRate: found as number }, trials: [] };
}

async function* sweep(given: TrainerSettings, run: SweptRun): AsyncGenerator<TrialEvent, Swept, void> {
  const { train, evaluation } = await sourcesOf(given);
  const settings = { ...given, train, eval: evaluation! };
  const totalSteps = await new Plan(train, settings).totalSteps();
  const rates = ratesToSweep({ method: settings.method, usualRate: settings.adapter?.usualRate });
  const unit = Math.floor((totalSteps * stepShare) / (rates.length + 2 * finalists));
  if (unit < fewestSteps) throw tooShort(totalSteps, rates.length);
  const part = await evaluationPart(evaluation!, train, totalSteps, rates.length + finalists, settings);
  const { trainee } = await traineeOf(settings.model, settings.adapter);
  const before = await trainee.snapshot();
  const trials: TrialEvent[] = [];
  const round = async function* (some: readonly number[], steps: number) {
    const results: TrialEvent[] = [];
    for (const learningRate of some) {
      const trialOptions = trialSettings({ ...settings, eval: part, learningRate }, steps, totalSteps);
      const evalLoss = await trialLoss(trialOptions, run).finally(() => trainee.restore(before));
      const trial: TrialEvent = { type: "trial", learningRate, steps, evalLoss };
      results.push(trial);
      trials.push(trial);
      yield trial;
    }
    return results;
  };
  const best = ranked(yield* round(rates, unit)).slice(0, finalists);
  const last = yield* round(
    best.map(({ learningRate }) => learningRate),
    2 * unit,
  );
  return { settings: { ...settings, learningRate: chosenRate(last) }, trials };
}

function tooShort(totalSteps: number, rates: number): RubricateError {
  const least = Math.ceil((fewestSteps * (rates + 2 * finalists)) / stepShare);
  return new RubricateError(
    "ERR_ARGUMENT",
    `Expected a run of at least ${least} steps for learningRate "sweep" but received one of ${totalSteps}: its trials would be too short; give a learning rate`,
  );
}

/** Trials that were not finite come last. */
const lossOf = ({ evalLoss }: TrialEvent) => evalLoss ?? Number.MAX_VALUE;

/** By loss, the lowest first; of equal losses the lower rate. */
function ranked(trials: readonly TrialEvent[]): TrialEvent[] {
  return [...trials].sort((a, b) => lossOf(a) - lossOf(b) || a.learningRate - b.learningRate);
}

function chosenRate(trials: readonly TrialEvent[]): number {
  const lowest = Math.min(...trials.map(lossOf));
  if (lowest === Number.MAX_VALUE)
    throw new RubricateError(
      "ERR_NOT_FINITE",
      "No learning rate of the sweep gave a finite loss: give a low learningRate, and check the data and the model",
    );
  const good = trials.filter((trial) => lossOf(trial) - lowest < equalLosses);
  return Math.max(...good.map(({ learningRate }) => learningRate));
}

/** The evaluation data, or so many at random that all evaluations cost no more than their share of the run. */
async function evaluationPart(
  evaluation: ExampleSource,
  train: ExampleSource,
  totalSteps: number,
  trials: number,
  settings: TrainerSettings,
): Promise<ExampleSource> {
  const epochSteps = await new Plan(train, { ...settings, maxSteps: undefined, epochs: 1 }).totalSteps();
  const runTokens = (sum(train.lengths) / epochSteps) * totalSteps;
  const share = (runTokens * evaluationShare * trainingCost) / trials / sum(evaluation.lengths);
  if (share >= 1 || evaluation.length < 2) return evaluation;
  const { eval: part } = await evaluation.splitInSlices(share, settings.seed);
  return sum(part.supervisedCounts) > 0 ? part : evaluation;
}

function sum(numbers: ArrayLike<number>): number {
  let total = 0;
  for (let at = 0; at < numbers.length; at++) total += numbers[at]!;
  return total;
}

/** Trains and evaluates. @returns the loss; null if it, or an update, was not finite */
async function trialLoss(settings: Settings, { signal, steps }: SweptRun): Promise<number | null> {
  const lock = new RunLock(); // holds nothing: the caller has the locks of the run
  const run = await Run.begin({ settings, resume: false, lock, signal }, steps);
  try {
    let loss: number | null = null;
    for await (const event of run.events()) if (event.type === "eval") loss = event.loss;
    return loss;
  } catch (error) {
    if (error instanceof RubricateError && error.code === "ERR_NOT_FINITE") return null;
    throw error;
  } finally {
    run.core.end();
  }
}

/** A run of fewer steps with the same shape of schedule, which evaluates at its end and writes nothing. */
function trialSettings(settings: Settings, steps: number, totalSteps: number): Settings {
  return {
    ...settings,
    maxSteps: steps,
    warmupSteps: Math.round((warmupStepsOf(settings, totalSteps) * steps) / totalSteps),
    warmupRatio: undefined,
    evalEverySteps: undefined,
    evalEveryEpoch: false,
    evalOnStart: false,
    earlyStopping: undefined,
    keepBest: false,
    outputDir: undefined,
    checkpointEverySteps: undefined,
    loggers: [],
  };
}

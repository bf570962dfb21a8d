/**
 * A comparison of methods. Each tries the same number of learning rates with one seed and is judged on the dev part; its best
 * rate then trains all seeds; at the end each run is scored once on the test file.
 */
import { Estimate, type Stage } from "./estimate";
import { bestRate, type ComparedMethod, edgeOf, planSize, type Training, trainingText, trialSeed } from "./plan";
import { isFailed, type TestRecord, type TrainingRecord } from "./records";
import { type Runs, requireDone } from "./runs";
import { SameBatches } from "./same_batches";

/** A finished run, of a training or of a test, as it is told to the caller. */
export interface RunEvent {
  readonly type: "run";
  readonly stage: "train" | "test";
  /** null: the base alone. */
  readonly method: string | null;
  readonly learningRate: number | null;
  readonly seed: number | null;
  /** Whether its record of an earlier call was used. */
  readonly recorded: boolean;
  readonly record: TrainingRecord | TestRecord;
}

/** The learning rate that a method trains its seeds with; null if no trial had a result. */
export interface RateEvent {
  readonly type: "rate";
  readonly method: string;
  readonly learningRate: number | null;
}

export type ComparisonEvent = RunEvent | RateEvent;

export interface Watcher {
  event(event: ComparisonEvent): void;
  /** @param share of all runs that is done @param secondsLeft undefined while nothing is known */
  progress(share: number, words: string, secondsLeft: number | undefined): void;
}

/** What became of a method. */
export interface MethodOutcome {
  readonly method: ComparedMethod;
  /** Of each rate that was tried, ascending; empty if only one was given. */
  readonly trials: readonly { readonly rate: number; readonly record: TrainingRecord }[];
  readonly rate: number | undefined;
  /** The end of the list at which the rate is. */
  readonly edge: "lowest" | "highest" | undefined;
  readonly seeds: readonly SeedOutcome[];
}

export interface SeedOutcome {
  readonly seed: number;
  readonly training: TrainingRecord;
  /** undefined if the training failed. */
  readonly test: TestRecord | undefined;
}

export interface Outcome {
  readonly base: Extract<TestRecord, { scores: unknown }>;
  /** Peak memory of an evaluation of the base by its loss. */
  readonly basePeakMib: number;
  readonly methods: readonly MethodOutcome[];
  /** SHA-256 of the batches, by seed. */
  readonly batches: Readonly<Record<string, string>>;
}

export class Comparison {
  private readonly same = new SameBatches();
  private readonly estimate: Estimate;

  constructor(
    private readonly methods: readonly ComparedMethod[],
    private readonly seeds: number,
    private readonly runs: Runs,
    private readonly watcher: Watcher,
  ) {
    const { trainings, tests } = planSize(methods, seeds);
    this.estimate = new Estimate({ train: trainings, test: tests + 1 });
  }

  /**
   * Makes all runs that have no record.
   * @throws RubricateError the base's failure; ERR_DATA if runs of a seed had other batches; ERR_ABORTED, ERR_FILE,
   * ERR_CHECKPOINT
   */
  async run(): Promise<Outcome> {
    // First: a wrong test file is found now, not after hours. No choice depends on it.
    const base = requireDone(await this.test(undefined), "The evaluation of the base");
    const memory = requireDone(await this.runs.memory(), "The evaluation of the base's loss");
    const tried: Omit<MethodOutcome, "seeds">[] = [];
    for (const method of this.methods) tried.push(await this.triedRates(method));
    const trained = await this.trainSeeds(tried);
    const methods: MethodOutcome[] = [];
    for (const [at, one] of tried.entries()) methods.push({ ...one, seeds: await this.testSeeds(one, trained[at]!) });
    return { base, basePeakMib: memory.measured.peakMib, methods, batches: this.same.hashes };
  }

  private async triedRates(method: ComparedMethod): Promise<Omit<MethodOutcome, "seeds">> {
    const { rates, label } = method;
    const trials: { rate: number; record: TrainingRecord }[] = [];
    const best = () => bestRate(trials.map(({ rate: one, record }) => ({ rate: one, loss: devLossOf(record) })));
    if (rates.length > 1)
      for (const tried of rates) {
        trials.push({ rate: tried, record: await this.train({ method, rate: tried, seed: trialSeed }, false) });
        // What a worse rate has trained is not needed: it may be a whole model.
        for (const other of trials)
          if (other.rate !== best()) await this.runs.forget({ method, rate: other.rate, seed: trialSeed });
      }
    const rate = rates.length > 1 ? best() : rates[0]!;
    if (rates.length > 1) this.watcher.event({ type: "rate", method: label, learningRate: rate ?? null });
    return { method, trials, rate, edge: rate === undefined ? undefined : edgeOf(rate, rates) };
  }

  /** One seed after the other, so that what changes on the machine meanwhile concerns all methods alike. */
  private async trainSeeds(tried: readonly Omit<MethodOutcome, "seeds">[]) {
    const trained = tried.map((): [number, TrainingRecord][] => []);
    for (let seed = 0; seed < this.seeds; seed++)
      for (const [at, { method, rate, trials }] of tried.entries()) {
        if (rate === undefined) {
          if (seed !== trialSeed) this.estimate.skip("train");
          continue;
        }
        const isTrial = seed === trialSeed && trials.length > 0;
        const training = { method, rate, seed };
        const needsResult = !(await this.runs.hasTest(training));
        const record = isTrial
          ? await this.runs.training(training, needsResult, () => {})
          : await this.train(training, needsResult);
        trained[at]!.push([seed, record]);
      }
    return trained;
  }

  private async testSeeds(
    { method, rate }: Omit<MethodOutcome, "seeds">,
    trained: readonly [number, TrainingRecord][],
  ): Promise<SeedOutcome[]> {
    const outcomes: SeedOutcome[] = [];
    for (const [seed, training] of trained) {
      const run = { method, rate: rate!, seed };
      const test = isFailed(training) ? undefined : await this.test(run);
      // Adapters stay for use; a model for each seed would fill the disk.
      if (test && !isFailed(test) && method.isFull) await this.runs.forget(run);
      outcomes.push({ seed, training, test });
    }
    return outcomes;
  }

  private async train(training: Training, needsResult: boolean): Promise<TrainingRecord> {
    const what = trainingText(training);
    const record = await this.made("train", training, what, (onStep) =>
      this.runs.training(training, needsResult, onStep),
    );
    if (!isFailed(record)) this.same.add(training.seed, what, record.result.batches);
    return record;
  }

  private test(training: Training | undefined): Promise<TestRecord> {
    const what = training === undefined ? "the base alone" : trainingText(training);
    return this.made("test", training, what, () => this.runs.test(training));
  }

  /** Makes a run, and tells of it. */
  private async made<R extends TrainingRecord | TestRecord>(
    stage: Stage,
    training: Training | undefined,
    what: string,
    make: (onStep: (share: number, words: string) => void) => Promise<R>,
  ): Promise<R> {
    const { estimate, watcher, runs } = this;
    const before = runs.launched;
    estimate.begin(stage);
    const show = (share: number, words: string) => {
      const { number, of } = estimate.place;
      const text = `run ${number} of ${of}: ${what}: ${words}`;
      watcher.progress(estimate.done(share), text, estimate.secondsLeft(share));
    };
    show(0, stage === "train" ? "starting" : "test file");
    const record = await make(show);
    const recorded = runs.launched === before;
    estimate.end(!recorded);
    const { method, rate, seed } = training ?? {};
    const run = { method: method?.label ?? null, learningRate: rate ?? null, seed: seed ?? null };
    watcher.event({ type: "run", stage, ...run, recorded, record });
    return record;
  }
}

function devLossOf(record: TrainingRecord): number | undefined {
  return isFailed(record) ? undefined : record.result.devLoss;
}

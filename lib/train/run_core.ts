import { microBatchOf } from "../data/batches";
import { runJob, throwIfAborted } from "../job";
import {
  type NativeMicroBatch,
  type NativeOptimizer,
  type NativeOptimizerOptions,
  type NativeTenantResult,
  native,
} from "../native";
import { BatchHash, stepDigest } from "./batch_hash";
import { endTokenNotices } from "./end_token";
import type { EndEvent, StepEvent, TrainEvent, TrainSummary } from "./events";
import type { ExampleSource } from "./examples";
import { freezeGrown, freezeStepOf } from "./freezing";
import { identityOf, type RunIdentity } from "./identity";
import type { LogPosition } from "./loggers";
import { type LossTrend, lossTrendOf } from "./loss_trend";
import { Meter, ownPeakMib, peakMemoryMib } from "./meter";
import type { Settings } from "./options";
import { type Cursor, Plan, type PlannedStep } from "./plan";
import { recomputeRule } from "./recompute";
import { type Resumption, resumption } from "./resume";
import { type LastStep, RunCheckpoints } from "./run_checkpoints";
import { checkpointContents, parameterFileOf } from "./run_contents";
import { RunEvaluations } from "./run_evaluations";
import { finishOverwriting, writeRunFile } from "./run_file";
import type { RunHooks } from "./run_hooks";
import type { RunLock } from "./run_lock";
import { learningRateAt, warmupStepsOf } from "./schedule";
import { sourcesOf } from "./sources";
import { newState } from "./state";
import { rowsOf, type StepMaker, type StepRequest } from "./step_maker";
import { restoreMoments, type Trainee, traineeOf } from "./trainee";

/** A step's examples. */
interface Loaded {
  readonly planned: PlannedStep;
  readonly microBatches: NativeMicroBatch[];
  /** Of the micro-batches, see `stepDigest`. */
  readonly digest: Buffer;
}

/** A run's next optimizer step. */
export type NextStep = Loaded & StepRequest;

interface Parts {
  readonly settings: Settings;
  readonly signal: AbortSignal | undefined;
  readonly train: ExampleSource;
  readonly evaluation: ExampleSource | undefined;
  readonly plan: Plan;
  readonly totalSteps: number;
  readonly warmupSteps: number;
  /** After this step, numbers that have grown are frozen; undefined: none. */
  readonly freezeStep: number | undefined;
  readonly trainee: Trainee;
  readonly identity: RunIdentity;
  readonly outputDir: string | undefined;
  readonly lock: RunLock;
  readonly hooks: RunHooks;
  readonly steps: StepMaker;
}

/** What a run is begun with. */
export interface RunStart {
  readonly settings: Settings;
  readonly resume: boolean | string;
  readonly lock: RunLock;
  readonly signal: AbortSignal | undefined;
  readonly hooks?: RunHooks;
}

/**
 * A training run without its loop: its state, its data, what it does before, after and between its steps. Who drives it
 * makes the steps, alone or together with those of other runs: `Run` (run.ts).
 */
export class RunCore {
  private readonly state = newState();
  private readonly optimizer: NativeOptimizer;
  private readonly meter = new Meter();
  private readonly batches = new BatchHash();
  private readonly startedAt = performance.now();
  private readonly evaluations: RunEvaluations;
  /** undefined without an outputDir. */
  private readonly checkpoints: RunCheckpoints | undefined;
  /** Whether the parameters are those of the best evaluation instead of those of the last step. */
  private holdsBest = false;
  /** undefined if losses are not compared with the first: in a resumed run they are not known. */
  private readonly trend: LossTrend | undefined;
  private readonly recomputes: (rows: number) => boolean;
  private loading: Promise<Loaded> | undefined;
  /** The last step of which `hooks.onStep` was told. */
  private hookedStep = 0;

  private constructor(
    private readonly parts: Parts,
    private readonly resumed: Resumption,
  ) {
    this.optimizer = new (native().Optimizer)(parts.trainee.parameters);
    const { recompute, model, adapter } = parts.settings;
    this.recomputes = recomputeRule(recompute, model, adapter);
    const { outputDir, identity } = parts;
    const { checkpoint, overwrites } = resumed;
    this.evaluations = new RunEvaluations(parts, this.state);
    if (outputDir !== undefined)
      this.checkpoints = new RunCheckpoints(outputDir, identity, parts.settings, async () => {
        await parts.lock.requireFolder();
        return checkpointContents(parts, this.state, this.optimizer, this.evaluations.best);
      });
    if (overwrites) this.checkpoints?.overwriteOthers();
    if (!checkpoint) {
      this.trend = lossTrendOf(parts.settings, parts.warmupSteps);
      return;
    }
    this.checkpoints?.resumeFrom(checkpoint);
    Object.assign(this.state, checkpoint.state);
    this.hookedStep = this.state.step;
    this.evaluations.best = checkpoint.best;
  }

  /** Prepares the optimizer, and restores moments and parameters from the checkpoint that the run resumes from. */
  private async restore(): Promise<void> {
    await runJob(() => this.optimizer.prepare());
    const { trainee, settings } = this.parts;
    if (trainee.nuclearNorm) {
      const { factor, base } = trainee.nuclearNorm;
      this.optimizer.addNuclearNorm(factor, settings.seed, await base());
    }
    const { checkpoint } = this.resumed;
    if (!checkpoint) return;
    await trainee.restore(checkpoint.values);
    await restoreMoments(this.optimizer, checkpoint.state.step, checkpoint.m, checkpoint.v);
    if (checkpoint.frozen.length > 0) this.optimizer.freeze(checkpoint.frozen);
  }

  /** Prepares a run: checks the data and reads the checkpoint to resume from, if any. */
  static async begin({ settings, resume, lock, signal, hooks = {} }: RunStart, steps: StepMaker): Promise<RunCore> {
    throwIfAborted(signal);
    const { model, adapter } = settings;
    const { train, evaluation } = await sourcesOf(settings);
    const plan = new Plan(train, settings);
    const totalSteps = await plan.totalSteps();
    const warmupSteps = warmupStepsOf(settings, totalSteps);
    const { trainee, base } = await traineeOf(model, adapter);
    const freezeStep = freezeStepOf(trainee, totalSteps);
    const identity = {
      ...identityOf(settings),
      ...(freezeStep !== undefined && { freezeStep }), // a longer run would freeze later
      totalSteps,
      warmupSteps,
      base,
      train: train.fingerprint,
      eval: evaluation?.fingerprint ?? null,
    };
    const { outputDir } = settings;
    const cpuPath = native().cpu().path;
    const matmul = model.device.matmul ?? null;
    const parameterFile = parameterFileOf(adapter);
    const { overwrite } = settings;
    const request = { outputDir, resume, overwrite, identity, plan, cpuPath, matmul, trainee, parameterFile, signal };
    const resumed = await resumption(request);
    throwIfAborted(signal);
    const data = { train, evaluation, plan, totalSteps, warmupSteps, freezeStep };
    const run = new RunCore({ settings, signal, ...data, trainee, identity, outputDir, lock, hooks, steps }, resumed);
    await run.restore();
    if (outputDir !== undefined) await writeRunFile(outputDir, { identity, overwrites: resumed.overwrites });
    return run;
  }

  /** The position to rewind the logs to, for a resumed run. */
  get resumedPosition(): LogPosition | undefined {
    const { checkpoint } = this.resumed;
    if (!checkpoint) return undefined;
    const { step, evaluatedStep } = checkpoint.state;
    return { step, evaluated: evaluatedStep === step };
  }

  /** Frees the moments. */
  end(): void {
    this.optimizer.dispose();
    if (this.parts.settings.method === "full") this.parts.settings.model.forgetFingerprint();
  }

  /** Before the first step. */
  async *opening(): AsyncGenerator<TrainEvent, void, void> {
    const { settings, train, evaluation, totalSteps, trainee } = this.parts;
    yield {
      type: "start",
      totalSteps,
      learningRate: settings.learningRate,
      learningRateFrom: settings.learningRateFrom,
      trainRows: train.length,
      evalRows: evaluation?.length ?? 0,
      skippedRows: train.reportCounts.skipped,
      trainableParameters: trainee.count,
      resumedStep: this.state.step,
    };
    const notices = [...endTokenNotices(train.endTokenId, settings.model), ...this.resumed.notices];
    for (const message of notices) yield { type: "notice", message };
    if (settings.evalOnStart && evaluation && this.state.step === 0) yield await this.evaluations.first();
    await this.checkpoints?.prune(this.state.step);
  }

  /** Whether something is due before the next step: an evaluation, a checkpoint, or to freeze what has grown. */
  get isDue(): boolean {
    return this.evaluations.isDue() || this.checkpointIsDue() || this.freezingIsDue();
  }

  /** Evaluates, writes a checkpoint and freezes what has grown, as far as they are due. */
  async *whatIsDue(): AsyncGenerator<TrainEvent, void, void> {
    const { checkpoints } = this;
    const { step } = this.state;
    if (this.evaluations.isDue()) yield await this.evaluations.evaluate();
    if (step > this.hookedStep) await this.parts.hooks.onStep?.(step);
    this.hookedStep = step;
    if (checkpoints && this.checkpointIsDue()) {
      const path = await checkpoints.write(step);
      await checkpoints.prune(step);
      yield { type: "checkpoint", step, path };
    }
    if (this.freezingIsDue()) await freezeGrown(this.parts.trainee, this.optimizer);
  }

  private freezingIsDue(): boolean {
    return this.state.step === this.parts.freezeStep && !this.isFinished;
  }

  private checkpointIsDue(): boolean {
    return this.checkpoints?.isDue(this.state.step, this.isFinished) ?? false;
  }

  /** Whether the run makes no further step. */
  get isFinished(): boolean {
    return this.state.step >= this.parts.totalSteps || this.evaluations.stopRun;
  }

  /** The next step with its examples. @throws RubricateError ERR_DATA, ERR_FILE, ERR_DISPOSED: those of reading them */
  async next(): Promise<NextStep> {
    this.loading ??= this.load(this.state);
    const loaded = await this.loading;
    const { optimizer, recomputes } = this;
    return { ...loaded, trainee: this.parts.trainee, optimizer, recomputes, options: this.options() };
  }

  /** Begins to load the examples of the step after `step`, while that is made. */
  loadAfter({ planned }: NextStep): void {
    this.loading = this.state.step + 1 < this.parts.totalSteps ? this.load(planned.after) : undefined;
  }

  /** Adds a finished step to the state. @param seconds that it took */
  *record(step: NextStep, result: NativeTenantResult, seconds: number): Generator<TrainEvent, void, void> {
    yield this.recorded(step, result, seconds);
    const message = this.trend?.add(result.loss);
    if (message !== undefined) yield { type: "notice", message };
  }

  /** After the last step. */
  async *closing(): AsyncGenerator<TrainEvent, TrainSummary, void> {
    // Without a checkpoint the run has no result there yet.
    if (this.resumed.overwrites && this.checkpoints && this.checkpoints.latestStep > 0)
      await finishOverwriting(this.parts.outputDir!, this.parts.identity, this.parts.settings.keepBest);
    const end = await this.finish();
    yield end;
    const { type: _, ...summary } = end;
    return summary;
  }

  /**
   * Writes a checkpoint of the last finished step, unless it has one: for a run that ends early. Parameters and moments are
   * that step's, since a step changes all of them or nothing.
   * @returns the outcome; undefined if there is nothing to save
   */
  async keepLastStep(): Promise<LastStep | undefined> {
    const { step } = this.state;
    return step === 0 || this.holdsBest ? undefined : this.checkpoints?.keep(step);
  }

  private load(from: Cursor): Promise<Loaded> {
    const loading = this.read(from);
    loading.catch(() => {}); // reported by the `await` in `next`; this avoids an unhandled rejection
    return loading;
  }

  private async read(from: Cursor): Promise<Loaded> {
    const { plan, train, trainee, settings } = this.parts;
    const planned = await plan.next(from);
    const read = async (indices: Int32Array) =>
      microBatchOf(await train.examples(indices), trainee.slot, settings.model.architecture.vocabulary);
    const microBatches = await Promise.all(planned.indices.map(read));
    return { planned, microBatches, digest: stepDigest(microBatches) };
  }

  private get learningRate(): number {
    const { settings, warmupSteps, totalSteps } = this.parts;
    return learningRateAt(settings.schedule, settings.learningRate, this.state.step, warmupSteps, totalSteps);
  }

  /** The optimizer's options for the next step. */
  private options(): NativeOptimizerOptions {
    const { beta1, beta2, epsilon, weightDecay, weightDecayTarget, maxGradNorm } = this.parts.settings;
    const { learningRate } = this;
    return {
      learningRate,
      beta1,
      beta2,
      epsilon,
      weightDecay,
      decayToZero: weightDecayTarget === "zero",
      maxGradNorm,
    };
  }

  private recorded(
    { planned, microBatches, digest }: NextStep,
    result: NativeTenantResult,
    seconds: number,
  ): StepEvent {
    const { state, meter } = this;
    const { totalSteps } = this.parts;
    const learningRate = this.learningRate;
    const tokens = rowsOf(microBatches);
    const { loss, gradNorm, supervisedTokens, correctTokens } = result;
    state.step++;
    state.epoch = planned.after.epoch;
    state.microBatch = planned.after.microBatch;
    state.tokens += tokens;
    state.supervisedTokens += supervisedTokens;
    state.nats += loss * supervisedTokens;
    meter.add(tokens, seconds);
    this.batches.add(digest);
    return {
      type: "step",
      step: state.step,
      totalSteps,
      epoch: planned.epochs,
      loss,
      learningRate,
      gradNorm,
      tokensPerSecond: meter.tokensPerSecond,
      tokens,
      supervisedTokens,
      accuracy: correctTokens / supervisedTokens,
      peakMemoryMib: peakMemoryMib(),
      secondsLeft: meter.secondsFor(totalSteps - state.step),
    };
  }

  private async finish(): Promise<EndEvent> {
    const { state, meter } = this;
    const { settings, trainee } = this.parts;
    const { best } = this.evaluations;
    if (settings.keepBest && best && state.best!.step !== state.step) {
      this.holdsBest = true;
      await trainee.restore(best);
    }
    if (this.checkpoints?.latestStep !== state.step) await trainee.requireFinite(); // writing a checkpoint checks this too
    await this.parts.hooks.onEnd?.(state.step);
    const evalLoss = settings.keepBest ? (state.best?.loss ?? null) : state.evalLoss;
    const reason = this.evaluations.stopRun ? "early-stopping" : settings.maxSteps === undefined ? "done" : "max-steps";
    return {
      type: "end",
      steps: state.step,
      trainLoss: state.supervisedTokens > 0 ? state.nats / state.supervisedTokens : null,
      evalLoss,
      seconds: (performance.now() - this.startedAt) / 1000,
      tokensPerSecond: meter.overallTokensPerSecond,
      peakMemoryMib: await ownPeakMib(),
      batches: this.resumed.checkpoint ? null : this.batches.text,
      reason,
    };
  }
}

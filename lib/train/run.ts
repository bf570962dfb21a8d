import { join } from "node:path";
import { microBatchOf } from "../data/batches";
import { runJob, throwIfAborted } from "../job";
import { type NativeMicroBatch, type NativeOptimizer, type NativeTenantResult, native } from "../native";
import { endTokenNotices } from "./end_token";
import { type Evaluation, evaluateSource } from "./evaluate";
import type { EndEvent, StepEvent, TrainEvent, TrainSummary } from "./events";
import type { ExampleSource } from "./examples";
import { identityOf, type RunIdentity } from "./identity";
import type { LogPosition } from "./loggers";
import { LossTrend } from "./loss_trend";
import { Meter, peakMemoryMib } from "./meter";
import type { Settings } from "./options";
import { bestFolder, requireNoLink } from "./output_links";
import { type Cursor, Plan, type PlannedStep } from "./plan";
import { recomputeRule } from "./recompute";
import { type Resumption, resumption } from "./resume";
import { type LastStep, RunCheckpoints } from "./run_checkpoints";
import { checkpointContents, parameterFileOf } from "./run_contents";
import { finishOverwriting, writeRunFile } from "./run_file";
import type { RunLock } from "./run_lock";
import { learningRateAt, warmupStepsOf } from "./schedule";
import { sourcesOf } from "./sources";
import { newState } from "./state";
import { restoreMoments, type Trainee, traineeOf } from "./trainee";

/** A step's examples. */
interface Loaded {
  readonly step: PlannedStep;
  readonly microBatches: NativeMicroBatch[];
}

interface Parts {
  readonly settings: Settings;
  readonly signal: AbortSignal | undefined;
  readonly train: ExampleSource;
  readonly evaluation: ExampleSource | undefined;
  readonly plan: Plan;
  readonly totalSteps: number;
  readonly warmupSteps: number;
  readonly trainee: Trainee;
  readonly identity: RunIdentity;
  readonly outputDir: string | undefined;
  readonly lock: RunLock;
}

/** One run of a Trainer. */
export class Run {
  private readonly state = newState();
  private readonly optimizer: NativeOptimizer;
  private readonly meter = new Meter();
  private readonly startedAt = performance.now();
  /** Values at the lowest evaluation loss. */
  private best: Float32Array[] | undefined;
  /** undefined without an outputDir. */
  private readonly checkpoints: RunCheckpoints | undefined;
  /** Whether the parameters are those of the best evaluation instead of those of the last step. */
  private holdsBest = false;
  /** undefined if losses are not compared with the first: in a resumed run they are not known. */
  private readonly trend: LossTrend | undefined;
  private readonly recomputes: (microBatches: readonly NativeMicroBatch[]) => boolean;

  private constructor(
    private readonly parts: Parts,
    private readonly resumed: Resumption,
  ) {
    this.optimizer = new (native().Optimizer)(parts.trainee.parameters);
    const { recompute, model, adapter } = parts.settings;
    this.recomputes = recomputeRule(recompute, model, adapter);
    const { outputDir, identity } = parts;
    const { checkpoint, overwrites } = resumed;
    if (outputDir !== undefined)
      this.checkpoints = new RunCheckpoints(outputDir, identity, parts.settings, async () => {
        await parts.lock.requireFolder();
        return checkpointContents(parts, this.state, this.optimizer, this.best);
      });
    if (overwrites) this.checkpoints?.overwriteOthers();
    if (!checkpoint) {
      this.trend = lossTrendOf(parts);
      return;
    }
    this.checkpoints?.resumeFrom(checkpoint);
    Object.assign(this.state, checkpoint.state);
    this.best = checkpoint.best;
  }

  /** Allocates the moments, and restores moments and parameters from the checkpoint that the run resumes from. */
  private async restore(): Promise<void> {
    await runJob(() => this.optimizer.prepare());
    const { checkpoint } = this.resumed;
    if (!checkpoint) return;
    await this.parts.trainee.restore(checkpoint.values);
    await restoreMoments(this.optimizer, checkpoint.state.step, checkpoint.m, checkpoint.v);
  }

  /** Prepares a run: checks the data and reads the checkpoint to resume from, if any. */
  static async begin(
    settings: Settings,
    resume: boolean | string,
    lock: RunLock,
    signal: AbortSignal | undefined,
  ): Promise<Run> {
    throwIfAborted(signal);
    const { model, adapter } = settings;
    const { train, evaluation } = await sourcesOf(settings);
    const plan = new Plan(train, settings);
    const totalSteps = await plan.totalSteps();
    const warmupSteps = warmupStepsOf(settings, totalSteps);
    const { trainee, base } = await traineeOf(model, adapter);
    const identity = {
      ...identityOf(settings),
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
    const run = new Run(
      { settings, signal, train, evaluation, plan, totalSteps, warmupSteps, trainee, identity, outputDir, lock },
      resumed,
    );
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

  async *events(): AsyncGenerator<TrainEvent, TrainSummary, void> {
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
    if (settings.evalOnStart && evaluation && this.state.step === 0)
      yield { type: "eval", step: 0, ...(await this.evaluation(evaluation)), best: false };
    yield* this.steps();
    // Without a checkpoint the run has no result there yet.
    if (this.resumed.overwrites && this.checkpoints && this.checkpoints.latestStep > 0)
      await finishOverwriting(this.parts.outputDir!, this.parts.identity, settings.keepBest);
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

  private async *steps(): AsyncGenerator<TrainEvent, void, void> {
    const { checkpoints } = this;
    const { signal } = this.parts;
    let loading: Promise<Loaded> | undefined;
    await checkpoints?.prune(this.state.step);
    for (;;) {
      if (this.evaluationIsDue()) yield* this.evaluate();
      if (checkpoints?.isDue(this.state.step, this.isFinished())) {
        const path = await checkpoints.write(this.state.step);
        await checkpoints.prune(this.state.step);
        yield { type: "checkpoint", step: this.state.step, path };
      }
      if (this.isFinished()) return;
      throwIfAborted(signal);
      loading ??= this.load();
      const { step, microBatches } = await loading;
      const startedAt = performance.now();
      const job = this.trainStep(microBatches);
      loading = this.state.step + 1 < this.parts.totalSteps ? this.load(step) : undefined; // during the step
      const result = await job;
      yield this.record(step, microBatches, result, (performance.now() - startedAt) / 1000);
      const message = this.trend?.add(result.loss);
      if (message !== undefined) yield { type: "notice", message };
    }
  }

  /** Reads the examples of the step after `previous`, or after the run's current state. */
  private load(previous?: PlannedStep): Promise<Loaded> {
    const loading = this.read(previous?.after ?? this.state);
    loading.catch(() => {}); // reported by the `await` in `steps`; this avoids an unhandled rejection
    return loading;
  }

  private async read(from: Cursor): Promise<Loaded> {
    const { plan, train, trainee, settings } = this.parts;
    const step = await plan.next(from);
    const read = async (indices: Int32Array) =>
      microBatchOf(await train.examples(indices), trainee.slot, settings.model.architecture.vocabulary);
    return { step, microBatches: await Promise.all(step.indices.map(read)) };
  }

  private get learningRate(): number {
    const { settings, warmupSteps, totalSteps } = this.parts;
    return learningRateAt(settings.schedule, settings.learningRate, this.state.step, warmupSteps, totalSteps);
  }

  private async trainStep(microBatches: NativeMicroBatch[]): Promise<NativeTenantResult> {
    const { settings, trainee, signal } = this.parts;
    const { beta1, beta2, epsilon, weightDecay, weightDecayTarget, maxGradNorm } = settings;
    const options = {
      learningRate: this.learningRate,
      beta1,
      beta2,
      epsilon,
      weightDecay,
      decayToZero: weightDecayTarget === "zero",
      maxGradNorm,
    };
    const tenants = [{ parameters: trainee.parameters, optimizer: this.optimizer, options }];
    const request = { tenants, microBatches, recompute: this.recomputes(microBatches), update: true };
    const [result] = await runJob(() => settings.model.native.trainStep(request), signal);
    return result!;
  }

  /** Adds a finished step to the state. */
  private record(
    step: PlannedStep,
    microBatches: readonly NativeMicroBatch[],
    result: NativeTenantResult,
    seconds: number,
  ): StepEvent {
    const { state, meter } = this;
    const { totalSteps } = this.parts;
    const learningRate = this.learningRate;
    const tokens = microBatches.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
    const { loss, gradNorm, supervisedTokens, correctTokens } = result;
    state.step++;
    state.epoch = step.after.epoch;
    state.microBatch = step.after.microBatch;
    state.tokens += tokens;
    state.supervisedTokens += supervisedTokens;
    state.nats += loss * supervisedTokens;
    meter.add(tokens, seconds);
    return {
      type: "step",
      step: state.step,
      totalSteps,
      epoch: step.epochs,
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

  private stoppedEarly(): boolean {
    const patience = this.parts.settings.earlyStopping?.patience;
    return patience !== undefined && this.state.evaluationsWithoutGain >= patience;
  }

  private isFinished(): boolean {
    return this.state.step >= this.parts.totalSteps || this.stoppedEarly();
  }

  private evaluationIsDue(): boolean {
    const { settings, evaluation, totalSteps } = this.parts;
    const { step, microBatch, evaluatedStep } = this.state;
    if (!evaluation || step === 0 || step === evaluatedStep) return false;
    const { evalEverySteps, evalEveryEpoch } = settings;
    return (
      step >= totalSteps ||
      (evalEverySteps !== undefined && step % evalEverySteps === 0) ||
      (evalEveryEpoch && microBatch === 0)
    );
  }

  /** Evaluates the parameters as they are. */
  private evaluation(source: ExampleSource): Promise<Evaluation> {
    const { settings, signal } = this.parts;
    const { model, adapter, batchSize } = settings;
    return evaluateSource(model, source, adapter?.native ?? null, { batchSize, signal });
  }

  private async *evaluate(): AsyncGenerator<TrainEvent, void, void> {
    const { settings, evaluation, trainee, outputDir, lock } = this.parts;
    const { model, adapter, keepBest, earlyStopping } = settings;
    const found = await this.evaluation(evaluation!);
    const { state } = this;
    const before = state.best?.loss ?? Number.POSITIVE_INFINITY;
    const best = found.loss < before;
    if (best) {
      const snapshot = keepBest ? await trainee.snapshot() : undefined;
      if (keepBest && outputDir !== undefined) {
        const path = join(outputDir, bestFolder);
        await lock.requireFolder();
        await requireNoLink(path); // saving follows links, because callers choose where to save
        await (adapter ?? model).savePretrained(path);
      }
      this.best = snapshot;
      state.best = { step: state.step, loss: found.loss };
    }
    state.evaluationsWithoutGain =
      found.loss < before - (earlyStopping?.minDelta ?? 0) ? 0 : state.evaluationsWithoutGain + 1;
    state.evaluatedStep = state.step;
    state.evalLoss = found.loss;
    yield { type: "eval", step: state.step, ...found, best };
  }

  private async finish(): Promise<EndEvent> {
    const { state, meter } = this;
    const { settings, trainee } = this.parts;
    if (settings.keepBest && this.best && state.best!.step !== state.step) {
      this.holdsBest = true;
      await trainee.restore(this.best);
    }
    if (this.checkpoints?.latestStep !== state.step) await trainee.requireFinite(); // writing a checkpoint checks this too
    const evalLoss = settings.keepBest ? (state.best?.loss ?? null) : state.evalLoss;
    const reason = this.stoppedEarly() ? "early-stopping" : settings.maxSteps === undefined ? "done" : "max-steps";
    return {
      type: "end",
      steps: state.step,
      trainLoss: state.supervisedTokens > 0 ? state.nats / state.supervisedTokens : null,
      evalLoss,
      seconds: (performance.now() - this.startedAt) / 1000,
      tokensPerSecond: meter.overallTokensPerSecond,
      peakMemoryMib: peakMemoryMib(),
      reason,
    };
  }
}

/** undefined for data in the caller's order, whose loss may rise with the data. */
function lossTrendOf({ settings, warmupSteps }: Parts): LossTrend | undefined {
  const { learningRate, method, adapter, shuffle, model } = settings;
  if (!shuffle) return undefined;
  const { hidden } = model.architecture;
  return new LossTrend(learningRate, { method, sites: adapter?.config.sites ?? [], hidden }, warmupSteps);
}

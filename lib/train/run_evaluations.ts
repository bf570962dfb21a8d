/** The evaluations of a run, and the best of them. */
import { join } from "node:path";
import { type Evaluation, evaluateSource } from "./evaluate";
import type { EvalEvent } from "./events";
import type { ExampleSource } from "./examples";
import type { Settings } from "./options";
import { bestFolder, requireNoLink } from "./output_links";
import type { RunHooks } from "./run_hooks";
import type { RunLock } from "./run_lock";
import type { newState } from "./state";
import type { StepMaker } from "./step_maker";
import type { Trainee } from "./trainee";

/** The parts of a run that its evaluations need. */
interface EvaluatedParts {
  readonly settings: Settings;
  readonly signal: AbortSignal | undefined;
  readonly evaluation: ExampleSource | undefined;
  readonly totalSteps: number;
  readonly trainee: Trainee;
  readonly outputDir: string | undefined;
  readonly lock: RunLock;
  readonly hooks: RunHooks;
  readonly steps: StepMaker;
}

export class RunEvaluations {
  /** Values at the lowest loss, with `keepBest`. */
  best: Float32Array[] | undefined;

  /** @param state of the run; its fields of evaluation are set here */
  constructor(
    private readonly parts: EvaluatedParts,
    private readonly state: ReturnType<typeof newState>,
  ) {}

  /** Whether the run ends because its evaluations gain no more. */
  get stopRun(): boolean {
    const patience = this.parts.settings.earlyStopping?.patience;
    return patience !== undefined && this.state.evaluationsWithoutGain >= patience;
  }

  isDue(): boolean {
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

  /** Before the first step: it does not count. */
  async first(): Promise<EvalEvent> {
    return { type: "eval", step: 0, ...(await this.evaluation()), best: false };
  }

  /** Evaluates after a step, and keeps the parameters if they are the best so far. */
  async evaluate(): Promise<EvalEvent> {
    const { settings, trainee, outputDir, lock, hooks } = this.parts;
    const { model, adapter, keepBest, earlyStopping } = settings;
    const found = await this.evaluation();
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
    if (best) await hooks.onBest?.(state.step);
    return { type: "eval", step: state.step, ...found, best };
  }

  /** Evaluates the parameters as they are. */
  private async evaluation(): Promise<Evaluation> {
    const { settings, signal, evaluation, steps } = this.parts;
    const { model, adapter, batchSize } = settings;
    const sums: StepMaker["evaluate"] = (part, by) => steps.evaluate(part, by);
    steps.evaluates(true);
    try {
      return await evaluateSource(model, evaluation!, adapter?.native ?? null, { batchSize, signal, sums });
    } finally {
      steps.evaluates(false);
    }
  }
}

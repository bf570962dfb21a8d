import { throwIfAborted } from "../job";
import type { TrainEvent, TrainSummary } from "./events";
import { RunCore, type RunStart } from "./run_core";
import type { StepMaker } from "./step_maker";

/** One run: a RunCore and the loop over its steps. */
export class Run {
  private constructor(
    readonly core: RunCore,
    private readonly steps: StepMaker,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** Prepares a run: checks the data and reads the checkpoint to resume from, if any. */
  static async begin(start: RunStart, steps: StepMaker): Promise<Run> {
    return new Run(await RunCore.begin(start, steps), steps, start.signal);
  }

  async *events(): AsyncGenerator<TrainEvent, TrainSummary, void> {
    const { core, steps, signal } = this;
    yield* core.opening();
    for (;;) {
      if (core.isDue) steps.away();
      yield* core.whatIsDue();
      if (core.isFinished) break;
      throwIfAborted(signal);
      const step = await core.next();
      const startedAt = performance.now();
      const making = steps.make(step, signal);
      core.loadAfter(step); // during the step
      const result = await making;
      yield* core.record(step, result, (performance.now() - startedAt) / 1000);
    }
    return yield* core.closing();
  }
}

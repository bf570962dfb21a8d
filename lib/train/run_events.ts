/** A run from its locks to its end, for the Trainer and the MultiTrainer: what it logs, and what it saves if it ends early. */
import { RubricateError } from "../errors";
import { isAborted, throwIfAborted } from "../job";
import type { TrainEvent, TrainSummary } from "./events";
import { closeLoggers, openLoggers, type RunLogger } from "./loggers";
import type { TrainerSettings } from "./options";
import { Run } from "./run";
import { failureWith, requireKept } from "./run_checkpoints";
import type { RunCore } from "./run_core";
import type { RunHooks } from "./run_hooks";
import type { RunLock } from "./run_lock";
import type { StepMaker } from "./step_maker";
import { withLearningRate } from "./sweep";

export interface RunRequest {
  readonly settings: TrainerSettings;
  readonly resume: boolean | string;
  readonly signal: AbortSignal | undefined;
  /** Released at the end. */
  readonly lock: RunLock;
  readonly steps: StepMaker;
  readonly hooks?: RunHooks;
}

/**
 * The events of a run.
 * @param take takes the locks, after the signal was looked at
 * @throws RubricateError those of `Trainer.run`
 */
export async function* runEvents(
  request: RunRequest,
  take: () => Promise<void>,
): AsyncGenerator<TrainEvent, TrainSummary, void> {
  const { resume, signal, lock, steps, hooks } = request;
  let loggers: RunLogger[] = [];
  try {
    throwIfAborted(signal);
    await take();
    const { settings, trials } = yield* withLearningRate(request.settings, { resume, signal, steps });
    const run = await Run.begin({ settings, resume, lock, signal, hooks }, steps);
    lock.onRelease(() => run.core.end());
    loggers = await openLogs(settings, run.core, signal);
    for (const trial of trials) for (const logger of loggers) await logger.write(trial);
    lock.onRelease(() => closeLoggers(loggers).catch(() => {})); // for a generator that is never finished
    return yield* logEvents(run, loggers, signal);
  } finally {
    // After a normal end they are closed already; otherwise the run's own error is reported.
    await closeLoggers(loggers).catch(() => {});
    await lock.release();
  }
}

/** Logs and yields the events of a run. If it ends early, its last finished step is saved. */
async function* logEvents(
  run: Run,
  loggers: readonly RunLogger[],
  signal: AbortSignal | undefined,
): AsyncGenerator<TrainEvent, TrainSummary, void> {
  const { core } = run;
  const events = run.events();
  /** What is running: an error that the consumer throws is passed back unchanged. */
  let turn: "run" | "logs" | "consumer" | "none" = "run";
  try {
    for (;;) {
      turn = "run";
      const next = await events.next();
      turn = "logs";
      if (next.done) {
        await closeLoggers(loggers);
        turn = "none";
        return next.value;
      }
      for (const logger of loggers) await logger.write(next.value);
      turn = "consumer";
      yield next.value;
    }
  } catch (error) {
    const thrower = turn;
    turn = "none";
    const last = await core.keepLastStep();
    if (thrower === "consumer") throw error;
    if (last && "path" in last && last.written) {
      const event: TrainEvent = { type: "checkpoint", step: last.step, path: last.path };
      // After a truncated line or with a full disk nothing more is logged.
      if (thrower === "run") for (const logger of loggers) await logger.write(event).catch(() => {});
      yield event;
    }
    throw failureWith(error, last, isAbort(error) && isAborted(signal));
  } finally {
    if (turn === "consumer") requireKept(await core.keepLastStep()); // the consumer left the loop
  }
}

async function openLogs(
  { outputDir, loggers }: TrainerSettings,
  core: RunCore,
  signal: AbortSignal | undefined,
): Promise<RunLogger[]> {
  return outputDir === undefined ? [] : openLoggers(loggers, outputDir, core.resumedPosition, signal);
}

function isAbort(error: unknown): boolean {
  return error instanceof RubricateError && error.code === "ERR_ABORTED";
}

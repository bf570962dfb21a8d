import { RubricateError } from "../errors";
import { type IteratedOnly, iteratedOnly, returned } from "../generators";
import { isClaimed } from "../in_use";
import { checkOptions, type OptionNames, signalOf } from "../options";
import type { TrainEvent, TrainSummary } from "./events";
import type { TrainerOptions, TrainerSettings } from "./options";
import { runEvents } from "./run_events";
import { RunLock } from "./run_lock";
import { checkedSettings, resolvedResume } from "./settings";
import { stepsAlone } from "./step_maker";

export interface RunOptions {
  /** Stops the run between two ops; with an `outputDir` a checkpoint of the last finished step is written first. */
  readonly signal?: AbortSignal;
  /**
   * true: resumes from the newest usable checkpoint; "auto": the same, or starts a new run if there is none; a path:
   * resumes from that checkpoint. Default: the Trainer's option, which is false.
   */
  readonly resume?: boolean | "auto" | string;
}

const runOptionNames: OptionNames<RunOptions> = { signal: true, resume: true };

/**
 * Trains a RED adapter, or all weights of a model. The loss of an optimizer step is the sum over the supervised tokens of
 * its micro-batches divided by their number; schedules are transformers', AdamW is torch's. The same options, data and seed
 * give bit-identical results, also if the run was stopped and resumed.
 */
export class Trainer {
  private readonly settings: TrainerSettings;

  /** @throws RubricateError ERR_ARGUMENT naming the option */
  constructor(options: TrainerOptions) {
    this.settings = checkedSettings(options);
  }

  /**
   * Trains to the end. For the losses while it trains, iterate `run`; notices become process warnings here. It starts at
   * once, locks the same, and ends early in the same ways, also if its promise is not awaited.
   * @throws RubricateError the same as `run`
   */
  train(options: RunOptions = {}): Promise<TrainSummary> {
    return returned(this.locked(options, "Trainer.train"), (event) => {
      if (event.type === "notice") process.emitWarning(event.message, "RubricateNotice");
    });
  }

  /**
   * Runs and yields its events; the run waits until each is consumed. Leaving the loop ends the run. A run that ends early
   * (by an error, by its signal, or because the loop was left) writes a checkpoint of its last finished step into its
   * `outputDir`, and its error says where. From its first event to its end the run locks its adapter, with method "full"
   * its model, and its outputDir. At the end the adapter (the model) has the parameters of the last step, or with
   * `keepBest` those of the best evaluation. It starts when it is iterated, and cannot be awaited: for that there is
   * `train`.
   * @throws RubricateError ERR_DATA, ERR_CONTEXT_LENGTH, ERR_CHECKPOINT, ERR_NOT_FINITE (then nothing was updated),
   * ERR_ABORTED, ERR_FILE, ERR_OUT_OF_MEMORY, ERR_DISPOSED, ERR_STATE if it is running already or the generator is awaited,
   * ERR_BUSY if another run uses its adapter, its model or its outputDir
   */
  run(options: RunOptions = {}): AsyncGenerator<TrainEvent, TrainSummary, void> & IteratedOnly {
    return iteratedOnly(this.locked(options, "Trainer.run"), "run", "trainer.train(...)");
  }

  /** @param what the method that was called, for messages */
  private locked(options: RunOptions, what: string): AsyncGenerator<TrainEvent, TrainSummary, void> {
    const lock = new RunLock();
    const events = this.events(options, what, lock);
    lock.releaseWith(events);
    return events;
  }

  private async *events(
    given: RunOptions,
    what: string,
    lock: RunLock,
  ): AsyncGenerator<TrainEvent, TrainSummary, void> {
    const options = checkOptions(given, runOptionNames, what);
    const signal = signalOf(options.signal);
    if (isClaimed(this)) throw new RubricateError("ERR_STATE", "The Trainer is in use by a run that has not ended");
    const resume = resolvedResume(options.resume ?? this.settings.resume); // before the working directory can change
    const { settings } = this;
    const steps = stepsAlone(settings.model);
    return yield* runEvents({ settings, resume, signal, lock, steps }, () => lock.take(this, settings));
  }
}

import { mkdir } from "node:fs/promises";
import { resolve } from "node:path";
import { invalid, RubricateError } from "../errors";
import { reported } from "../files/atomic";
import type { TrainEvent, TrainSummary } from "./events";
import { openLoggers, type RunLogger } from "./loggers";
import { checkedSettings, type Settings, type TrainerOptions } from "./options";
import { Run } from "./run";

export interface RunOptions {
  /** Stops the run between two ops; with an `outputDir` a checkpoint of the last finished step is written first. */
  readonly signal?: AbortSignal;
  /**
   * true: goes on from the newest checkpoint that can be used; "auto": the same, or starts where there is none; a path: goes
   * on from that checkpoint. Default: the Trainer's option, which is false.
   */
  readonly resume?: boolean | "auto" | string;
}

/**
 * Trains a RED adapter, or all weights of a model. The loss of an optimizer step is the sum over the supervised tokens of
 * its micro-batches divided by their number; schedules are transformers', AdamW is torch's. The same options, data and
 * seed give the same bits, and so does a run that was stopped and resumed.
 */
export class Trainer {
  private readonly settings: Settings;
  private running = false;

  /** @throws RubricateError ERR_ARGUMENT naming the option */
  constructor(options: TrainerOptions) {
    this.settings = checkedSettings(options);
  }

  /**
   * Runs, telling what happens event by event; each waits to be taken. Leaving the loop ends the run where it stands. At
   * the end the adapter (the model) holds the parameters of the last step, or with `keepBest` of the best evaluation.
   * @throws RubricateError ERR_DATA, ERR_CONTEXT_LENGTH, ERR_CHECKPOINT, ERR_NOT_FINITE (nothing was updated then),
   * ERR_ABORTED, ERR_FILE, ERR_OUT_OF_MEMORY, ERR_DISPOSED, ERR_STATE where it runs already
   */
  async *run(options: RunOptions = {}): AsyncGenerator<TrainEvent, TrainSummary, void> {
    if (typeof options !== "object" || options === null) throw invalid("options", "an object", options);
    if (this.running) throw new RubricateError("ERR_STATE", "Expected a Trainer at rest but it runs already");
    this.running = true;
    let loggers: RunLogger[] = [];
    let run: Run | undefined;
    try {
      run = await Run.begin(this.settings, options.resume ?? this.settings.resume, options.signal);
      loggers = await this.openLogs(run);
      const events = run.events();
      for (;;) {
        const next = await events.next();
        if (next.done) return next.value;
        for (const logger of loggers) await logger.write(next.value);
        yield next.value;
      }
    } finally {
      this.running = false;
      run?.end();
      for (const logger of loggers) await logger.close();
    }
  }

  private async openLogs(run: Run): Promise<RunLogger[]> {
    const { outputDir, loggers } = this.settings;
    if (outputDir === undefined) return [];
    await reported(outputDir, () => mkdir(resolve(outputDir), { recursive: true }));
    return openLoggers(loggers, resolve(outputDir), run.resumedPosition);
  }
}

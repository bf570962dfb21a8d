import { RubricateError, reasonOf } from "../errors";
import { EventQueue } from "./event_queue";
import type { TrainEvent, TrainSummary } from "./events";

/** What a run of a MultiTrainer needs of it. */
export interface RunParts {
  readonly events: AsyncGenerator<TrainEvent, TrainSummary, void>;
  readonly controller: AbortController;
  /** The run waits for its readers. */
  away(): void;
  /** The run has ended. */
  ended(): void;
}

/**
 * A run of a MultiTrainer, which has begun. Iterating it gives the events of `Trainer.run`; a failed run's iteration throws
 * its error. Events are kept until they are taken, up to 1,024; then the run waits. For somebody who only awaits `done` it
 * does not wait: the oldest events go, and notices become process warnings.
 */
export class TrainingRun implements AsyncIterable<TrainEvent> {
  private readonly queue: EventQueue;
  private readonly result: Promise<TrainSummary>;
  private hasEnded = false;
  private isAwaited = false;

  /** @internal */
  constructor(
    readonly name: string,
    private readonly parts: RunParts,
  ) {
    this.queue = new EventQueue(() => this.isAwaited);
    parts.controller.signal.addEventListener("abort", () => this.queue.flow(), { once: true });
    this.result = this.drive();
    this.result.catch(() => {}); // reported by `done`, by the iteration, or by a warning
  }

  /**
   * The summary, once the run has ended. It rejects with this run's error alone.
   * @throws RubricateError those of `Trainer.run`; ERR_ABORTED after `cancel`, its signal, or `MultiTrainer.close`
   */
  get done(): Promise<TrainSummary> {
    this.isAwaited = true;
    this.queue.wake();
    return this.result;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TrainEvent, void, void> {
    yield* this.queue.read(() => this.hasEnded);
    await this.result;
  }

  /**
   * Ends the run after its step; with an `outputDir` a checkpoint of that step is written, from which it can be resumed. Its
   * `done` rejects with ERR_ABORTED. Nothing happens to a run that has ended.
   * @throws RubricateError ERR_FILE and others, if the run ends with another error, as when its checkpoint cannot be written
   */
  async cancel(): Promise<void> {
    if (this.hasEnded) return;
    this.parts.controller.abort();
    try {
      await this.result;
    } catch (error) {
      if (!(error instanceof RubricateError && error.code === "ERR_ABORTED")) throw error;
    }
  }

  /** Takes the run's events to its end. */
  private async drive(): Promise<TrainSummary> {
    const { events, away, ended } = this.parts;
    try {
      for (;;) {
        const next = await events.next();
        if (next.done) return next.value;
        const lost = this.queue.add(next.value);
        if (lost) warn(this.name, lost);
        if (!this.queue.isFull) continue;
        away();
        await this.queue.room();
      }
    } catch (error) {
      if (!this.isAwaited && !this.queue.wasRead) this.warnUnlessSeen(error);
      throw error;
    } finally {
      ended();
      this.hasEnded = true;
      if (this.isAwaited && !this.queue.wasRead) for (const event of this.queue.unread()) warn(this.name, event);
      this.queue.wake();
    }
  }

  /** Nobody looks at the run yet, and perhaps nobody will: its failure must not be silent. */
  private warnUnlessSeen(error: unknown): void {
    if (error instanceof RubricateError && error.code === "ERR_ABORTED") return;
    process.emitWarning(`The run ${this.name} has failed: ${reasonOf(error)}`, "RubricateNotice");
  }
}

function warn(name: string, event: TrainEvent): void {
  if (event.type === "notice") process.emitWarning(`${name}: ${event.message}`, "RubricateNotice");
}

import { RedAdapter } from "../../lib/adapter/red_adapter";
import type { Example } from "../../lib/data/types";
import { RubricateError } from "../../lib/errors";
import type { TrainEvent, TrainSummary } from "../../lib/train/events";
import type { TrainerOptions } from "../../lib/train/options";
import { type RunOptions, Trainer } from "../../lib/train/trainer";
import { hooks } from "./fake_native";

/** Examples of 2 to 9 tokens; the first ones are not supervised. */
export function someExamples(count: number, first = 0): Example[] {
  return Array.from({ length: count }, (_, at) => {
    const length = 2 + ((at + first) % 8);
    return {
      tokenIds: Int32Array.from({ length }, (_, i) => ((at + first) * 11 + i * 5) % 50),
      supervised: Uint8Array.from({ length }, (_, i) => (i > 0 && i >= length >> 2 ? 1 : 0)),
      line: at + 1,
    };
  });
}

export interface Outcome {
  readonly events: TrainEvent[];
  readonly summary: TrainSummary | undefined;
  readonly error: RubricateError | undefined;
}

/** Runs to the end, or to the error. */
export async function outcomeOf(trainer: Trainer, options?: RunOptions): Promise<Outcome> {
  const events: TrainEvent[] = [];
  try {
    const run = trainer.run(options);
    for (;;) {
      const next = await run.next();
      if (next.done) return { events, summary: next.value, error: undefined };
      events.push(next.value);
    }
  } catch (error) {
    if (!(error instanceof RubricateError)) throw error;
    return { events, summary: undefined, error };
  }
}

/** The fields of events that do not depend on the clock. */
export function timeless(events: readonly TrainEvent[]): object[] {
  return events
    .filter(({ type }) => type === "step" || type === "eval" || type === "end")
    .map((event) => {
      const {
        tokensPerSecond: _,
        secondsLeft: __,
        peakMemoryMib: ___,
        batches: _____, // null for a resumed run
        seconds: ____,
        ...rest
      } = event as never as Record<string, unknown>;
      return rest;
    });
}

/** A trainer of a new adapter, and the adapter's vectors. */
export function newTrainer(model: never, options: Partial<TrainerOptions> = {}) {
  const adapter = RedAdapter.create(model);
  const trainer = new Trainer({
    model,
    adapter,
    train: someExamples(13),
    epochs: 2,
    batchSize: 3,
    learningRate: 0.05,
    ...options,
  });
  return { trainer, adapter };
}

/** Stops the k-th job (from 0) halfway, like an abort during it. */
export function abortInJob(at: number, kind?: "step" | "evaluate"): AbortSignal {
  const controller = new AbortController();
  let count = 0;
  hooks.onJob = (one) => {
    if (kind !== undefined && one !== kind) return;
    if (count++ !== at) return;
    controller.abort();
    throw new RubricateError("ERR_ABORTED", "stopped");
  };
  return controller.signal;
}

/** Runs of a MultiTrainer on one fake model: adding them, what they gave, and how they failed. */
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { sourceBrand } from "../../lib/brands";
import { RubricateError } from "../../lib/errors";
import { atOnce } from "../../lib/steps";
import type { TrainEvent } from "../../lib/train/events";
import { ExampleArray, type ExampleSource } from "../../lib/train/examples";
import type { MultiRunOptions, MultiTrainer } from "../../lib/train/multi_trainer";
import type { TrainingRun } from "../../lib/train/training_run";
import { fakeModel } from "./fake_native";
import { newTrainer, outcomeOf, someExamples } from "./training_support";

export const model = fakeModel();

export const options = { train: someExamples(13), epochs: 2, batchSize: 3, learningRate: 0.05 };

/** Adds a run of a new adapter. */
export function added(trainer: MultiTrainer, name: string, more: Partial<MultiRunOptions> = {}) {
  const adapter = RedAdapter.create(model);
  return { adapter, run: trainer.add(name, { ...options, adapter, ...more }) };
}

/** The vectors that a Trainer's run of the same options leaves. */
export async function vectorsAlone(more: object = {}): Promise<Map<string, Float32Array>> {
  const { trainer, adapter } = newTrainer(model, more);
  expect((await outcomeOf(trainer)).error).toBeUndefined();
  return adapter.vectors();
}

export async function eventsOf(run: AsyncIterable<TrainEvent>): Promise<TrainEvent[]> {
  const events: TrainEvent[] = [];
  for await (const event of run) events.push(event);
  return events;
}

/** The error of something that must fail. */
export const failure = async (promise: Promise<unknown>): Promise<RubricateError> => {
  const error = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(RubricateError);
  return error;
};

/** Data that an array stands for, of which reads can be delayed or fail. */
export function sourceOf(count: number, read: (call: number) => Promise<void>): ExampleSource {
  const source = atOnce(ExampleArray.steps(someExamples(count), "train"));
  let calls = 0;
  return new Proxy(source, {
    get: (from, name) => {
      if (name === sourceBrand) return true;
      if (name !== "examples") return Reflect.get(from, name, from);
      return async (indices: Int32Array) => {
        await read(++calls);
        return from.examples(indices);
      };
    },
  });
}

/** Reads the events of a run up to a step. */
export const untilStep = async (run: TrainingRun, step: number) => {
  for await (const event of run) if (event.type === "step" && event.step === step) return;
};

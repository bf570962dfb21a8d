/** Runs of a fake model that were stopped after checkpoints, and what resuming them gives. */
import type { TrainEvent } from "../../lib/train/events";
import type { TrainerOptions } from "../../lib/train/options";
import { fakeModel, hooks } from "./fake_native";
import { abortInJob, newTrainer, outcomeOf } from "./training_support";

export const model = fakeModel();

/** A run in `outputDir` that was stopped in step 8 of 10: its checkpoints are those of steps 6 and 7. */
export async function stopped(outputDir: string, options: Partial<TrainerOptions> = {}): Promise<void> {
  const { trainer } = newTrainer(model, { outputDir, checkpointEverySteps: 3, ...options });
  const { error } = await outcomeOf(trainer, { signal: abortInJob(7, "step") });
  hooks.onJob = undefined;
  expect(error).toMatchObject({ code: "ERR_ABORTED" });
}

/** Resumes the run in `outputDir`. */
export async function resume(outputDir: string, options: Partial<TrainerOptions> = {}, how: boolean | string = true) {
  const { trainer, adapter } = newTrainer(model, { outputDir, checkpointEverySteps: 3, ...options });
  return { ...(await outcomeOf(trainer, { resume: how })), adapter };
}

/** The vectors that a run leaves which was not stopped. */
export async function uninterrupted(options: Partial<TrainerOptions> = {}) {
  const { trainer, adapter } = newTrainer(model, options);
  await outcomeOf(trainer);
  return adapter.vectors();
}

export const notices = (events: readonly TrainEvent[]) =>
  events.flatMap((event) => (event.type === "notice" ? [event.message] : []));

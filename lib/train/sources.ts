/** The examples of a run: those to train on and those to evaluate with. */
import { type ExampleSource, exampleSource, requireFit } from "./examples";
import type { TrainerSettings } from "./options";

export interface Sources {
  readonly train: ExampleSource;
  readonly evaluation: ExampleSource | undefined;
}

/** Reads or copies the examples, and checks that the model can take them. @throws RubricateError ERR_DATA, ERR_ARGUMENT, ERR_CONTEXT_LENGTH */
export async function sourcesOf(settings: TrainerSettings): Promise<Sources> {
  const { model, maxLength } = settings;
  let train = await exampleSource(settings.train, "train", model.architecture.vocabulary);
  let evaluation: ExampleSource | undefined;
  if (typeof settings.eval === "number")
    ({ train, eval: evaluation } = await train.splitInSlices(settings.eval, settings.seed));
  else if (settings.eval !== undefined)
    evaluation = await exampleSource(settings.eval, "eval", model.architecture.vocabulary);
  const what = maxLength < model.contextLength ? "the run's maxLength" : "the model's context";
  requireFit(train, maxLength, "train", what);
  if (evaluation) requireFit(evaluation, maxLength, "eval", what);
  return { train, evaluation };
}

/** `LanguageModel.generate`, `LanguageModel.complete` and `LanguageModel.score`. */
import { requireModel } from "../brands";
import { type IteratedOnly, iteratedOnly, returned } from "../generators";
import { adapterHandle, type ModelAdapter } from "../model_arguments";
import { checkOptions } from "../options";
import { generation, type Pieces } from "./generation";
import { type CheckedCall, checkedCall, type GenerateOptions, generateOptionNames } from "./options";
import type { RequestModel } from "./request";
import type { GenerationResult } from "./result";
import { checkedScore, type ScoreCall, type ScoreOptions, type ScoreResult, scored, scoreOptionNames } from "./scoring";
import { presentVersion, type Served, type ServedCall } from "./served";

/** A call of the model itself. */
function servedByModel<C extends ServedCall>(
  model: RequestModel,
  adapter: ModelAdapter | null | undefined,
  call: C,
): Served<C> {
  const choose: Served["choose"] = (work) => presentVersion(model, adapter, call, work);
  return { call, tenant: 0, weight: 1, deadlineMs: 0, choose, over: () => {} };
}

/**
 * @param what the method, for messages
 * @throws RubricateError ERR_ARGUMENT, ERR_FOREIGN, ERR_DISPOSED
 */
function generating(model: RequestModel, given: GenerateOptions, what: string): Served<CheckedCall> {
  requireModel(model);
  const options = checkOptions(given, generateOptionNames, what);
  adapterHandle(options.adapter, model);
  return servedByModel(model, options.adapter, checkedCall(options, model));
}

/** See LanguageModel.generate. */
export function generate(model: RequestModel, options: GenerateOptions): Pieces & IteratedOnly {
  const pieces = generation(model, () => generating(model, options, "generate"));
  return iteratedOnly(pieces, "generate", "model.complete(...)");
}

/** See LanguageModel.complete. */
export function complete(model: RequestModel, options: GenerateOptions): Promise<GenerationResult> {
  return returned(generation(model, () => generating(model, options, "complete")));
}

/** @throws RubricateError ERR_ARGUMENT, ERR_FOREIGN, ERR_DISPOSED */
function scoring(model: RequestModel, given: ScoreOptions): Served<ScoreCall> {
  requireModel(model);
  const options = checkOptions(given, scoreOptionNames, "score");
  adapterHandle(options.adapter, model);
  return servedByModel(model, options.adapter, checkedScore(options, model));
}

/** See LanguageModel.score. */
export function score(model: RequestModel, options: ScoreOptions): Promise<ScoreResult> {
  return scored(model, () => scoring(model, options));
}

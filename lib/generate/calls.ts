/** `LlamaModel.generate` and `LlamaModel.complete`. */
import { requireModel } from "../brands";
import { type IteratedOnly, iteratedOnly, returned } from "../generators";
import { adapterHandle } from "../model_arguments";
import { checkOptions } from "../options";
import { generation, type Pieces } from "./generation";
import { checkedCall, type GenerateOptions, generateOptionNames } from "./options";
import type { RequestModel } from "./request";
import type { GenerationResult } from "./result";
import { presentVersion, type Served } from "./served";

/**
 * A call of the model itself.
 * @param what the method, for messages
 * @throws RubricateError ERR_ARGUMENT, ERR_FOREIGN, ERR_DISPOSED
 */
function servedByModel(model: RequestModel, given: GenerateOptions, what: string): Served {
  requireModel(model);
  const options = checkOptions(given, generateOptionNames, what);
  adapterHandle(options.adapter, model);
  const call = checkedCall(options, model.vocabularySize);
  const choose: Served["choose"] = (work) => presentVersion(model, options.adapter, call, work);
  return { call, tenant: 0, weight: 1, deadlineMs: 0, choose, over: () => {} };
}

/** See LlamaModel.generate. */
export function generate(model: RequestModel, options: GenerateOptions): Pieces & IteratedOnly {
  const pieces = generation(model, () => servedByModel(model, options, "generate"));
  return iteratedOnly(pieces, "generate", "model.complete(...)");
}

/** See LlamaModel.complete. */
export function complete(model: RequestModel, options: GenerateOptions): Promise<GenerationResult> {
  return returned(generation(model, () => servedByModel(model, options, "complete")));
}

/** `LlamaModel.generate` and `LlamaModel.complete`. */
import { type IteratedOnly, iteratedOnly, returned } from "../generators";
import { type GenerationModel, generation, type Pieces } from "./generation";
import type { GenerateOptions } from "./options";
import type { GenerationResult } from "./result";

/** See LlamaModel.generate. */
export function generate(model: GenerationModel, options: GenerateOptions): Pieces & IteratedOnly {
  return iteratedOnly(generation(model, options, "generate"), "generate", "model.complete(...)");
}

/** See LlamaModel.complete. */
export function complete(model: GenerationModel, options: GenerateOptions): Promise<GenerationResult> {
  return returned(generation(model, options, "complete"));
}

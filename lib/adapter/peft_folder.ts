/** Loading the folders that PEFT writes: what all of its methods have in common. */
import { RubricateError } from "../errors";
import { isObject, type JsonObject, parseJson } from "../files/json";
import { hasGate } from "../model/architecture";
import type { LanguageModel } from "../model/model";
import { readAdapterText } from "./files";

/**
 * Reads adapter_config.json.
 * @param given the folder as the caller named it
 * @param what for messages: "a LoRA adapter"
 * @throws RubricateError ERR_FILE, ERR_ADAPTER_FORMAT
 */
export async function readPeftDocument(
  folder: string,
  given: string,
  what: string,
): Promise<{ document: JsonObject; path: string }> {
  const { text, path } = await readAdapterText(folder, given);
  const document = parseJson(text, path, "ERR_ADAPTER_FORMAT");
  if (isObject(document) && document.peft_type !== undefined) return { document, path };
  throw new RubricateError("ERR_ADAPTER_FORMAT", `Expected ${what} in ${folder} but ${path} has no peft_type`);
}

/** @throws RubricateError ERR_ADAPTER_FORMAT if a model without a gate would need one */
export function requireGateFor(modules: readonly string[], folder: string, model: LanguageModel): void {
  if (!modules.includes("gate_proj") || hasGate(model.architecture)) return;
  throw new RubricateError(
    "ERR_ADAPTER_FORMAT",
    `Expected an adapter without gate_proj in ${folder}: the feed-forward of ${model.dir} has no gate`,
  );
}

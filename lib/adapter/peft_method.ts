/** Folders of PEFT for a method that PEFT has, too, and that has no class of its own. */
import type { JsonObject } from "../files/json";
import type { ModelDescription } from "../model/architecture";
import { type AdapterOrigin, parseOrigin } from "./config";

/** How such a method's folder is read and written. */
export interface PeftMethod {
  /** PEFT's name of the method. */
  readonly type: string;
  /** The fields of adapter_config.json that the method has beside those of all methods. */
  fields(config: object, base: ModelDescription): JsonObject;
  /**
   * The method's options in a folder.
   * @throws RubricateError ERR_ADAPTER_FORMAT for what cannot be computed here
   */
  options(document: JsonObject, path: string, base: ModelDescription): object;
  /** What gives the name of a parameter in a folder. */
  namesOf(base: ModelDescription): (parameter: string) => string;
}

/** adapter_config.json, as PEFT reads it. */
export function peftDocument(
  method: PeftMethod,
  config: object,
  base: ModelDescription,
  origin: AdapterOrigin,
): JsonObject {
  return {
    peft_type: method.type,
    task_type: "CAUSAL_LM",
    base_model_name_or_path: origin.base.name,
    ...method.fields(config, base),
    inference_mode: true,
    modules_to_save: null,
    rubricate: origin,
  };
}

/** What an adapter was trained with; undefined if PEFT wrote the folder. @throws RubricateError ERR_ADAPTER_FORMAT */
export const peftOrigin = (document: JsonObject, path: string): AdapterOrigin | undefined =>
  document.rubricate === undefined ? undefined : parseOrigin(document.rubricate, `${path}: rubricate`);

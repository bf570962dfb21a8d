import { resolve } from "node:path";
import { requireModel } from "../brands";
import { isObject, parseJson } from "../files/json";
import type { LlamaModel } from "../model/model";
import { pathOf } from "../options";
import type { LoadAdapterOptions } from "./adapter";
import { readAdapterText } from "./files";
import { LoraAdapter } from "./lora_adapter";
import { RedAdapter } from "./red_adapter";

/** The method of an adapter's folder. Whether the folder is right, the method's own loading says. */
export async function methodIn(dir: string, given = dir): Promise<"red" | "lora"> {
  const { text, path } = await readAdapterText(dir, given);
  const document = parseJson(text, path, "ERR_ADAPTER_FORMAT");
  return isObject(document) && document.peft_type === "LORA" ? "lora" : "red";
}

/**
 * Loads an adapter of any method: a `RedAdapter`, or a `LoraAdapter` that this package or PEFT wrote.
 * @throws RubricateError what `fromPretrained` of its class throws
 */
export async function loadAdapter(
  dir: string,
  model: LlamaModel,
  options: LoadAdapterOptions = {},
): Promise<RedAdapter | LoraAdapter> {
  const folder = resolve(pathOf("dir", dir)); // before the working directory can change
  requireModel(model);
  const Class = (await methodIn(folder, dir)) === "lora" ? LoraAdapter : RedAdapter;
  return Class.fromPretrained(folder, model, options);
}

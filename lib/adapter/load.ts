import { resolve } from "node:path";
import { requireModel } from "../brands";
import { isObject, parseJson } from "../files/json";
import type { LanguageModel } from "../model/model";
import { pathOf } from "../options";
import type { AdapterMethod, LoadAdapterOptions } from "./adapter";
import { readAdapterText } from "./files";
import { Ia3Adapter } from "./ia3_adapter";
import { LoraAdapter } from "./lora_adapter";
import { RedAdapter } from "./red_adapter";

/** The methods of PEFT that can be loaded, by peft_type. */
const peftMethods: ReadonlyMap<unknown, AdapterMethod> = new Map([
  ["LORA", "lora"],
  ["IA3", "ia3"],
]);

const classes = { red: RedAdapter, lora: LoraAdapter, ia3: Ia3Adapter };

/** The method of an adapter's folder. Whether the folder is right, the method's own loading says. */
export async function methodIn(dir: string, given = dir): Promise<AdapterMethod> {
  const { text, path } = await readAdapterText(dir, given);
  const document = parseJson(text, path, "ERR_ADAPTER_FORMAT");
  return (isObject(document) && peftMethods.get(document.peft_type)) || "red";
}

/**
 * Loads an adapter of any method: a `RedAdapter`, or a `LoraAdapter` or an `Ia3Adapter` that this package or PEFT wrote.
 * @throws RubricateError what `fromPretrained` of its class throws
 */
export async function loadAdapter(
  dir: string,
  model: LanguageModel,
  options: LoadAdapterOptions = {},
): Promise<RedAdapter | LoraAdapter | Ia3Adapter> {
  const folder = resolve(pathOf("dir", dir)); // before the working directory can change
  requireModel(model);
  return classes[await methodIn(folder, dir)].fromPretrained(folder, model, options);
}

/** Reads a model folder's config.json. */
import { join } from "node:path";
import { escaped, RubricateError } from "../errors";
import { isObject, readJson } from "../files/json";
import { adapterConfigFile } from "../files/model_folder";
import { mergePeft, peftLoaders } from "../files/not_a_folder";
import { entriesOf } from "../files/operations";
import { present } from "../files/read";

/** @throws RubricateError ERR_FILE, which says what the folder has if it is not a model's; ERR_JSON */
export async function readConfig(folder: string, path: string): Promise<unknown> {
  if (await present(path)) return readJson(path);
  const adapter = join(folder, adapterConfigFile);
  const fail = (what: string) => new RubricateError("ERR_FILE", `Expected a model folder at ${folder} but ${what}`);
  if (await present(adapter)) {
    const config = await readJson(adapter).catch(() => undefined);
    const isPeft = isObject(config) && config.peft_type !== undefined && !peftLoaders.has(config.peft_type);
    throw fail(
      `it is an adapter's${isPeft ? ` of PEFT, which cannot be loaded. ${mergePeft}` : ": load its base as the model, and this folder as the adapter"}`,
    );
  }
  const gguf = (await entriesOf(folder)).find((name) => /\.gguf$/i.test(name));
  if (gguf !== undefined)
    throw fail(
      `it has no config.json, and ${escaped(gguf)} is of llama.cpp's format, which is not read: take the model's original folder, ` +
        "with safetensors",
    );
  return readJson(path);
}

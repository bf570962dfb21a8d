/** The families of models that can be loaded; docs/families.md describes each. */

import type { ModelDescription } from "./architecture";
import { ConfigReader } from "./config_reader";
import { describeDecoder } from "./decoder_config";
import { describeGpt2 } from "./families/gpt2";
import { llama } from "./families/llama";
import { mistral } from "./families/mistral";
import { phi3 } from "./families/phi3";
import { qwen2 } from "./families/qwen2";
import { qwen3 } from "./families/qwen3";

type Describe = (config: ConfigReader) => ModelDescription;
const families: ReadonlyMap<string, Describe> = new Map([
  ...[llama, mistral, qwen2, qwen3, phi3].map((family): [string, Describe] => [
    family.modelType,
    (config) => describeDecoder(config, family),
  ]),
  ["gpt2", describeGpt2],
]);

/**
 * Reads a config.json. Its `model_type` selects the family. Defaults, and the precedence of settings given in two places,
 * are those of transformers.
 * @param document the parsed config.json
 * @param path for messages
 * @throws RubricateError ERR_CONFIG for a value that is missing, wrong or not supported
 */
export function describeModel(document: unknown, path: string): ModelDescription {
  const config = ConfigReader.of(document, path);
  const describe = families.get(config.string("model_type"));
  if (!describe) throw config.fail("model_type", knownTypes());
  return describe(config);
}

/** `"llama", "mistral" or ...` */
function knownTypes(): string {
  const names = [...families.keys()].map((name) => `"${name}"`);
  return `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}

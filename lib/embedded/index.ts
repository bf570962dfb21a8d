import { join } from "node:path";
import { RubricateError } from "../errors";
import { parseJson } from "../files/json";
import { readTextSync } from "../files/read";
import { limits } from "../limits";
import { packageRoot } from "../package_root";

/** One turn of the demo: the user's message, and the answer that the adapter learns. */
export interface DemoPair {
  readonly prompt: string;
  readonly completion: string;
}

/** Pairs to train on, and pairs whose prompts never occur among them. */
export interface DemoPairs {
  readonly train: readonly DemoPair[];
  readonly heldOut: readonly DemoPair[];
}

/**
 * The folder of the small LLaMA that ships with the package: config.json, model.safetensors, tokenizer.json with a chat
 * template, demo_pairs.json. The same relative place in the sources and in the built package.
 * @throws RubricateError ERR_NATIVE_LOAD in a bundle (docs/bundlers.md)
 */
export function embeddedModelDir(): string {
  packageRoot(); // throws in a bundle, where the folder is missing
  return join(__dirname, "default");
}

function isPairList(value: unknown): value is DemoPair[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((pair) => typeof pair?.prompt === "string" && typeof pair?.completion === "string")
  );
}

/**
 * The demo's examples. They are single turns of a chat: `prompt` is the user's message, `completion` the assistant's, and
 * the embedded model expects them as formatted by its chat template.
 * @throws RubricateError ERR_FILE when the file cannot be read, ERR_JSON when it is malformed
 */
export function loadDemoPairs(): DemoPairs {
  const path = join(embeddedModelDir(), "demo_pairs.json");
  const pairs = parseJson(readTextSync(path, limits.documentBytes), path);
  const { train, heldOut } = (pairs ?? {}) as Record<string, unknown>;
  if (!isPairList(train) || !isPairList(heldOut))
    throw new RubricateError(
      "ERR_JSON",
      `Expected {"train", "heldOut"} with lists of {"prompt", "completion"} in ${path}`,
    );
  return { train, heldOut };
}

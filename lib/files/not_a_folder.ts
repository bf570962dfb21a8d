/** Errors for a path that is no folder of a model or an adapter, which say what it looks like and what to do. */
import { stat } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { quoted, RubricateError, reasonOf } from "../errors";

/** A name such as "meta-llama/Llama-2-7b-hf". */
const hubName = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/;

/** How PyTorch's weights become safetensors. */
export const convertPickles =
  "PyTorch's pickles: convert them with transformers' save_pretrained, which writes safetensors " +
  '(python -c \'from transformers import AutoModelForCausalLM as M; M.from_pretrained("OLD").save_pretrained("NEW")\'), ' +
  "and copy the tokenizer's files";

/** What loads folders of PEFT, by peft_type. */
export const peftLoaders: ReadonlyMap<unknown, string> = new Map([
  ["LORA", "LoraAdapter.fromPretrained or loadAdapter"],
  ["IA3", "Ia3Adapter.fromPretrained or loadAdapter"],
  ["LN_TUNING", "loadAdapter"],
]);

/** How another adapter of PEFT can be used. */
export const mergePeft =
  "Merge it into its base with peft (merge_and_unload, then save_pretrained) and load the result as the model";

/** How a file of RED's reference implementation becomes a folder. */
export const importReference = (file: string) =>
  "if it is delta_vector.pth of RED's reference implementation, make a folder of it with RedAdapter.fromReference, or with " +
  `"rubricate import --model BASE --from ${file} --out DIR"`;

/** Files that are given in place of an adapter's folder. */
const referenceFile = /\.(pth|pt|ckpt)$/;

/** Files that are given in place of a folder, by their names. */
const fileKinds: readonly (readonly [name: RegExp, hint: string])[] = [
  [/\.gguf$/i, "llama.cpp's format, which is not read: take the model's original folder, with safetensors"],
  [/\.safetensors$/, "give the folder that it is in"],
  [/\.(bin|pth|pt|ckpt)$/, convertPickles],
];

/**
 * Requires a folder.
 * @param folder its absolute path
 * @param what "model" or "adapter"
 * @param given the path as the caller wrote it
 * @throws RubricateError ERR_FILE
 */
export async function requireFolder(what: "model" | "adapter", folder: string, given: string): Promise<void> {
  const fail = (why: string, cause?: unknown) =>
    new RubricateError(
      "ERR_FILE",
      `Expected ${what === "model" ? "a model" : "an adapter"} folder at ${folder}${why}`,
      {
        cause,
      },
    );
  let isFolder: boolean;
  try {
    isFolder = (await stat(folder)).isDirectory();
  } catch (cause) {
    throw fail(`: ${reasonOf(cause)}${await hubHint(given)}`, cause);
  }
  if (isFolder) return;
  const isReference = what === "adapter" && referenceFile.test(folder);
  const hint = isReference ? importReference(given) : fileKinds.find(([name]) => name.test(basename(folder)))?.[1];
  throw fail(` but it is a file${hint === undefined ? "" : `: ${hint}`}`);
}

/** A name of the Hub is a path, too: where its first part is no folder, it was meant as a name. */
export async function hubHint(given: string): Promise<string> {
  if (!hubName.test(given)) return "";
  if (await stat(dirname(resolve(given))).catch(() => undefined)) return "";
  return (
    `; ${quoted(given)} looks like a name on the Hugging Face Hub: nothing is downloaded, so fetch it with ` +
    `"hf download ${given} --local-dir DIR" and give that folder`
  );
}

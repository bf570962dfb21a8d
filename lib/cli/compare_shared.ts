/** What all runs of a comparison share: without the same, runs of an earlier command are not taken. */
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { knownCode, type Launch, reasonOfEnd } from "../compare/child";
import type { Shared } from "../compare/records";
import { RubricateError } from "../errors";
import { withFileErrors } from "../files/atomic";
import { isObject, type JsonObject } from "../files/json";
import { readPieces } from "../files/read";
import { native } from "../native";
import { kebab } from "./arguments";
import { processorText, thisProcessor } from "./bench_machine";
import { UsageError } from "./command";
import { flagWords } from "./flag_words";
import type { FlagName, Values } from "./flags";
import { version } from "./help";
import { modelDir } from "./load";

/** A file's SHA-256, in hexadecimal. @throws RubricateError ERR_FILE */
async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of readPieces(path)) hash.update(piece);
  return hash.digest("hex");
}

/** The files of a model's folder beside its weights: configuration, tokenizer, chat template. */
async function companionsHash(folder: string): Promise<string> {
  const names = await withFileErrors(folder, () => readdir(folder), "Cannot read");
  const hash = createHash("sha256");
  for (const name of names.filter((one) => /\.(json|jinja|txt|model)$/.test(one)).sort())
    hash.update(`${name}\0${await hashOf(join(folder, name))}\0`);
  return hash.digest("hex");
}

/**
 * What `inspect` says of the model, in a process of its own: this one loads no weights.
 * @throws RubricateError as loading the model does
 */
export async function inspected(launch: Launch, words: readonly string[], signal: AbortSignal): Promise<JsonObject> {
  let found: JsonObject | undefined;
  const ended = await launch({
    words: ["inspect", ...words],
    signal,
    onEvent(event) {
      if (event.type !== "error") found = event;
    },
  });
  if (ended.status === 0 && found) return found;
  throw new RubricateError(knownCode(ended.error?.code ?? null), ended.error?.message ?? reasonOfEnd(ended));
}

/** The processor, the kernels and the number of threads: times and digits are of these. */
export function machineOf(values: Values, model: JsonObject) {
  return {
    processor: processorText(thisProcessor()),
    cores: availableParallelism(),
    threads: values.threads ?? native().cpu().threads,
    kernels: native().cpu().path,
    device: String(model.device),
    dtype: String(model.compute),
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
  };
}

/**
 * What runs must share, by name, as texts.
 * @param dev a path, or a share of the data
 * @param options the flags that go to all runs
 * @throws RubricateError ERR_FILE; UsageError if the test file has the contents of another one
 */
export async function sharedOf(
  values: Values,
  dev: string | number,
  options: readonly FlagName[],
  model: JsonObject,
): Promise<Shared> {
  const { processor, threads, kernels, device, dtype } = machineOf(values, model);
  const { architecture, weights } = isObject(model.fingerprint) ? model.fingerprint : {};
  const files = {
    "--data": await hashOf(values.data!),
    "--dev": typeof dev === "number" ? String(dev) : await hashOf(dev),
    "--test": await hashOf(values.test!),
  };
  for (const name of ["--data", "--dev"] as const)
    if (files[name] === files["--test"])
      throw new UsageError(
        `Expected other rows in --test than those of ${name} but ${values.test} has the same contents: scores of rows that were ` +
          "trained or chosen on say nothing",
      );
  const given = options.filter((name) => values[name] !== undefined);
  return {
    rubricate: version(),
    "the architecture of --model": String(architecture),
    "the weights of --model": String(weights),
    "the other files of --model": await companionsHash(modelDir(values.model)),
    ...files,
    ...Object.fromEntries(given.map((name) => [`--${kebab(name)}`, flagWords(values, [name]).join(" ")])),
    device,
    dtype,
    kernels,
    processor,
    threads: String(threads),
  };
}

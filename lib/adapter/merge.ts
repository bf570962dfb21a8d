/** Merges an adapter into its base: writes a model's folder whose weights have the adapter's changes. */
import { resolve } from "node:path";
import { requireAdapter, requireModel } from "../brands";
import { invalid, RubricateError } from "../errors";
import { type FileContents, withFileErrors, writeInto } from "../files/atomic";
import { isOneOf, modelFolders } from "../files/folder_identity";
import { type JsonObject, parseJson } from "../files/json";
import { indexFile, weightsFile } from "../files/model_folder";
import { newFolderGuard } from "../files/new_folder";
import { finishInto } from "../files/read_together";
import { finiteTensors, safetensorsPieces } from "../files/safetensors";
import { Callback, runJob, throwIfAborted } from "../job";
import type { ModelDescription } from "../model/architecture";
import { shardsIn } from "../model/checkpoint_files";
import { readCompanions, staleFiles } from "../model/companions";
import { describeModel } from "../model/families";
import type { LanguageModel } from "../model/model";
import { withOwnHead } from "../model/tensors";
import { booleanOf, checkOptions, functionOf, type OptionNames, pathOf, signalOf } from "../options";
import type { Adapter } from "./adapter";
import { biasFieldsFor, siteEdits } from "./merge_plan";
import { filesOf, type MergedTensor, mergedTensors } from "./merge_tensors";

/** Options of `mergeAdapter`. */
export interface MergeOptions {
  /** Dtype of the merged weights: "auto" (the default) is that of the base's checkpoint, tensor by tensor. */
  readonly dtype?: "auto" | "float32" | "bfloat16";
  /** Replace a model or an adapter in the folder, other than `model`. Default: false. */
  readonly overwrite?: boolean;
  /** Called with the bytes of weights written so far and in total. If it throws, the merge ends and rejects with that. */
  readonly onProgress?: (progress: { writtenBytes: number; totalBytes: number }) => void;
  readonly signal?: AbortSignal;
}

const optionNames: OptionNames<MergeOptions> = { dtype: true, overwrite: true, onProgress: true, signal: true };
const dtypes = ["auto", "float32", "bfloat16"] as const;

/**
 * Writes a model's folder that computes what base and adapter compute together; it needs no adapter, and transformers and other
 * servers load it. Weights are merged in fp32 and rounded once; all others keep their bytes. One tensor at a time is in
 * memory. The weights are in as many shards as the base's. Where the adapter adds biases that the base lacks,
 * config.json says so, if the family has a place for them. Atomic: if it fails or is aborted, the folder is as before.
 * @param adapter of this model
 * @param dir the folder to write
 * @throws RubricateError ERR_ARGUMENT; ERR_MERGE for a step that is not linear, such as a layer norm, or a bias without a place;
 * ERR_FILE, also if the folder is that of the model, or has a model or an adapter; ERR_NOT_FINITE, ERR_FOREIGN, ERR_ABORTED, ERR_DISPOSED
 */
export async function mergeAdapter(
  model: LanguageModel,
  adapter: Adapter,
  dir: string,
  options: MergeOptions = {},
): Promise<void> {
  requireModel(model);
  requireAdapter(adapter);
  const folder = resolve(pathOf("dir", dir)); // before the working directory can change
  const given = checkOptions(options, optionNames, "mergeAdapter");
  const dtype = given.dtype ?? "auto";
  if (!dtypes.includes(dtype)) throw invalid("dtype", '"auto", "float32" or "bfloat16"', dtype);
  const overwrite = booleanOf("overwrite", given.overwrite, false);
  const signal = signalOf(given.signal);
  const progress = new Callback(functionOf("onProgress", given.onProgress));
  throwIfAborted(signal);
  const edits = siteEdits(adapter.plan(), model.architecture);
  const fields = biasFieldsFor(edits, model.description);
  await requireOtherThanModel(folder, model.dir);
  const check = async () => {
    if (!overwrite) await requireFree(folder);
  };
  const version = await runJob(() => model.native.publish(adapter.nativeFor(model)), signal); // training may go on
  await check();
  const { files, description } = await companionsFor(model, fields, dtype);
  const tensors = mergedTensors(model.native, version, edits, description, dtype === "auto" ? undefined : dtype);
  await progress.during(async () => {
    const totalBytes = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
    let writtenBytes = 0;
    const onBytes = (count: number) => {
      throwIfAborted(signal);
      writtenBytes += count;
      progress.tell({ writtenBytes, totalBytes });
      progress.throwIfFailed();
    };
    files.push(...(await weightFiles(model, tensors, { onBytes, signal })));
    const written = files.map(({ name }) => name);
    await newFolderGuard(folder, () => writeInto(folder, files, () => staleFiles(folder, written), check));
  });
}

/**
 * Checks a folder into which a merged model will be written, or something else.
 * @throws RubricateError ERR_FILE if it has files of a model or an adapter
 */
export async function requireFree(folder: string, what = "the merged model"): Promise<void> {
  const found = await withFileErrors(folder, async () => {
    await finishInto(folder);
    return staleFiles(folder, []);
  });
  if (found.length === 0) return;
  throw new RubricateError(
    "ERR_FILE",
    `Expected a folder without a model or an adapter for ${what} at ${folder} but found ${found[0]}; give ` +
      "another folder, or replace what is there with overwrite: true",
  );
}

/**
 * Checks that a merged model, or something else, does not replace the files of its base.
 * @throws RubricateError ERR_FILE
 */
export async function requireOtherThanModel(
  folder: string,
  modelDir: string,
  [what, act] = ["the merged model", "the merge"],
): Promise<void> {
  if (!(await isOneOf(folder, await modelFolders(modelDir)))) return;
  throw new RubricateError(
    "ERR_FILE",
    `Expected a folder other than the model's for ${what} but ${folder} has files of the model at ${modelDir}, ` +
      `which ${act} would overwrite; choose another folder (overwrite: true does not allow it)`,
  );
}

/** The files beside the weights, with config.json as the merged model needs it, and what it then describes. */
async function companionsFor(
  model: LanguageModel,
  biasFields: ReadonlySet<string>,
  dtype: "auto" | "float32" | "bfloat16",
): Promise<{ files: FileContents[]; description: ModelDescription }> {
  const files = await readCompanions(model.dir);
  if (biasFields.size === 0 && dtype === "auto") return { files, description: model.description };
  const at = files.findIndex(({ name }) => name === "config.json");
  const document = parseJson(files[at]!.data as Uint8Array, "config.json") as JsonObject;
  for (const field of biasFields) document[field] = true;
  if (dtype !== "auto") {
    const names = ["dtype", "torch_dtype"].filter((name) => Object.hasOwn(document, name));
    for (const name of names.length > 0 ? names : ["torch_dtype"]) document[name] = dtype;
  }
  files[at] = { name: "config.json", data: `${JSON.stringify(document, null, 2)}\n` };
  const described = describeModel(document, "config.json");
  const tied = model.description.architecture.tied_embeddings;
  const description = described.architecture.tied_embeddings && !tied ? withOwnHead(described) : described;
  return { files, description };
}

interface Writing {
  readonly onBytes: (count: number) => void;
  readonly signal: AbortSignal | undefined;
}

/** The files of the weights: one, or shards as the base has them, with their index. */
async function weightFiles(
  model: LanguageModel,
  tensors: readonly MergedTensor[],
  { onBytes, signal }: Writing,
): Promise<FileContents[]> {
  const files = filesOf(tensors, await shardsIn(model.dir));
  const written = [...files].map(([name, own]) => ({
    name,
    data: safetensorsPieces(finiteTensors(own.map((tensor) => tensor.stored(onBytes, signal))), { format: "pt" }),
  }));
  if (files.has(weightsFile)) return written;
  const names = [...files].flatMap(([file, own]) => own.map(({ name }) => [name, file] as const));
  const index = {
    metadata: { total_size: tensors.reduce((sum, { bytes }) => sum + bytes, 0) },
    weight_map: Object.fromEntries(names.sort(([a], [b]) => (a < b ? -1 : 1))),
  };
  return [...written, { name: indexFile, data: `${JSON.stringify(index, null, 2)}\n` }];
}

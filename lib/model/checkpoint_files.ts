/** Finds a folder's weights: one safetensors file, or an index and shards. */
import { basename, join } from "node:path";
import { escaped, formatJson, RubricateError } from "../errors";
import { readJson } from "../files/json";
import { indexFile, weightsFile } from "../files/model_folder";
import { convertPickles } from "../files/not_a_folder";
import { entriesOf } from "../files/operations";
import { present as exists, requireContents } from "../files/read";
import { haveSameBytes } from "../files/same_tensor";
import { runJob } from "../job";
import { native } from "../native";
import type { ModelDescription, StoredPart } from "./architecture";

/** The location of a model's tensors. */
interface CheckpointFiles {
  /** Paths of the safetensors files. */
  readonly files: readonly string[];
  /** Where canonical tensors lie that are not stored whole under `prefix` + canonical name. */
  readonly stored: Readonly<Record<string, StoredPart>>;
  readonly prefix: string;
  /** Tensors that are allowed but not needed. */
  readonly ignored: readonly string[];
  /** Whether config.json ties the head to the embedding table although the checkpoint has a different head. */
  readonly headDiffers: boolean;
}

/** The head's name, which has no prefix. */
export const headName = "lm_head.weight";
/** Suffix of tensors that old checkpoints contain and no model needs. */
const ignoredSuffix = ".rotary_emb.inv_freq";

/**
 * Finds the safetensors files of a Hugging Face folder and maps its tensors to canonical ones. As in transformers, the single file takes precedence over an
 * index with shards; a tied model may store its table under either name; and a model that stores two different tables is
 * not tied.
 * @throws RubricateError ERR_FILE if there is no checkpoint, ERR_SAFETENSORS for a malformed index or header
 */
export async function findCheckpoint(
  dir: string,
  description: ModelDescription,
  signal?: AbortSignal,
): Promise<CheckpointFiles> {
  const { storage, architecture } = description;
  const ownName = (canonical: string) => storage.parts[canonical]?.name ?? canonical;
  const [tableName, normName] = [ownName("embed_tokens.weight"), ownName("norm.weight")];
  // They determine a checkpoint's prefix and the location of tied embeddings.
  const sought = [tableName, storage.prefix + tableName, normName, headName];
  const { files, present, fileOf } = await findWeights(dir, sought, signal);
  // A tied head may be stored instead of the table.
  const prefix = present.has(tableName) || present.has(normName) ? "" : storage.prefix;
  const stored: Record<string, StoredPart> = { [headName]: { name: headName } };
  for (const [canonical, part] of Object.entries(storage.parts))
    stored[canonical] = { ...part, name: prefix + part.name };
  const ignored = [...present].filter((name) => name.endsWith(ignoredSuffix));
  ignored.push(...storage.ignored.map((name) => prefix + name));
  const table = prefix + tableName;
  let headDiffers = false;
  if (architecture.tied_embeddings && present.has(headName)) {
    if (!present.has(table)) stored["embed_tokens.weight"] = { name: headName };
    else if (await haveSameBytes(fileOf(table), table, fileOf(headName), headName, signal)) ignored.push(headName);
    else headDiffers = true;
  }
  return { files, stored, prefix, ignored, headDiffers };
}

/** The files with a folder's weights, and which of the sought names they have. */
async function findWeights(dir: string, sought: readonly string[], signal: AbortSignal | undefined) {
  const single = join(dir, weightsFile);
  if (await exists(single)) {
    await requireContents(single);
    return { files: [single], present: new Set(await headerNames(single, sought, signal)), fileOf: () => single };
  }
  if (!(await exists(join(dir, indexFile)))) throw await noWeights(dir);
  const index = await readIndex(join(dir, indexFile));
  const files = [...new Set(index.values())].sort().map((file) => join(dir, file));
  for (const file of files) {
    if (!(await exists(file)))
      throw new RubricateError(
        "ERR_FILE",
        `Expected the shard ${join(dir, escaped(basename(file)))}, which ${indexFile} names, but there is none`,
      );
    await requireContents(file);
  }
  return { files, present: new Set(index.keys()), fileOf: (name: string) => join(dir, index.get(name)!) };
}

/**
 * The file of each stored tensor of a folder with shards; undefined if it has a single file.
 * @throws RubricateError ERR_FILE, ERR_SAFETENSORS for a malformed index
 */
export async function shardsIn(dir: string): Promise<ReadonlyMap<string, string> | undefined> {
  return (await exists(join(dir, weightsFile))) ? undefined : readIndex(join(dir, indexFile));
}

/** Unsupported weights, and adapters, by file name. */
const otherKinds: readonly (readonly [name: RegExp, what: string])[] = [
  [
    /^(adapter_config\.json|adapter_model\.(safetensors|bin))$/,
    "an adapter: load its base as the model, and this folder as the adapter",
  ],
  [/^pytorch_model.*\.bin(\.index\.json)?$/, convertPickles],
  [/\.(pth|pt|ckpt)$/, convertPickles],
  [/\.gguf$/i, "llama.cpp's format: take the model's original folder, with safetensors"],
  [/^(tf_model\.h5|flax_model.*\.msgpack)$/, "another framework's: convert them with transformers' save_pretrained"],
  [/\.safetensors$/, "safetensors of other names: rename a single file, or write the index of its shards"],
];
const shownNames = 5;

/** The error for a folder without weights, with what was found instead. */
async function noWeights(dir: string): Promise<RubricateError> {
  const entries = await entriesOf(dir);
  for (const [pattern, what] of otherKinds) {
    const found = entries.filter((entry) => pattern.test(entry));
    if (found.length === 0) continue;
    const names =
      found
        .slice(0, shownNames)
        .map((name) => escaped(name))
        .join(", ") + (found.length > shownNames ? ", ..." : "");
    return new RubricateError(
      "ERR_FILE",
      `Expected ${weightsFile} or ${indexFile} in ${dir} but found ${names}, ${what}`,
    );
  }
  return new RubricateError(
    "ERR_FILE",
    `Expected ${weightsFile} or ${indexFile} in the model folder but cannot read ${join(dir, weightsFile)}: ENOENT: no such file or directory`,
  );
}

/** No file system accepts longer names. */
const fileNameBytes = 255;

function isFileName(value: unknown): value is string {
  return (
    typeof value === "string" &&
    /^[^/\\\0]+$/.test(value) &&
    ![".", ".."].includes(value) &&
    Buffer.byteLength(value) <= fileNameBytes
  );
}

async function readIndex(path: string): Promise<Map<string, string>> {
  const document = (await readJson(path)) as { weight_map?: unknown } | null;
  const map = document?.weight_map;
  if (typeof map !== "object" || map === null || Array.isArray(map) || Object.keys(map).length === 0) {
    throw new RubricateError("ERR_SAFETENSORS", `Expected an object weight_map in ${path}`);
  }
  const entries = new Map<string, string>();
  for (const [name, file] of Object.entries(map)) {
    if (!isFileName(file)) {
      throw new RubricateError(
        "ERR_SAFETENSORS",
        `Expected file names without folders in weight_map of ${path} but received ${formatJson(file)}`,
      );
    }
    entries.set(name, file);
  }
  return entries;
}

/** Which of the sought names a folder's single safetensors file has. */
function headerNames(path: string, sought: readonly string[], signal: AbortSignal | undefined): Promise<string[]> {
  return runJob(() => native().readSafetensorsNames(path, sought, ignoredSuffix), signal);
}

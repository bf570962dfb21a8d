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
import type { ModelDescription } from "./architecture";

/** The location of a model's tensors. */
interface CheckpointFiles {
  /** Paths of the safetensors files. */
  readonly files: readonly string[];
  /** The checkpoint's tensor names by canonical name, where they differ from `prefix` + canonical name. */
  readonly names: Readonly<Record<string, string>>;
  readonly prefix: string;
  /** Tensors that are allowed but not needed. */
  readonly ignored: readonly string[];
  /** Whether config.json ties the head to the embedding table although the checkpoint has a different head. */
  readonly headDiffers: boolean;
}

/** Names that determine a checkpoint's prefix and the location of tied embeddings. */
const soughtNames = ["embed_tokens.weight", "model.embed_tokens.weight", "norm.weight", "lm_head.weight"];
/** Suffix of tensors that old checkpoints contain and no model needs. */
const ignoredSuffix = ".rotary_emb.inv_freq";

/**
 * Finds the safetensors files of a Hugging Face folder and maps its tensor names to canonical ones: the names of the
 * `LlamaForCausalLM` class without their prefix "model.". As in transformers, the single file takes precedence over an
 * index with shards; a tied model may store its table under either name; and a model that stores two different tables is
 * not tied.
 * @throws RubricateError ERR_FILE if there is no checkpoint, ERR_SAFETENSORS for a malformed index or header
 */
export async function findCheckpoint(
  dir: string,
  description: ModelDescription,
  signal?: AbortSignal,
): Promise<CheckpointFiles> {
  const { files, present, fileOf } = await findWeights(dir, signal);
  // A tied head may be stored instead of the table.
  const prefix = present.has("embed_tokens.weight") || present.has("norm.weight") ? "" : "model.";
  const names: Record<string, string> = { "lm_head.weight": "lm_head.weight" };
  const ignored = [...present].filter((name) => name.endsWith(ignoredSuffix));
  const table = `${prefix}embed_tokens.weight`;
  let headDiffers = false;
  if (description.architecture.tied_embeddings && present.has("lm_head.weight")) {
    if (!present.has(table)) names["embed_tokens.weight"] = "lm_head.weight";
    else if (await haveSameBytes(fileOf(table), table, fileOf("lm_head.weight"), "lm_head.weight", signal))
      ignored.push("lm_head.weight");
    else headDiffers = true;
  }
  return { files, names, prefix, ignored, headDiffers };
}

/** The files with a folder's weights, and which of the names above they have. */
async function findWeights(dir: string, signal: AbortSignal | undefined) {
  const single = join(dir, weightsFile);
  if (await exists(single)) {
    await requireContents(single);
    return { files: [single], present: new Set(await headerNames(single, signal)), fileOf: () => single };
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

/** Which of the names above a folder's single safetensors file has. */
function headerNames(path: string, signal: AbortSignal | undefined): Promise<string[]> {
  return runJob(() => native().readSafetensorsNames(path, soughtNames, ignoredSuffix), signal);
}

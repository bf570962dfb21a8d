import { basename, join } from "node:path";
import { escaped, RubricateError, shown } from "../errors";
import { readJson } from "../files/json";
import { present as exists } from "../files/read";
import { runJob } from "../job";
import { native } from "../native";
import type { ModelDescription } from "./architecture";

/** Where a model's tensors lie. */
interface CheckpointFiles {
  /** Paths of the safetensors files. */
  readonly files: readonly string[];
  /** The checkpoint's tensor names by canonical name, where they are not `prefix` and that. */
  readonly names: Readonly<Record<string, string>>;
  readonly prefix: string;
  /** Tensors that may be there and are not needed. */
  readonly ignored: readonly string[];
}

const INDEX = "model.safetensors.index.json";
const SINGLE = "model.safetensors";
/** Names that tell a checkpoint's prefix and where the table of tied embeddings is. */
const soughtNames = ["embed_tokens.weight", "model.embed_tokens.weight", "lm_head.weight"];
/** Of tensors that old checkpoints hold and no model needs. */
const ignoredSuffix = ".rotary_emb.inv_freq";

/**
 * Finds the safetensors files of a Hugging Face folder and maps its tensor names to canonical ones: the names of the
 * `LlamaForCausalLM` class without their prefix "model.". A tied model may store its one table under either name.
 * @throws RubricateError ERR_FILE where there is no checkpoint, ERR_SAFETENSORS for a malformed index or header
 */
export async function findCheckpoint(
  dir: string,
  description: ModelDescription,
  signal?: AbortSignal,
): Promise<CheckpointFiles> {
  const present = new Set<string>();
  let files: string[];
  if (await exists(join(dir, INDEX))) {
    const index = await readIndex(join(dir, INDEX));
    files = [...new Set(index.values())].sort().map((file) => join(dir, file));
    for (const file of files) {
      if (!(await exists(file)))
        throw new RubricateError(
          "ERR_FILE",
          `Expected the shard ${join(dir, escaped(basename(file)))}, which ${INDEX} names, but there is none`,
        );
    }
    for (const name of index.keys()) present.add(name);
  } else {
    files = [join(dir, SINGLE)];
    for (const name of await headerNames(files[0]!, signal)) present.add(name);
  }
  const prefix = present.has("embed_tokens.weight") ? "" : "model.";
  const names: Record<string, string> = { "lm_head.weight": "lm_head.weight" };
  const ignored = [...present].filter((name) => name.endsWith(ignoredSuffix));
  if (description.architecture.tied_embeddings) {
    if (present.has(`${prefix}embed_tokens.weight`)) ignored.push("lm_head.weight");
    else if (present.has("lm_head.weight")) names["embed_tokens.weight"] = "lm_head.weight";
  }
  return { files, names, prefix, ignored };
}

/** Longer ones no file system takes. */
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
        `Expected file names without folders in weight_map of ${path} but received ${shown(file)}`,
      );
    }
    entries.set(name, file);
  }
  return entries;
}

/** Which of the names that matter here the one safetensors file of a folder has. */
async function headerNames(path: string, signal: AbortSignal | undefined): Promise<string[]> {
  if (!(await exists(path)))
    throw new RubricateError(
      "ERR_FILE",
      `Expected ${SINGLE} or ${INDEX} in the model folder but cannot read ${path}: ENOENT: there is no such file`,
    );
  return runJob(() => native().readSafetensorsNames(path, soughtNames, ignoredSuffix), signal);
}

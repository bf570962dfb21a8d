/** Writes a model's folder in the format that `LanguageModel.fromPretrained` and transformers read. */
import { writeInto } from "../files/atomic";
import { weightsFile } from "../files/model_folder";
import { finiteTensors, type StoredDtype, type StoredTensor, safetensorsPieces } from "../files/safetensors";
import { runJob } from "../job";
import type { NativeDtype, NativeModel } from "../native";
import type { ModelDescription, Storage } from "./architecture";
import { headName } from "./checkpoint_files";
import { readCompanions, staleFiles } from "./companions";

/** Names of dtypes in a safetensors file. */
export const storedDtypes: Partial<Record<NativeDtype, StoredDtype>> = {
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
};

/**
 * Writes config, tokenizer files and weights atomically. Files of an earlier model that the loader would read in addition
 * to these, or instead of them, are removed in the same step; other files stay. Trained weights are rounded to the dtype of
 * their checkpoint; one tensor at a time is in memory.
 * @param source the folder that the model was loaded from
 * @param description the canonical tensors, and how the family's checkpoints store them
 * @throws RubricateError ERR_FILE, ERR_NOT_FINITE if a weight is not finite
 */
export async function saveModel(
  model: NativeModel,
  source: string,
  { tensors: names, storage }: Pick<ModelDescription, "tensors" | "storage">,
  folder: string,
): Promise<void> {
  const files = await readCompanions(source);
  const tensors: StoredTensor[] = [];
  const specs = model.tensorSpecs();
  for (const [name, { parts, transposed }] of storedTensors(names, storage)) {
    const dtype = storedDtypes[specs[parts[0]!]!.dtype]!;
    const shape = joinedShape(
      parts.map((part) => specs[part]!.shape),
      transposed,
    );
    const read = () => runJob(() => model.readTensor(parts, transposed));
    tensors.push({ name, dtype, shape, data: async () => (await read()).data });
  }
  files.push({ name: weightsFile, data: safetensorsPieces(finiteTensors(tensors), { format: "pt" }) });
  const written = files.map(({ name }) => name);
  await writeInto(folder, files, () => staleFiles(folder, written));
}

/** The shape of tensors one below the other, and of a matrix transposed. */
export function joinedShape(shapes: readonly (readonly number[])[], transposed: boolean): number[] {
  const rows = [shapes.reduce((sum, [own]) => sum + own!, 0), ...shapes[0]!.slice(1)];
  return transposed ? rows.reverse() : rows;
}

/** Stored tensors by name, each with the canonical ones that it consists of. */
export function storedTensors(names: readonly string[], { prefix, parts }: Storage) {
  const stored = new Map<string, { parts: string[]; transposed: boolean }>();
  const placed = names.map((canonical) => {
    const layer = /^layers\.(\d+)\./.exec(canonical)?.[1] ?? "";
    const part = parts[canonical.replace(/^layers\.\d+\./, "layers.{}.")];
    const name = part?.name.replace("{}", layer) ?? canonical;
    const { begin = 0, transposed = false } = part ?? {};
    return { canonical, name: canonical === headName ? canonical : prefix + name, begin, transposed };
  });
  for (const { canonical, name, transposed } of placed.sort((a, b) => a.begin - b.begin)) {
    const found = stored.get(name);
    if (found) found.parts.push(canonical);
    else stored.set(name, { parts: [canonical], transposed });
  }
  return stored;
}

/** Writes a model's folder in the format that `LlamaModel.fromPretrained` and transformers read. */
import { writeInto } from "../files/atomic";
import { weightsFile } from "../files/model_folder";
import { finiteTensors, type StoredDtype, type StoredTensor, safetensorsPieces } from "../files/safetensors";
import { runJob } from "../job";
import type { NativeDtype, NativeModel } from "../native";
import { readCompanions, staleFiles } from "./companions";

const storedDtypes: Partial<Record<NativeDtype, StoredDtype>> = { float32: "F32", float16: "F16", bfloat16: "BF16" };

/**
 * Writes config, tokenizer files and weights atomically. Files of an earlier model that the loader would read in addition
 * to these, or instead of them, are removed in the same step; other files stay. Trained weights are rounded to the dtype of
 * their checkpoint; one tensor at a time is in memory.
 * @param source the folder that the model was loaded from
 * @param names canonical names of all tensors
 * @throws RubricateError ERR_FILE, ERR_NOT_FINITE if a weight is not finite
 */
export async function saveModel(
  model: NativeModel,
  source: string,
  names: readonly string[],
  folder: string,
): Promise<void> {
  const files = await readCompanions(source);
  const tensors: StoredTensor[] = [];
  for (const name of names) {
    const { dtype, shape } = await runJob(() => model.readTensor(name));
    tensors.push({
      name: name === "lm_head.weight" ? name : `model.${name}`,
      dtype: storedDtypes[dtype]!,
      shape,
      data: async () => (await runJob(() => model.readTensor(name))).data,
    });
  }
  files.push({ name: weightsFile, data: safetensorsPieces(finiteTensors(tensors), { format: "pt" }) });
  const written = files.map(({ name }) => name);
  await writeInto(folder, files, () => staleFiles(folder, written));
}

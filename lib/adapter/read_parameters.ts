import { mostBytes, type ReadDtype } from "../files/safetensors";
import type { Adapter } from "./adapter";
import { elementCount, readAdapterTensors, readAdapterVectors } from "./files";
import type { AdapterPlan, PlanEntries } from "./plan";
import { entriesIn, mostEntries } from "./plan_indices";

/** Dtypes of the parameters in a folder that PEFT wrote. */
export const peftDtypes: readonly ReadDtype[] = ["F32", "BF16", "F16"];

/**
 * Reads the parameters of a folder into a new adapter, which is disposed of if that fails.
 * @throws RubricateError ERR_FILE, ERR_ADAPTER_FORMAT
 */
export async function withParametersOf<T extends Adapter>(
  adapter: T,
  folder: string,
  dtypes: readonly ReadDtype[],
): Promise<T> {
  try {
    const names = adapter.storedNames();
    const shapes = adapter.storedShapes();
    const expected = new Map(names.map((name, at) => [name, shapes[at]!]));
    const entries = new Set(adapter.plan().indices?.map(({ name }) => name));
    const numbers = adapter.parameterCount + mostEntries(adapter.plan());
    const most = mostBytes(names.length + entries.size, numbers);
    const read = await readAdapterVectors(
      folder,
      () => expected,
      most,
      dtypes,
      (name) => entries.has(name),
    );
    const flat = new Float32Array(adapter.parameterCount);
    let start = 0;
    for (const name of names) {
      flat.set(read.get(name)!, start);
      start += read.get(name)!.length;
    }
    adapter.native.setValues(flat);
    return adapter;
  } catch (error) {
    adapter.dispose();
    throw error;
  }
}

/**
 * The entries of a plan's indices in a folder.
 * @throws RubricateError ERR_FILE, ERR_ADAPTER_FORMAT
 */
export async function readEntries(folder: string, plan: AdapterPlan): Promise<PlanEntries> {
  if (!plan.indices) return [];
  const numbers = plan.parameters.reduce((sum, { shape }) => sum + elementCount(shape), mostEntries(plan));
  const most = mostBytes(plan.parameters.length + plan.indices.length, numbers);
  const { tensors, path } = await readAdapterTensors(folder, most);
  return entriesIn(plan, tensors, path);
}

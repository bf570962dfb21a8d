import { mostBytes, type ReadDtype } from "../files/safetensors";
import type { Adapter } from "./adapter";
import { elementCount, readAdapterTensors, readAdapterVectors } from "./files";
import type { AdapterPlan, PlanEntries } from "./plan";
import { entriesIn, mostEntries } from "./plan_indices";

/** Dtypes of the parameters in a folder that PEFT wrote. */
export const peftDtypes: readonly ReadDtype[] = ["F32", "BF16", "F16"];

/** A parameter in a folder. */
export interface StoredParameter {
  readonly name: string;
  readonly shape: readonly number[];
}

/** A folder whose parameters are not those of the adapter one by one. */
export interface FolderLayout {
  readonly tensors: readonly StoredParameter[];
  /** The adapter's parameters by name. */
  split(read: ReadonlyMap<string, Float32Array>): ReadonlyMap<string, Float32Array>;
}

/**
 * Reads the parameters of a folder into a new adapter, which is disposed of if that fails.
 * @param layout if it is not the adapter's own
 * @throws RubricateError ERR_FILE, ERR_ADAPTER_FORMAT
 */
export async function withParametersOf<T extends Adapter>(
  adapter: T,
  folder: string,
  dtypes: readonly ReadDtype[],
  layout: FolderLayout = ownLayout(adapter),
): Promise<T> {
  try {
    const expected = new Map(layout.tensors.map(({ name, shape }) => [name, shape]));
    const entries = new Set(adapter.plan().indices?.map(({ name }) => name));
    const numbers = adapter.parameterCount + mostEntries(adapter.plan());
    const most = mostBytes(expected.size + entries.size, numbers);
    const read = await readAdapterVectors(
      folder,
      () => expected,
      most,
      dtypes,
      (name) => entries.has(name),
    );
    const flat = new Float32Array(adapter.parameterCount);
    let start = 0;
    const own = layout.split(read);
    for (const name of adapter.storedNames()) {
      flat.set(own.get(name)!, start);
      start += own.get(name)!.length;
    }
    adapter.native.setValues(flat);
    return adapter;
  } catch (error) {
    adapter.dispose();
    throw error;
  }
}

function ownLayout(adapter: Adapter): FolderLayout {
  const shapes = adapter.storedShapes();
  return { tensors: adapter.storedNames().map((name, at) => ({ name, shape: shapes[at]! })), split: (read) => read };
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

import { mostBytes, type ReadDtype } from "../files/safetensors";
import type { Adapter } from "./adapter";
import { readAdapterVectors } from "./files";

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
    const most = mostBytes(names.length, adapter.parameterCount);
    const read = await readAdapterVectors(folder, () => expected, most, dtypes);
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

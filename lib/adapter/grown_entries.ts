/** Entries of sparse updates in training: what the base has there, and which have grown, which a plan's `freeze` asks for. */
import { runJob } from "../job";
import type { LanguageModel } from "../model/model";
import { inSlices, type Steps } from "../steps";
import type { Adapter } from "./adapter";
import type { PlanIndex } from "./plan";

const portion = 1 << 16;

/** A matrix of the base, by rows, as float32. @throws RubricateError ERR_DISPOSED, ERR_FILE */
export async function baseMatrix(
  model: LanguageModel,
  { of, shape }: Pick<PlanIndex, "of" | "shape">,
): Promise<Float32Array> {
  const { data } = await runJob(() => model.native.mergedTensor([{ name: of, shape }], "float32", false));
  return new Float32Array(data.buffer, data.byteOffset, data.length / 4);
}

/** What the base has at the place of each value of an adapter; 0 for values that are no entries. */
export async function baseEntries(model: LanguageModel, adapter: Adapter): Promise<Float32Array> {
  const base = new Float32Array(adapter.parameterCount);
  const stored = adapter.storedEntries();
  for (const { index, begin } of updatesOf(adapter)) {
    const weight = await baseMatrix(model, index);
    const entries = stored.get(index.name)!;
    for (const [at, entry] of entries.entries()) base[begin + at] = weight[entry]!;
  }
  return base;
}

/** The parameters that have a value for each entry of an index: the index, and where they begin among all values. */
function updatesOf(adapter: Adapter): { readonly index: PlanIndex; readonly name: string; readonly begin: number }[] {
  const { indices = [], parameters } = adapter.plan();
  const values = adapter.vectors();
  let begin = 0;
  return parameters.flatMap(({ name, entriesOf }) => {
    const own = { name, begin };
    begin += values.get(name)!.length;
    return entriesOf === undefined ? [] : [{ ...own, index: indices[entriesOf]! }];
  });
}

/**
 * Places, among all values of an adapter, of the entries whose magnitude in the adapted matrix, |base + value|, is no longer small:
 * not below the magnitude of the plan's `freeze`, or, without one, above that of each chosen entry of the base's matrix.
 */
export async function grownEntries(model: LanguageModel, adapter: Adapter): Promise<Int32Array> {
  const { magnitude } = adapter.plan().freeze!;
  const stored = adapter.storedEntries();
  const values = adapter.vectors();
  const grown: number[] = [];
  for (const { index, name, begin } of updatesOf(adapter)) {
    const weight = await baseMatrix(model, index);
    const found = grownIn(weight, stored.get(index.name)!, values.get(name)!, magnitude);
    for (const place of await inSlices(found)) grown.push(begin + place);
  }
  return Int32Array.from(grown); // ascending, as parameters and entries are
}

function* grownIn(
  weight: Float32Array,
  entries: Int32Array,
  values: Float32Array,
  magnitude: number | null,
): Steps<number[]> {
  const grown: number[] = [];
  let largest = 0;
  for (const entry of magnitude === null ? entries : []) largest = Math.max(largest, Math.abs(weight[entry]!));
  yield;
  for (let begin = 0; begin < entries.length; begin += portion) {
    for (let at = begin; at < Math.min(begin + portion, entries.length); at++) {
      const size = Math.abs(weight[entries[at]!]! + values[at]!);
      if (magnitude === null ? size > largest : size >= magnitude) grown.push(at);
    }
    yield;
  }
  return grown;
}

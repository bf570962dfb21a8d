/** Entries of sparse updates that have grown, which a plan's `freeze` asks for. */
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

/**
 * Places, among all values of an adapter, of the entries whose magnitude in the adapted matrix, |base + value|, is no longer small:
 * not below the magnitude of the plan's `freeze`, or, without one, above that of each chosen entry of the base's matrix.
 */
export async function grownEntries(model: LanguageModel, adapter: Adapter): Promise<Int32Array> {
  const { indices = [], parameters, freeze } = adapter.plan();
  const stored = adapter.storedEntries();
  const values = adapter.vectors();
  const grown: number[] = [];
  const firsts = new Map<string, number>();
  let first = 0;
  for (const { name } of parameters) {
    firsts.set(name, first);
    first += values.get(name)!.length;
  }
  for (const [at, index] of indices.entries()) {
    const weight = await baseMatrix(model, index);
    const entries = stored.get(index.name)!;
    for (const { name } of parameters.filter(({ entriesOf }) => entriesOf === at)) {
      const found = grownIn(weight, entries, values.get(name)!, freeze!.magnitude);
      for (const place of await inSlices(found)) grown.push(firsts.get(name)! + place);
    }
  }
  return Int32Array.from(grown.sort((a, b) => a - b));
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

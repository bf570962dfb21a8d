/** First values of an adapter's parameters that begin as vectors of its base. */
import { runJob } from "../job";
import type { LanguageModel } from "../model/model";
import type { AdapterPlan } from "./plan";

/**
 * The base's vectors for the parameters that begin as they do, by name, as float32.
 * @throws RubricateError ERR_ARGUMENT for a name that is no vector of the base; ERR_DISPOSED
 */
export async function baseVectors(
  model: LanguageModel,
  { parameters }: AdapterPlan,
): Promise<ReadonlyMap<string, Float32Array>> {
  const vectors = new Map<string, Float32Array>();
  const wanted = parameters.filter(({ ofBase }) => ofBase);
  if (wanted.length === 0) return vectors;
  const parts = wanted.map(({ name, shape }) => ({ name, shape }));
  const { data } = await runJob(() => model.native.mergedTensor(parts, "float32", false)); // one below the other
  const values = new Float32Array(data.buffer, data.byteOffset, data.length / 4);
  let begin = 0;
  for (const { name, shape } of wanted) {
    vectors.set(name, values.subarray(begin, begin + shape[0]!));
    begin += shape[0]!;
  }
  return vectors;
}

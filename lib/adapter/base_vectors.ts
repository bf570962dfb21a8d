/** Vectors of the base in a plan: first values of parameters, and constants. */
import { runJob } from "../job";
import type { LanguageModel } from "../model/model";
import type { AdapterPlan, PlanConstant } from "./plan";

/**
 * The base's vectors for the parameters or constants that are marked as such, by name, as float32.
 * @throws RubricateError ERR_ARGUMENT for a name that is no vector of the base; ERR_DISPOSED
 */
export async function baseVectors(
  model: LanguageModel,
  list: readonly { readonly name: string; readonly shape: readonly number[]; readonly ofBase?: true }[],
): Promise<ReadonlyMap<string, Float32Array>> {
  const vectors = new Map<string, Float32Array>();
  const wanted = list.filter(({ ofBase }) => ofBase);
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

/** The plan with the values of the constants that are vectors of the base. @throws RubricateError as baseVectors */
export async function withBaseConstants(model: LanguageModel, plan: AdapterPlan): Promise<AdapterPlan> {
  const { constants = [] } = plan;
  const vectors = await baseVectors(model, constants);
  if (vectors.size === 0) return plan;
  const read = (one: PlanConstant) => (one.ofBase ? { ...one, values: vectors.get(one.name)! } : one);
  return { ...plan, constants: constants.map(read) };
}

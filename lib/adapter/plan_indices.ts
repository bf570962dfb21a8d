/** The entries of a plan's sparse updates: chosen from the base's weights for a new adapter, read from a folder for a stored one. */
import { invalid, quoted, RubricateError } from "../errors";
import type { ReadTensor } from "../files/safetensors";
import type { LanguageModel } from "../model/model";
import { elementCount } from "./files";
import { baseMatrix } from "./grown_entries";
import type { AnyMethod } from "./method";
import type { AdapterPlan, PlanEntries, PlanIndex } from "./plan";

const isInt32 = (value: unknown): value is Int32Array =>
  Object.prototype.toString.call(value) === "[object Int32Array]";

/** The plan, with the shapes of the parameters that have a number for each entry of an index. */
export function withEntries(plan: AdapterPlan, entries: PlanEntries): AdapterPlan {
  if (entries.length === 0) return plan;
  const parameters = plan.parameters.map((parameter) =>
    parameter.entriesOf === undefined ? parameter : { ...parameter, shape: [entries[parameter.entriesOf]!.length] },
  );
  return { ...plan, parameters };
}

/**
 * The entries that a method chooses, one matrix of the base after the other. The core checks order and range.
 * @throws RubricateError ERR_PLAN, ERR_DISPOSED, and what the method's `choose` throws
 */
export async function chosenEntries(
  model: LanguageModel,
  method: AnyMethod,
  { config, options }: { readonly config: object; readonly options: object },
  { indices = [] }: AdapterPlan,
): Promise<PlanEntries> {
  const all: Int32Array[] = [];
  for (const index of indices) {
    const weight = await baseMatrix(model, index);
    const entries: unknown = await method.choose!(weight, index, config, options);
    if (!isInt32(entries) || entries.length === 0 || (index.count ?? entries.length) !== entries.length)
      throw invalid(
        `the entries of ${index.name} that method ${method.kind} chose`,
        index.count === undefined ? "an Int32Array of at least one number" : `an Int32Array of ${index.count}`,
        entries,
        "ERR_PLAN",
      );
    all.push(entries);
  }
  return all;
}

/** A bound for the numbers of a plan's indices, and of the parameters that have as many. */
export function mostEntries({ indices = [] }: AdapterPlan): number {
  return indices.reduce((sum, { shape, count }) => sum + 2 * (count ?? elementCount(shape)), 0);
}

/**
 * The entries of a folder.
 * @throws RubricateError ERR_ADAPTER_FORMAT naming the tensor that is missing, of another dtype or shape, not ascending, or out of
 * the matrix's range
 */
export function entriesIn(
  { indices = [] }: AdapterPlan,
  tensors: ReadonlyMap<string, ReadTensor>,
  path: string,
): PlanEntries {
  return indices.map((index) => {
    const tensor = tensors.get(index.name);
    const wrong = (text: string) => new RubricateError("ERR_ADAPTER_FORMAT", `${text} in ${path}`);
    if (!tensor) throw wrong(`Expected a tensor ${quoted(index.name)} but found none`);
    if (tensor.dtype !== "I32") throw wrong(`Expected I32 for ${index.name} but found ${tensor.dtype}`);
    const [count = 0] = tensor.shape;
    if (tensor.shape.length !== 1 || count === 0 || (index.count ?? count) !== count)
      throw wrong(
        `Expected shape [${index.count ?? "entries"}] for ${index.name} but found [${tensor.shape.join(", ")}]`,
      );
    const entries = int32Values(tensor.data);
    const fault = faultOf(entries, index);
    if (fault !== undefined) throw wrong(fault);
    return entries;
  });
}

/** The numbers of an I32 tensor, copied. */
export function int32Values(data: Uint8Array): Int32Array {
  const values = new Int32Array(data.length / 4);
  new Uint8Array(values.buffer).set(data);
  return values;
}

function faultOf(entries: Int32Array, { name, shape }: PlanIndex): string | undefined {
  const end = elementCount(shape);
  let before = -1;
  for (const [at, entry] of entries.entries()) {
    if (entry < 0 || entry >= end)
      return `Expected numbers from 0 to ${end - 1} for ${name} but found ${entry} at ${at}`;
    if (entry <= before)
      return `Expected ascending numbers, each once, for ${name} but found ${entry} after ${before} at ${at}`;
    before = entry;
  }
  return undefined;
}

/** Reads delta_vector.pth of RED's reference implementation. */
import { RubricateError } from "../errors";
import { widened } from "../files/safetensors";
import { readTorchTensors } from "../files/torch/tensors";
import { firstNotFiniteSteps } from "../finite";
import type { Architecture } from "../model/architecture";
import { inSlices } from "../steps";
import type { RedAdapterConfig } from "./config";
import { type ReferencePlan, referencePlan } from "./reference_names";

/** An adapter of the reference implementation, with vectors by canonical name. */
export interface ReferenceAdapter {
  readonly config: RedAdapterConfig;
  readonly vectors: Map<string, Float32Array>;
}

/**
 * Reads the file for a model. bf16 and fp16 are widened, which is exact.
 * @throws RubricateError ERR_FILE, ERR_TORCH_FILE, ERR_ADAPTER_FORMAT naming the tensor
 */
export async function readReference(path: string, architecture: Architecture): Promise<ReferenceAdapter> {
  let plan: ReferencePlan | undefined;
  const tensors = await readTorchTensors(path, (headers) => {
    plan = referencePlan(headers, architecture, path);
  });
  const { config, pieces } = plan!;
  const whole = new Map<string, Float32Array>();
  for (const [name, tensor] of tensors) {
    const values = await inSlices(widened(tensor, name));
    const at = await inSlices(firstNotFiniteSteps(values));
    if (at >= 0)
      throw new RubricateError(
        "ERR_ADAPTER_FORMAT",
        `Expected finite numbers but found ${values[at]} at ${at} of ${name} in ${path}`,
      );
    whole.set(name, values);
  }
  const vectors = new Map(
    pieces.map(({ vector, tensor, start, end }) => [vector, whole.get(tensor)!.subarray(start, end)]),
  );
  return { config, vectors };
}

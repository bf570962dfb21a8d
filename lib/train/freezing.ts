/** Entries that a run trains no more after a share of its steps, if the adapter's plan says so (`freeze`). */

import { int32Values } from "../adapter/plan_indices";
import { invalid } from "../errors";
import type { ReadTensor } from "../files/safetensors";
import { int32Tensor, type StoredTensor } from "../files/safetensors";
import type { NativeOptimizer } from "../native";
import type { Trainee } from "./trainee";

/** The tensor of a checkpoint's optimizer file that has their places. */
export const frozenName = "frozen";

/** The step after which they are frozen; undefined if the trainee freezes none. At least one step comes before. */
export function freezeStepOf({ freezing }: Trainee, totalSteps: number): number | undefined {
  return freezing && Math.max(1, Math.floor(freezing.at * totalSteps));
}

/** Freezes what has grown. It depends on nothing but the adapter's values, so that repeating it changes nothing. */
export async function freezeGrown(trainee: Trainee, optimizer: NativeOptimizer): Promise<void> {
  optimizer.freeze(await trainee.freezing!.grown());
}

/** For a checkpoint: none as long as nothing is frozen. */
export function storedFrozen({ freezing }: Trainee, optimizer: NativeOptimizer): StoredTensor[] {
  const places = freezing ? optimizer.frozen() : new Int32Array(0);
  return places.length > 0 ? [int32Tensor(frozenName, places)] : [];
}

/**
 * The places of a checkpoint, ascending.
 * @throws RubricateError ERR_CHECKPOINT
 */
export function frozenIn(tensors: ReadonlyMap<string, ReadTensor>, { count }: Trainee): Int32Array {
  const tensor = tensors.get(frozenName);
  if (!tensor) return new Int32Array(0);
  const places = tensor.dtype === "I32" ? int32Values(tensor.data) : Int32Array.of(-1);
  let before = -1;
  for (const place of places) {
    if (place <= before || place >= count)
      throw invalid(frozenName, `ascending places below ${count}, as I32`, place, "ERR_CHECKPOINT");
    before = place;
  }
  return places;
}

/** The stored tensors of a merged model, each made when it is written. */

import { weightsFile } from "../files/model_folder";
import type { StoredTensor } from "../files/safetensors";
import { runJob } from "../job";
import type { ModelDescription } from "../model/architecture";
import { headName } from "../model/checkpoint_files";
import { joinedShape, storedDtypes, storedTensors } from "../model/save";
import type { NativeDtype, NativeMergedPart, NativeModel } from "../native";
import type { LinearEdit } from "./merge_plan";

/** A tensor to be written. */
export interface MergedTensor {
  readonly name: string;
  readonly bytes: number;
  /** @param onBytes called with the size of each piece before it is written; what it throws ends the write */
  stored(onBytes: (count: number) => void, signal: AbortSignal | undefined): StoredTensor;
  /** Names under which the base may store it, or its weight. */
  readonly sought: readonly string[];
}

/** Bytes between two calls of `onBytes`: a whole number of elements. */
const pieceBytes = 1 << 22;

/**
 * All tensors of a merged model.
 * @param description of the merged model
 * @param dtype of all tensors; undefined: as the base stores each, and a new bias as its weight
 */
export function mergedTensors(
  model: NativeModel,
  edits: ReadonlyMap<string, LinearEdit>,
  { tensors: names, storage }: Pick<ModelDescription, "tensors" | "storage">,
  dtype: NativeDtype | undefined,
): MergedTensor[] {
  const specs = model.tensorSpecs();
  const partOf = (canonical: string): NativeMergedPart => {
    const [, layer, kind] = /^(.*)\.(weight|bias)$/.exec(canonical)!;
    const { inputScale, lowRank, sparse, scale, bias, own: inPlace } = edits.get(layer!) ?? {};
    const change =
      kind === "weight"
        ? { inputScale, lowRank, sparse, scale, own: inPlace?.weight }
        : { scale, bias, own: inPlace?.bias };
    const own = specs[canonical];
    if (own) return { name: canonical, shape: own.shape, ...change };
    return { shape: [specs[`${layer}.weight`]!.shape[0]!], ...change };
  };
  return [...storedTensors(names, storage)].map(([name, { parts, transposed }]) => {
    const merged = parts.map(partOf);
    const first = parts[0]!;
    const own = dtype ?? (specs[first] ?? specs[first.replace(/\.bias$/, ".weight")]!).dtype;
    const shape = joinedShape(
      merged.map((part) => part.shape),
      transposed,
    );
    const bytes = shape.reduce((product, size) => product * size, own === "float32" ? 4 : 2);
    const isVector = shape.length === 1;
    const read = () => model.mergedTensor(merged, own, transposed && !isVector);
    return {
      name,
      bytes,
      sought: soughtNames(name, first, storage.prefix),
      stored: (onBytes, signal) => ({
        name,
        dtype: storedDtypes[own]!,
        shape,
        data: async function* () {
          onBytes(0);
          const { data } = await runJob(read, signal);
          for (let at = 0; at < data.length; at += pieceBytes) {
            const piece = data.subarray(at, at + pieceBytes);
            onBytes(piece.length);
            yield piece;
          }
        },
      }),
    };
  });
}

/** A checkpoint may lack the prefix, store a tied table as the head, and lack a new bias. */
function soughtNames(name: string, canonical: string, prefix: string): string[] {
  const names = [name, name.replace(/\.bias$/, ".weight")];
  if (canonical === "embed_tokens.weight") names.push(headName);
  return names.flatMap((one) => (one.startsWith(prefix) ? [one, one.slice(prefix.length)] : [one]));
}

/**
 * The tensors by the file that they are written into: those of one shard of the base stay together.
 * @param shards the file of each of the base's tensors; undefined: it has one file
 */
export function filesOf(
  tensors: readonly MergedTensor[],
  shards: ReadonlyMap<string, string> | undefined,
): ReadonlyMap<string, readonly MergedTensor[]> {
  if (!shards) return new Map([[weightsFile, tensors]]);
  const fallback = [...shards.values()].sort()[0]!;
  const byShard = new Map<string, MergedTensor[]>();
  for (const tensor of tensors) {
    const found = tensor.sought.find((name) => shards.has(name));
    const shard = found === undefined ? fallback : shards.get(found)!;
    byShard.set(shard, [...(byShard.get(shard) ?? []), tensor]);
  }
  if (byShard.size === 1) return new Map([[weightsFile, tensors]]);
  const number = (value: number) => `${value}`.padStart(5, "0");
  const ordered = [...byShard].sort(([a], [b]) => (a < b ? -1 : 1));
  return new Map(
    ordered.map(([, own], at) => [`model-${number(at + 1)}-of-${number(ordered.length)}.safetensors`, own]),
  );
}

/** Checks of arguments that several calls of a model have: token ids and adapter. */

import { requireAdapter } from "./brands";
import { invalid, RubricateError } from "./errors";
import type { NativeAdapter, NativeModel } from "./native";
import { integersOf, lengthOf } from "./options";

// Declared here, not in lib/adapter: adapters depend on models, never the other way around.
/** The adapter's interface for calls of a model. RedAdapter implements it. */
export interface ModelAdapter {
  /** Trainable numbers. */
  readonly parameterCount: number;
  /** Copies of the vectors by canonical name. */
  vectors(): Map<string, Float32Array>;
  /** The handle, for a call of `model`. @internal */
  nativeFor(model: { readonly dir: string; readonly native: NativeModel }): NativeAdapter;
}

/**
 * The handle of a call's adapter; null if there is none.
 * @throws RubricateError ERR_ARGUMENT for any other value, ERR_FOREIGN, ERR_DISPOSED
 */
export function adapterHandle(
  adapter: ModelAdapter | null | undefined,
  model: { readonly dir: string; readonly native: NativeModel },
): NativeAdapter | null {
  if (adapter === null || adapter === undefined) return null;
  requireAdapter(adapter);
  return adapter.nativeFor(model);
}

/**
 * Checks token ids and copies them for the core.
 * @param prompt whether the context needs room for one more token
 * @throws RubricateError ERR_ARGUMENT, ERR_CONTEXT_LENGTH
 */
export function checkedIds(
  tokenIds: ArrayLike<number>,
  model: {
    readonly contextLength: number;
    readonly vocabularySize: number;
  },
  { prompt }: { readonly prompt: boolean },
): Int32Array {
  const { contextLength, vocabularySize } = model;
  const length = lengthOf("tokenIds", "at least one token id", tokenIds);
  if (length === 0) throw invalid("tokenIds", "at least one token id", tokenIds);
  if (length > contextLength || (prompt && length === contextLength))
    throw new RubricateError(
      "ERR_CONTEXT_LENGTH",
      `Expected ${prompt ? "a prompt of fewer than" : "at most"} ${contextLength} tokens (the model's context) but ` +
        `received ${length}`,
    );
  return integersOf("tokenIds", tokenIds, length, 0, vocabularySize - 1);
}

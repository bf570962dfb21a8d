/** The lists of modules in PEFT's adapter_config.json: names of the model's own linear layers, or of those that are stored. */
import type { ModelDescription } from "../model/architecture";
import type { NativeLinearSite } from "../native";
import { moduleNames, namedModules } from "./peft_modules";
import { modulesIn, type StoredLayer, StoredLayers } from "./peft_stored";

/** What a list names. */
export interface TargetedModules {
  /** The model's own, in the order of a block. */
  readonly modules: readonly NativeLinearSite[];
  /** The layers of full names, ascending; undefined: all of the model. */
  readonly layers: readonly number[] | undefined;
  /** The stored layers, if the list names those; the folder's tensors are theirs. */
  readonly stored: readonly StoredLayer[] | undefined;
  /** Whether PEFT may say that matrices are stored as [inputs, outputs]. */
  readonly transposed: boolean;
}

/** What is expected, for messages. */
export function targetNames(base: ModelDescription | undefined): string {
  const names = base && new StoredLayers(base);
  if (!names || names.areOwn) return moduleNames;
  return `some of ${names.all.map(({ place }) => place).join(", ")}, alone or by full names that are the same in each layer,`;
}

/**
 * What a list names, or "all-linear": at least one module. Of a family that stores its linear layers otherwise, "all-linear"
 * means those that are stored, since PEFT wrote it.
 * @param ofStored only stored layers
 * @returns undefined if it names others, or is no list
 */
export function targetedModules(
  value: unknown,
  base: ModelDescription | undefined,
  ofStored = false,
): TargetedModules | undefined {
  const names = base && new StoredLayers(base);
  const isStored = names !== undefined && !names.areOwn;
  const own = isStored && (value === "all-linear" || ofStored) ? undefined : namedModules(value);
  if (own) return own.modules.length === 0 ? undefined : { ...own, stored: undefined, transposed: false };
  const named = isStored ? names.named(value) : undefined;
  return named && { modules: modulesIn(named.stored), ...named, transposed: names!.transposed };
}

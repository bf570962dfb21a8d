/**
 * Marks on the objects of public classes, by which calls recognise them. No other object has a mark by chance, but a test's
 * fake can set it.
 */
import { invalid } from "./errors";

export const modelBrand = Symbol("rubricate.LanguageModel");
export const adapterBrand = Symbol("rubricate.RedAdapter");
export const sourceBrand = Symbol("rubricate.ExampleSource");

/** Whether a value has a mark; false if it cannot be read. */
export function hasBrand(value: unknown, brand: symbol): boolean {
  try {
    return typeof value === "object" && value !== null && (value as Record<symbol, unknown>)[brand] === true;
  } catch {
    return false;
  }
}

/** Whether a value is of a class; false if it cannot be read. */
export function isInstance<T>(value: unknown, Class: { readonly prototype: T }): value is T {
  try {
    return value instanceof (Class as unknown as new () => T);
  } catch {
    return false;
  }
}

/** @throws RubricateError ERR_ARGUMENT */
export function requireModel(model: unknown): void {
  if (!hasBrand(model, modelBrand)) throw invalid("model", "a LanguageModel", model);
}

/** @throws RubricateError ERR_ARGUMENT */
export function requireAdapter(adapter: unknown): void {
  if (!hasBrand(adapter, adapterBrand))
    throw invalid("adapter", "a RedAdapter, a LoraAdapter, an Ia3Adapter or a MethodAdapter", adapter);
}

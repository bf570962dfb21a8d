/** Plain data as a template sees it: what Python reads from its JSON. */
import { fieldNames, JsonNumber } from "../files/exact_values";
import { Dict, type Value } from "./values";

/** A number is an int where JSON spells it as one: 20 is, 1e21 is not. */
function numberValue(value: number): Value {
  if (!Number.isInteger(value)) return value;
  return Math.abs(value) < 1e21 ? BigInt(String(value)) : value; // JSON has zeros for the digits beyond 2^53
}

export function toValue(given: unknown): Value {
  if (typeof given === "string" || typeof given === "boolean") return given;
  if (typeof given === "number") return numberValue(given);
  if (typeof given !== "object" || given === null) return null;
  if (Array.isArray(given)) return given.map(toValue);
  if (given instanceof JsonNumber) return given.value;
  const dict = new Dict();
  for (const name of fieldNames(given)) {
    const value = (given as Record<string, unknown>)[name];
    if (value !== undefined) dict.setField(name, toValue(value));
  }
  return dict;
}

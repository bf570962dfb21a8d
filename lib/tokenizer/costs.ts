/** What a tokenizer's components do to a text at worst: how much they compare, and how much longer they make it. */

import type { JsonObject } from "../files/json";
import { digitGrouper } from "./digit_groups";
import { type Linear, linear, linearForm } from "./pattern_safety";

interface Pattern {
  readonly String?: string;
  readonly Regex?: string;
}

/**
 * Whether a component's regular expression is linear, and what it costs.
 * @param part "pre_tokenizer", "normalizer" or "decoder"
 */
export function regexOf(part: string, component: JsonObject): Linear | undefined {
  const { Regex = "" } = component.pattern as Pattern;
  if (part === "pre_tokenizer") {
    const plain = component.behavior === "Isolated" && component.invert !== true;
    if (plain && digitGrouper(Regex)) return { cost: 4, nullable: true };
    return linear(linearForm(Regex));
  }
  return linear(Regex);
}

/** Characters that a component's pattern compares at one place of a text at most. */
export function patternCost(part: string, component: JsonObject): number {
  const pattern = component.pattern as Pattern | undefined;
  if (pattern === undefined) return 0;
  return pattern.String?.length ?? regexOf(part, component)?.cost ?? Number.POSITIVE_INFINITY;
}

/** Most characters that Unicode's normalization forms, and small letters, make of one. */
const growthOf: Readonly<Record<string, number>> = { NFC: 3, NFD: 4, NFKC: 18, NFKD: 18, Lowercase: 2 };

/** By how much the normalizers together can multiply a text's characters at most, or the decoders a token's. */
export function normalizerGrowth(normalizers: readonly JsonObject[]): number {
  return normalizers.reduce((growth, one) => growth * Math.max(1, singleGrowth(one)), 1);
}

function singleGrowth(component: JsonObject): number {
  if (component.type === "Prepend") {
    // Once for each text between added tokens, which have a character at least, as the text does.
    return 1 + (component.prepend as string).length / 2;
  }
  if (component.type !== "Replace") return growthOf[component.type as string] ?? 1;
  const { String: sought } = component.pattern as Pattern;
  const { length } = component.content as string;
  if (sought !== undefined) return length / sought.length;
  return regexOf("normalizer", component)?.nullable ? 1 + 2 * length : length;
}

/** Checks of methods' options, by the kinds of option values. */
import { invalid } from "../errors";
import { limits } from "../limits";
import { choice, integer, type Kind, narrowed, number } from "../option_kinds";

/** @throws RubricateError ERR_ARGUMENT naming the option */
export function checkedOption<T>(name: string, kind: Kind<T>, value: T): T {
  const expected = kind.fault(value);
  if (expected !== undefined) throw invalid(name, expected, value);
  return value;
}

/** Rows of a low-rank matrix, or the width of a bottleneck. */
export const rankKind = integer(1, limits.mostLoraRank);

export const aboveZero = narrowed(number(0, limits.maxPositive), "a number above 0", (value) => value > 0);

/** A share of a run's steps. */
export const belowOne = narrowed(number(0, 1), "a number of 0 or more, below 1", (value) => value < 1);

/** Factors by which an update is multiplied, before they are divided by a rank. @throws RubricateError ERR_ARGUMENT */
export function checkedAlpha(alpha: number): number {
  if (typeof alpha !== "number" || !(alpha > 0 && alpha <= limits.maxPositive))
    throw invalid("alpha", `a number above 0, at most ${limits.maxPositive}`, alpha);
  return alpha;
}

/** The activations that steps of a plan have. */
export const activationKind = choice(["gelu", "gelu_tanh", "silu", "relu", "tanh"]);

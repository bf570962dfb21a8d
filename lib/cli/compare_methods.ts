/** The value of --methods: "red,lora:rank=4:alpha=8,full". An option is written as the flag of `train`, without the hyphens. */
import type { RedSite } from "../adapter/config";
import { configOf, usualRateOf } from "../adapter/method_adapter";
import { MethodBase } from "../adapter/method_base";
import { methodOf } from "../adapter/methods";
import { type ComparedMethod, ratesAround } from "../compare/plan";
import { quoted, RubricateError } from "../errors";
import type { ModelDescription } from "../model/architecture";
import { suggestion } from "../options";
import { defaultLearningRate, hasMeasuredRates, type TrainingMethod, trainingMethods } from "../train/learning_rates";
import { kebab, readValue } from "./arguments";
import { UsageError } from "./command";
import { flagWords } from "./flag_words";
import { type FlagName, flags, type Values } from "./flags";
import { checkMethodFlags, methodOptions, requireBudget } from "./method_flags";

/** A method with its options, as flags. */
interface Asked {
  readonly label: string;
  readonly kind: TrainingMethod;
  readonly values: Values;
}

const isKind = (name: string): name is TrainingMethod => (trainingMethods as readonly string[]).includes(name);
const kindOf = (piece: string) => piece.split(":")[0]!.trim();

/**
 * Reads --methods. Lists within an option have commas, too: a piece that does not begin with a method's name goes on with the
 * option before it.
 * @throws UsageError
 */
export function readMethods(text: string): Asked[] {
  const pieces: string[] = [];
  for (const piece of text.split(",")) {
    const goesOn = !isKind(kindOf(piece)) && pieces.at(-1)?.includes("=") === true;
    if (goesOn) pieces[pieces.length - 1] += `,${piece.trim()}`;
    else pieces.push(piece.trim());
  }
  return pieces.map(readMethod);
}

function readMethod(piece: string): Asked {
  const [kind, ...options] = piece.split(":").map((part) => part.trim()) as [string, ...string[]];
  if (!isKind(kind))
    throw new UsageError(
      `Expected one of ${trainingMethods.join(", ")} in --methods but received ${quoted(kind)}${suggestion(kind, trainingMethods)}`,
    );
  const values: Record<string, unknown> = {};
  for (const option of options) {
    const [, written, value] = /^(?:--)?([^=]*)(?:=([\s\S]*))?$/.exec(option)!;
    const name = optionOf(kind, written!.trim());
    if (values[name] !== undefined) throw new UsageError(`Expected ${written} once for ${kind} in --methods`);
    values[name] = readValue(flags[name], `${written} of ${kind} in --methods`, value, (text) => new UsageError(text));
  }
  checkMethodFlags(kind, values as Values);
  requireBudget(kind, values as Values);
  return { label: piece.replace(/\s*([:,=])\s*(--)?/g, "$1"), kind, values: values as Values };
}

/** The flag of a method's option. @throws UsageError */
function optionOf(kind: TrainingMethod, written: string): FlagName {
  const own = (methodOf(kind)?.options ?? []) as readonly FlagName[];
  const name = own.find((one) => kebab(one) === written || one === written);
  if (name !== undefined) return name;
  const names = own.map(kebab);
  const takes = names.length === 0 ? `no option of ${kind}` : `an option of ${kind} (${names.join(", ")})`;
  throw new UsageError(`Expected ${takes} in --methods but received ${quoted(written)}${suggestion(written, names)}`);
}

/**
 * The methods with the learning rates that they try. Their options are checked against the base.
 * @param rates those of --learning-rates
 * @throws UsageError naming the method
 */
export function comparedMethods(
  asked: readonly Asked[],
  description: ModelDescription,
  rates: readonly number[] | "auto",
): ComparedMethod[] {
  const seen = new Map<string, string>();
  return asked.map(({ label, kind, values }) => {
    const config = configFor(label, kind, values, description);
    const meaning = JSON.stringify([kind, config]);
    const same = seen.get(meaning);
    if (same !== undefined)
      throw new UsageError(
        `Expected different methods in --methods but ${label} ${same === label ? "is there twice" : `means the same as ${same}`}`,
      );
    seen.set(meaning, label);
    const { hidden } = description.architecture;
    const sites = (config as { sites?: readonly RedSite[] }).sites ?? [];
    const usualRate = hasMeasuredRates(kind) ? undefined : usualRateOf(methodOf(kind)!);
    const fallback = defaultLearningRate({ method: kind, sites, hidden, usualRate });
    return {
      label,
      words: [`--method=${kind}`, ...flagWords(values, Object.keys(values) as FlagName[])],
      isFull: kind === "full",
      rates: rates === "auto" ? ratesAround(fallback) : rates,
    };
  });
}

/** A method's configuration for the base; empty for all weights. @throws UsageError */
function configFor(
  label: string,
  kind: TrainingMethod,
  values: Values,
  { architecture, tensors }: ModelDescription,
): object {
  const method = methodOf(kind);
  if (method === undefined) return {};
  if (method.needsData) return methodOptions(kind, values); // the rest follows from the data
  try {
    return configOf(method, methodOptions(kind, values), new MethodBase(architecture, tensors));
  } catch (error) {
    if (error instanceof RubricateError) throw new UsageError(`${label} in --methods: ${error.message}`);
    throw error;
  }
}

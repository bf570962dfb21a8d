/** Checks of a run's options: each by its declaration in option_table.ts, and their relations. */
import { invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import type { Kind } from "../option_kinds";
import { checkOptions, type OptionNames, readArgument } from "../options";
import { type OptionName, optionEntries, type TrainingOptions, trainingOptions } from "./option_table";
import { requireOneWarmup } from "./schedule";

/** Options that can be checked before anything is loaded. Of `eval` only its type and its range as a share are checked. */
type RunOptionValues = TrainingOptions & { readonly eval?: unknown };

/** Formats the name of an option, or of a field of its value, for messages. */
export type OptionNaming = (name: OptionName | "eval", field?: string) => string;

const asInCode: OptionNaming = (name, field) => (field === undefined ? name : `${name}.${field}`);

/**
 * Checks the options of a run: each one, and their relations.
 * @param say formats a name for messages: the command line writes flags
 * @throws RubricateError ERR_ARGUMENT naming the option
 */
export function checkRunOptions(options: RunOptionValues, say: OptionNaming = asInCode): void {
  for (const [name, { kind }] of optionEntries)
    if (options[name] !== undefined) checkValue(kind, options[name], (field) => say(name, field));
  checkTogether(options, say);
}

function checkValue(kind: Kind<unknown>, value: unknown, say: (field?: string) => string): void {
  const fault = readArgument(say(), kind.expects, () => kind.fault(value));
  if (fault !== undefined) throw invalid(say(), fault, value);
  if (kind.fields === undefined || typeof value !== "object") return;
  const names = Object.fromEntries(Object.keys(kind.fields).map((field) => [field, true]));
  const taken = checkOptions(value as Record<string, unknown>, names as OptionNames<Record<string, unknown>>, say());
  for (const [field, { fault }] of Object.entries(kind.fields)) {
    const expected = fault(taken[field]);
    if (expected !== undefined) throw invalid(say(field), expected, taken[field]);
  }
}

function checkTogether(options: RunOptionValues, say: OptionNaming): void {
  const needs = (name: OptionName, other: "eval" | "outputDir") =>
    new RubricateError("ERR_ARGUMENT", `${say(name)} needs ${say(other)}`);
  // Default rates and those of a sweep are below 1, so that no decay is too large with them.
  const { learningRate, weightDecay = trainingOptions.weightDecay.default } = options;
  const decay = typeof learningRate === "number" ? learningRate * Number(weightDecay) : 0;
  if (decay > limits.largestFloat32)
    throw invalid(`${say("learningRate")} times ${say("weightDecay")}`, `at most ${limits.largestFloat32}`, decay);
  if (typeof options.eval === "number" && !(options.eval > 0 && options.eval < 1))
    throw invalid(say("eval"), "examples, or a number between 0 and 1", options.eval);
  requireOneWarmup(options, say);
  if (options.eval === undefined && learningRate === "sweep")
    throw new RubricateError(
      "ERR_ARGUMENT",
      `${say("learningRate")} "sweep" needs ${say("eval")}, whose loss it compares`,
    );
  if (options.eval === undefined)
    for (const name of ["evalEverySteps", "evalEveryEpoch", "evalOnStart", "earlyStopping", "keepBest"] as const)
      if (options[name]) throw needs(name, "eval");
  if (options.outputDir !== undefined) return;
  if (options.checkpointEverySteps !== undefined) throw needs("checkpointEverySteps", "outputDir");
  if (options.checkpointEveryMinutes) throw needs("checkpointEveryMinutes", "outputDir");
  if (options.loggers?.length) throw needs("loggers", "outputDir");
}

import { invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import { checkOptions, listOf, type OptionNames } from "../options";
import type { LoggerName, TrainerOptions } from "./options";
import { requireOneWarmup, schedules } from "./schedule";

/** What can be checked before anything is loaded. Of `eval` it counts what kind it is. */
type RunOptionValues = Omit<TrainerOptions, "model" | "adapter" | "method" | "train" | "eval"> & {
  readonly eval?: unknown;
};

type Name = keyof RunOptionValues;

/** How messages write an option's name. */
type OptionNaming = (name: Name) => string;

const packingNames: OptionNames<{ maxTokens: number }> = { maxTokens: true };
const earlyStoppingNames: OptionNames<NonNullable<TrainerOptions["earlyStopping"]>> = {
  patience: true,
  minDelta: true,
};
const knownLoggers: readonly LoggerName[] = ["jsonl", "tensorboard"];

const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
const isCount = (value: unknown, least: number) => Number.isSafeInteger(value) && (value as number) >= least;

/**
 * Checks the options of a run, each alone and against each other.
 * @param say how messages write a name: the command line writes flags
 * @throws RubricateError ERR_ARGUMENT naming the option
 */
export function checkRunOptions(options: RunOptionValues, say: OptionNaming = (name) => name): void {
  checkCounts(options, say);
  checkOptimizer(options, say);
  checkChoices(options, say);
  checkTogether(options, say);
}

function checkCounts(options: RunOptionValues, say: OptionNaming): void {
  const counts = ["epochs", "maxSteps", "batchSize", "gradientAccumulationSteps", "evalEverySteps"] as const;
  for (const name of [...counts, "checkpointEverySteps", "keepCheckpoints", "maxLength"] as const)
    if (options[name] !== undefined && !isCount(options[name], 1))
      throw invalid(say(name), "a positive integer", options[name]);
  const { packing, seed, warmupSteps, warmupRatio } = options;
  if (packing !== undefined && typeof packing !== "boolean") {
    if (typeof packing !== "object") throw invalid(say("packing"), "true, false or { maxTokens }", packing);
    const { maxTokens } = checkOptions(packing, packingNames, say("packing"));
    if (!isCount(maxTokens, 1)) throw invalid(`${say("packing")}.maxTokens`, "a positive integer", maxTokens);
  }
  if (seed !== undefined && !isCount(seed, 0)) throw invalid(say("seed"), "an integer in [0, 2^53)", seed);
  if (warmupSteps !== undefined && !isCount(warmupSteps, 0))
    throw invalid(say("warmupSteps"), "an integer from 0", warmupSteps);
  if (warmupRatio !== undefined && !(isNumber(warmupRatio) && warmupRatio >= 0 && warmupRatio <= 1))
    throw invalid(say("warmupRatio"), "a number in [0, 1]", warmupRatio);
}

/** The core computes in float32: a number that rounds to infinity or to 0 there would mean something else. */
function checkOptimizer(options: RunOptionValues, say: OptionNaming): void {
  const { smallestFloat32: least, largestFloat32: most } = limits;
  const range = `2^-126 to ${most} (the range of float32)`;
  const fits = (value: number) => value >= least && value <= most;
  for (const name of ["learningRate", "weightDecay", "maxGradNorm"] as const) {
    const value = options[name];
    if (value === undefined) continue;
    if (!(isNumber(value) && value >= 0)) throw invalid(say(name), "a number of at least 0", value);
    if (value !== 0 && !fits(value)) throw invalid(say(name), `0 or a number from ${range}`, value);
  }
  for (const name of ["beta1", "beta2"] as const) {
    const value = options[name];
    if (value === undefined) continue;
    if (!(isNumber(value) && value >= 0 && value < 1)) throw invalid(say(name), "a number in [0, 1)", value);
    if (value > limits.largestBeta)
      throw invalid(say(name), "a number of at most 1 - 2^-24 (the largest float32 below 1)", value);
  }
  const { epsilon } = options;
  if (epsilon !== undefined && !(isNumber(epsilon) && epsilon > 0))
    throw invalid(say("epsilon"), "a positive number", epsilon);
  if (epsilon !== undefined && !fits(epsilon)) throw invalid(say("epsilon"), `a number from ${range}`, epsilon);
  const { learningRate = 1e-3, weightDecay = 0 } = options;
  if (learningRate * weightDecay > most)
    throw invalid(`${say("learningRate")} times ${say("weightDecay")}`, `at most ${most}`, learningRate * weightDecay);
}

function checkChoices(options: RunOptionValues, say: OptionNaming): void {
  const { schedule = "linear", weightDecayTarget = "identity", recompute = false, resume = false } = options;
  const { outputDir, earlyStopping } = options;
  if (!schedules.includes(schedule)) throw invalid(say("schedule"), `one of ${schedules.join(", ")}`, schedule);
  if (!["identity", "zero"].includes(weightDecayTarget))
    throw invalid(say("weightDecayTarget"), '"identity" or "zero"', weightDecayTarget);
  for (const name of ["groupByLength", "shuffle", "evalEveryEpoch", "keepBest"] as const)
    if (options[name] !== undefined && typeof options[name] !== "boolean")
      throw invalid(say(name), "true or false", options[name]);
  if (typeof recompute !== "boolean" && recompute !== "auto")
    throw invalid(say("recompute"), 'true, false or "auto"', recompute);
  if (typeof resume !== "boolean" && (typeof resume !== "string" || resume === ""))
    throw invalid(say("resume"), 'true, false, "auto" or the path of a checkpoint', resume);
  if (outputDir !== undefined && (typeof outputDir !== "string" || outputDir === ""))
    throw invalid(say("outputDir"), "a path", outputDir);
  if (options.loggers !== undefined) checkLoggers(options.loggers, say("loggers"));
  if (typeof options.eval === "number" && !(options.eval > 0 && options.eval < 1))
    throw invalid(say("eval"), "examples, or a number between 0 and 1", options.eval);
  if (earlyStopping === undefined) return;
  const { patience, minDelta = 0 } = checkOptions(earlyStopping, earlyStoppingNames, say("earlyStopping"));
  if (!isCount(patience, 1)) throw invalid(`${say("earlyStopping")}.patience`, "a positive integer", patience);
  if (!(isNumber(minDelta) && minDelta >= 0))
    throw invalid(`${say("earlyStopping")}.minDelta`, "a number of at least 0", minDelta);
}

function checkLoggers(loggers: readonly LoggerName[], name: string): void {
  const what = `some of ${knownLoggers.join(", ")}, each once`;
  const list = listOf(name, what, loggers);
  const isKnown = (one: LoggerName, at: number) => knownLoggers.includes(one) && list.indexOf(one) === at;
  if (!list.every(isKnown)) throw invalid(name, what, loggers);
}

function checkTogether(options: RunOptionValues, say: OptionNaming): void {
  const needs = (name: Name, other: Name) => new RubricateError("ERR_ARGUMENT", `${say(name)} needs ${say(other)}`);
  requireOneWarmup(options, say);
  if (options.eval === undefined)
    for (const name of ["evalEverySteps", "evalEveryEpoch", "earlyStopping", "keepBest"] as const)
      if (options[name]) throw needs(name, "eval");
  if (options.outputDir !== undefined) return;
  if (options.checkpointEverySteps !== undefined) throw needs("checkpointEverySteps", "outputDir");
  if (options.loggers?.length) throw needs("loggers", "outputDir");
}

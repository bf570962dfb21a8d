/** The options of a generation and their checks. */
import { randomInt } from "node:crypto";
import { invalid } from "../errors";
import { limits } from "../limits";
import type { ModelAdapter } from "../model_arguments";
import type { NativeSamplingOptions } from "../native";
import { temperatures } from "../option_kinds";
import { booleanOf, isMissing, type OptionNames, signalOf } from "../options";
import type { ChatMessage } from "../tokenizer/tokenizer";
import { type ModelSizes, type PromptInput, readPrompt } from "./prompt_input";
import {
  type LogProbabilityOptions,
  type PenaltyOptions,
  penaltyOptions,
  topLogProbabilitiesOf,
} from "./sampling_options";
import { StopFilter, stopStrings } from "./stop_strings";

/** How to continue, and what: exactly one of `prompt`, `messages` and `tokenIds`. Defaults are those of greedy decoding, which uses no
 * random numbers. */
export interface GenerateOptions extends PenaltyOptions, LogProbabilityOptions {
  /** Text; the tokenizer's beginning-of-sequence token is put before it, unless it begins with that. */
  readonly prompt?: string;
  /** A conversation, rendered by the model's chat template with the prompt for an answer. */
  readonly messages?: readonly ChatMessage[];
  readonly tokenIds?: ArrayLike<number>;
  /** A RedAdapter, LoraAdapter or Ia3Adapter that was created or loaded for this model object. Default: the model alone. */
  readonly adapter?: ModelAdapter | null;
  /** Default 256. */
  readonly maxNewTokens?: number;
  /** 0 (the default): always the likeliest token. Else from 2^-126, the smallest normal float32, to 100. */
  readonly temperature?: number;
  /** Sample among the k likeliest tokens; 0 (the default): among all. */
  readonly topK?: number;
  /** Sample among the fewest tokens that together have this probability, in (0, 1]; default 1. */
  readonly topP?: number;
  /** Sample among tokens of at least this share of the likeliest one's probability; default 0. */
  readonly minP?: number;
  /** Above 1: tokens that occurred become less likely (Keskar et al. 2019); default 1. */
  readonly repetitionPenalty?: number;
  /** Ends the text before the first of these that it would contain. Up to 256, of 1,024 UTF-16 units each. */
  readonly stop?: string | readonly string[];
  /** Leaves special tokens, such as those of a chat template, out of the text. `tokenIds` has them. Default: true. */
  readonly skipSpecialTokens?: boolean;
  /**
   * With a temperature above 0, the same seed gives the same text. An integer from 0 to 2^53 - 1. Default: drawn at random;
   * the result has it.
   */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

export const generateOptionNames: OptionNames<GenerateOptions> = {
  prompt: true,
  messages: true,
  tokenIds: true,
  adapter: true,
  maxNewTokens: true,
  temperature: true,
  topK: true,
  topP: true,
  minP: true,
  repetitionPenalty: true,
  frequencyPenalty: true,
  presencePenalty: true,
  logitBias: true,
  logProbabilities: true,
  topLogProbabilities: true,
  stop: true,
  skipSpecialTokens: true,
  seed: true,
  signal: true,
};

function inRange(name: string, value: number | undefined, fallback: number, least: number, most: number): number {
  const chosen = value ?? fallback;
  if (typeof chosen !== "number" || !(chosen >= least && chosen <= most)) {
    throw invalid(name, `a number from ${least} to ${most}`, value);
  }
  return chosen;
}

function integerInRange(
  name: string,
  value: number | undefined,
  fallback: number,
  least: number,
  most: number,
): number {
  const chosen = value ?? fallback;
  if (!Number.isSafeInteger(chosen) || chosen < least || chosen > most) {
    throw invalid(name, `an integer from ${least} to ${most}`, value);
  }
  return chosen;
}

function temperatureOf({ temperature }: GenerateOptions): number {
  const { leastTemperature, mostTemperature } = limits;
  const chosen = temperature ?? 0;
  const isNumber = typeof chosen === "number";
  if (!isNumber || !(chosen === 0 || (chosen >= leastTemperature && chosen <= mostTemperature)))
    throw invalid("temperature", temperatures, temperature);
  return chosen;
}

function topPOf(options: GenerateOptions): number {
  const topP = options.topP ?? 1;
  if (typeof topP !== "number" || !(Math.fround(topP) > 0 && topP <= 1))
    throw invalid("topP", "a number above 0 and up to 1", topP);
  return topP;
}

/** `randomInt` allows no larger range. */
const mostDrawn = 2 ** 48 - 1;

/** The given seed, or one drawn at random; 0 if none is needed. */
function seedOf(options: GenerateOptions): number {
  const given = integerInRange("seed", options.seed, 0, 0, limits.seed);
  const { seed, temperature } = options;
  return isMissing(seed) && !isMissing(temperature) && temperature > 0 ? randomInt(mostDrawn) : given;
}

function samplingOptions(options: GenerateOptions, vocabularySize: number): NativeSamplingOptions {
  const { leastRepetitionPenalty, mostRepetitionPenalty } = limits;
  return {
    temperature: temperatureOf(options),
    topK: integerInRange("topK", options.topK, 0, 0, limits.topK),
    topP: topPOf(options),
    minP: inRange("minP", options.minP, 0, 0, 1),
    repetitionPenalty: inRange(
      "repetitionPenalty",
      options.repetitionPenalty,
      1,
      leastRepetitionPenalty,
      mostRepetitionPenalty,
    ),
    ...penaltyOptions(options, vocabularySize),
    seed: seedOf(options),
  };
}

/** The options of a call, checked. */
export interface CheckedCall {
  readonly prompt: PromptInput;
  readonly sampling: NativeSamplingOptions;
  readonly maxNewTokens: number;
  /** How many of the likeliest tokens are wanted with each; -1: no log-probabilities. */
  readonly topLogProbs: number;
  readonly stops: StopFilter;
  readonly skipSpecialTokens: boolean;
  readonly signal: AbortSignal | undefined;
}

/**
 * Checks and copies all options of a call before any work starts, except the adapter.
 * @throws RubricateError ERR_ARGUMENT, ERR_CONTEXT_LENGTH
 */
export function checkedCall(options: Omit<GenerateOptions, "adapter">, model: ModelSizes): CheckedCall {
  return {
    prompt: readPrompt(options, model),
    sampling: samplingOptions(options, model.vocabularySize),
    maxNewTokens: integerInRange("maxNewTokens", options.maxNewTokens, 256, 1, limits.maxNewTokens),
    topLogProbs: topLogProbabilitiesOf(options),
    stops: new StopFilter(stopStrings(options.stop)),
    skipSpecialTokens: booleanOf("skipSpecialTokens", options.skipSpecialTokens, true),
    signal: signalOf(options.signal),
  };
}

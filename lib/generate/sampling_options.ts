/** Checks of the options that change logits before sampling, and of those that ask for log-probabilities. */
import { isMap } from "node:util/types";
import { invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import type { NativeSamplingOptions } from "../native";
import { isMissing, isRecord, readArgument } from "../options";

/** The likeliest token, of unchanged logits. */
export const greedy: NativeSamplingOptions = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  logitBias: null,
  seed: 0,
};

/** Changes of the logits before sampling, with the definitions and ranges of OpenAI's API and the order of vLLM. */
export interface PenaltyOptions {
  /** Subtracted from a token's logit once for each time that it was generated; from -2 to 2, default 0. */
  readonly frequencyPenalty?: number;
  /** Subtracted from a token's logit if it was generated; from -2 to 2, default 0. */
  readonly presencePenalty?: number;
  /**
   * Added to the logits of these token ids, before all penalties: from -100 to 100 each, up to 1,024 ids. -100 all but bans a
   * token, 100 all but forces it.
   */
  readonly logitBias?: Readonly<Record<string, number>> | ReadonlyMap<number, number>;
}

export interface LogProbabilityOptions {
  /**
   * Gives each generated token's log-probability: the model's own, in nats, before bias, penalties and temperature. Default:
   * false.
   */
  readonly logProbabilities?: boolean;
  /** Gives so many of the likeliest tokens with each generated one, from 0 to 20. Needs `logProbabilities`. Default: 0. */
  readonly topLogProbabilities?: number;
}

function penaltyOf(name: string, value: number | undefined): number {
  const chosen = value ?? 0;
  const most = limits.mostPenalty;
  if (typeof chosen !== "number" || !(chosen >= -most && chosen <= most))
    throw invalid(name, `a number from -${most} to ${most}`, value);
  return chosen;
}

const biasKinds = "an object or a Map from token ids to numbers";

/** A token id as the key of an object: digits alone, as JSON has it. */
function idOf(key: unknown): number {
  if (typeof key === "number") return key;
  return typeof key === "string" && /^(0|[1-9]\d{0,9})$/.test(key) ? Number(key) : Number.NaN;
}

/** Entries of a bias. Stops reading at one more than the limit, so that a huge one costs no more. */
function biasEntries(bias: unknown): [unknown, unknown][] {
  const entries: [unknown, unknown][] = [];
  const most = limits.logitBiases;
  const add = (id: unknown, value: unknown) => {
    if (entries.length === most)
      throw new RubricateError("ERR_ARGUMENT", `Expected at most ${most} token ids for logitBias but received more`);
    entries.push([id, value]);
  };
  if (isMap(bias)) for (const [id, value] of bias) add(id, value);
  else if (isRecord(bias)) {
    for (const key in bias) if (Object.hasOwn(bias, key)) add(key, bias[key]);
  } else throw invalid("logitBias", biasKinds, bias);
  return entries;
}

type NativeBias = NativeSamplingOptions["logitBias"];

function biasOf(bias: PenaltyOptions["logitBias"], vocabularySize: number): NativeBias {
  if (isMissing(bias)) return null;
  const most = limits.mostLogitBias;
  const entries = readArgument("logitBias", biasKinds, () => biasEntries(bias));
  if (entries.length === 0) return null;
  const biases = entries.map(([key, value]): [number, number] => {
    const id = idOf(key);
    if (!Number.isInteger(id) || id < 0 || id >= vocabularySize)
      throw invalid("logitBias", `token ids from 0 to ${vocabularySize - 1}`, key);
    if (typeof value !== "number" || !(value >= -most && value <= most))
      throw invalid(`logitBias[${id}]`, `a number from -${most} to ${most}`, value);
    return [id, value];
  });
  biases.sort(([a], [b]) => a - b);
  const twice = biases.find(([id], at) => id === biases[at - 1]?.[0]);
  if (twice) {
    throw new RubricateError(
      "ERR_ARGUMENT",
      `Expected each token id once for logitBias but received ${twice[0]} twice`,
    );
  }
  return { ids: Int32Array.from(biases, ([id]) => id), biases: Float32Array.from(biases, ([, bias]) => bias) };
}

/** @throws RubricateError ERR_ARGUMENT */
export function penaltyOptions(
  options: PenaltyOptions,
  vocabularySize: number,
): Pick<NativeSamplingOptions, "frequencyPenalty" | "presencePenalty" | "logitBias"> {
  return {
    frequencyPenalty: penaltyOf("frequencyPenalty", options.frequencyPenalty),
    presencePenalty: penaltyOf("presencePenalty", options.presencePenalty),
    logitBias: biasOf(options.logitBias, vocabularySize),
  };
}

/** How many of the likeliest tokens are wanted. @throws RubricateError ERR_ARGUMENT */
export function mostLikelyOf(topLogProbabilities: number | undefined): number {
  const most = limits.topLogProbabilities;
  const top = topLogProbabilities ?? 0;
  if (!Number.isInteger(top) || top < 0 || top > most)
    throw invalid("topLogProbabilities", `an integer from 0 to ${most}`, topLogProbabilities);
  return top;
}

/**
 * How many of the likeliest tokens are wanted with each generated one; -1: no log-probabilities.
 * @throws RubricateError ERR_ARGUMENT
 */
export function topLogProbabilitiesOf(options: LogProbabilityOptions): number {
  const { logProbabilities, topLogProbabilities } = options;
  const wanted = logProbabilities ?? false;
  if (typeof wanted !== "boolean") throw invalid("logProbabilities", "true or false", logProbabilities);
  const top = mostLikelyOf(topLogProbabilities);
  if (!wanted && !isMissing(topLogProbabilities))
    throw invalid("topLogProbabilities", "logProbabilities: true", logProbabilities);
  return wanted ? top : -1;
}

/** Checks of the options that change logits before sampling, and of those that ask for log-probabilities. */
import { invalid, RubricateError } from "../errors";

/** OpenAI's limits. */
export const samplingLimits = {
  /** Of a frequency or presence penalty, above and below 0. */
  mostPenalty: 2,
  /** Of the bias of one token, above and below 0. */
  mostLogitBias: 100,
  /** Token ids in one `logitBias`. */
  logitBiases: 300,
  topLogProbabilities: 20,
} as const;

/** Options of OpenAI's API, with its definitions and ranges; the names are those of this package. */
export interface PenaltyOptions {
  /** Subtracted from a token's logit once for each time that it was generated; from -2 to 2, default 0. */
  readonly frequencyPenalty?: number;
  /** Subtracted from a token's logit if it was generated; from -2 to 2, default 0. */
  readonly presencePenalty?: number;
  /** Added to the logits of these token ids: from -100 to 100 each, up to 300 ids. */
  readonly logitBias?: Readonly<Record<string, number>> | ReadonlyMap<number, number>;
}

export interface LogProbabilityOptions {
  /** Gives each generated token's log-probability. Default: false. */
  readonly logProbabilities?: boolean;
  /** Gives so many of the likeliest tokens with each generated one, from 0 to 20. Needs `logProbabilities`. */
  readonly topLogProbabilities?: number;
}

/** What the core takes: ids ascending, each once. */
export interface NativePenaltyOptions {
  readonly frequencyPenalty: number;
  readonly presencePenalty: number;
  readonly logitBiasIds: Int32Array;
  readonly logitBiases: Float32Array;
}

function penaltyOf(name: string, value: number | undefined): number {
  const chosen = value ?? 0;
  const most = samplingLimits.mostPenalty;
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

/** Entries of a bias. Stops reading at one more than the limit, so that a huge object costs no more. */
function biasEntries(bias: NonNullable<PenaltyOptions["logitBias"]>): [unknown, unknown][] {
  if (typeof bias !== "object" || bias === null || Array.isArray(bias) || ArrayBuffer.isView(bias))
    throw invalid("logitBias", biasKinds, bias);
  const entries: [unknown, unknown][] = [];
  const most = samplingLimits.logitBiases;
  const add = (id: unknown, value: unknown) => {
    if (entries.length === most)
      throw new RubricateError("ERR_ARGUMENT", `Expected at most ${most} token ids for logitBias but received more`);
    entries.push([id, value]);
  };
  if (bias instanceof Map) for (const [id, value] of bias) add(id, value);
  else for (const key in bias) if (Object.hasOwn(bias, key)) add(key, (bias as Record<string, unknown>)[key]);
  return entries;
}

function biasesOf(bias: PenaltyOptions["logitBias"], vocabularySize: number): [number, number][] {
  const most = samplingLimits.mostLogitBias;
  const biases = biasEntries(bias ?? {}).map(([key, value]): [number, number] => {
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
  return biases;
}

/** @throws RubricateError ERR_ARGUMENT */
export function penaltyOptions(options: PenaltyOptions, vocabularySize: number): NativePenaltyOptions {
  const biases = biasesOf(options.logitBias, vocabularySize);
  return {
    frequencyPenalty: penaltyOf("frequencyPenalty", options.frequencyPenalty),
    presencePenalty: penaltyOf("presencePenalty", options.presencePenalty),
    logitBiasIds: Int32Array.from(biases, ([id]) => id),
    logitBiases: Float32Array.from(biases, ([, bias]) => bias),
  };
}

/**
 * How many of the likeliest tokens are wanted with each generated one; -1: no log-probabilities.
 * @throws RubricateError ERR_ARGUMENT
 */
export function topLogProbabilitiesOf(options: LogProbabilityOptions): number {
  const { logProbabilities, topLogProbabilities } = options;
  const wanted = logProbabilities ?? false;
  if (typeof wanted !== "boolean") throw invalid("logProbabilities", "true or false", logProbabilities);
  const most = samplingLimits.topLogProbabilities;
  const top = topLogProbabilities ?? 0;
  if (!Number.isInteger(top) || top < 0 || top > most)
    throw invalid("topLogProbabilities", `an integer from 0 to ${most}`, topLogProbabilities);
  if (!wanted && topLogProbabilities !== undefined)
    throw invalid("topLogProbabilities", "logProbabilities: true", logProbabilities);
  return wanted ? top : -1;
}

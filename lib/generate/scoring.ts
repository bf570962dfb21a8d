/** Log-probabilities of given tokens. */
import type { ModelAdapter } from "../model_arguments";
import { type OptionNames, signalOf } from "../options";
import { joined } from "../tokenizer/sequence";
import type { ChatMessage } from "../tokenizer/tokenizer";
import { followingIds, promptIds } from "./prompt_ids";
import { type ModelSizes, type PromptInput, readContinuation, readPrompt } from "./prompt_input";
import { leave, nextToken, type RequestModel, started } from "./request";
import type { GeneratedLogProbability } from "./result";
import { greedy, mostLikelyOf } from "./sampling_options";
import { type Served, type ServedCall, Work } from "./served";

/** What is scored: a continuation of exactly one of `prompt`, `messages` and `tokenIds`. */
export interface ScoreOptions {
  /** Text, as for `generate`; "" with a tokenizer that puts a token before a text: the continuation is a whole text. */
  readonly prompt?: string;
  /** A conversation, rendered by the model's chat template with the prompt for an answer. */
  readonly messages?: readonly ChatMessage[];
  readonly tokenIds?: ArrayLike<number>;
  /**
   * A text or token ids, at least one. Behind `prompt` a text has the ids of a training row's completion, and elsewhere those
   * of the middle of a text. No end token is added.
   */
  readonly continuation: string | ArrayLike<number>;
  /** A RedAdapter, LoraAdapter or Ia3Adapter that was created or loaded for this model object. Default: the model alone. */
  readonly adapter?: ModelAdapter | null;
  /** Gives so many of the likeliest tokens in the place of each scored one, from 0 to 20. Default: 0. */
  readonly topLogProbabilities?: number;
  readonly signal?: AbortSignal;
}

export const scoreOptionNames: OptionNames<ScoreOptions> = {
  prompt: true,
  messages: true,
  tokenIds: true,
  continuation: true,
  adapter: true,
  topLogProbabilities: true,
  signal: true,
};

export interface ScoreResult {
  /** Ids of the continuation. */
  readonly tokenIds: number[];
  /** One for each of `tokenIds`: of the token behind the prompt and the tokens before it. */
  readonly logProbabilities: readonly GeneratedLogProbability[];
  /** Their sum, the logarithm of the whole continuation's probability. */
  readonly sum: number;
  readonly promptTokens: number;
  /** The name and version of the engine's adapter that was used; null for the base, and for an adapter object that was given. */
  readonly adapter: { readonly name: string; readonly version: number } | null;
  /** Tokens of the prompt whose keys and values an earlier request had left, so that they were not computed again. */
  readonly cachedTokens: number;
  /** Milliseconds that the request waited for its first step, once its texts were encoded. */
  readonly queuedMs: number;
}

/** A call of `score`, checked. */
export interface ScoreCall extends ServedCall {
  readonly prompt: PromptInput;
  readonly continuation: string | Int32Array;
  /** How many of the likeliest tokens are wanted with each scored one. */
  readonly topLogProbs: number;
}

/**
 * Checks and copies the options of a call, except the adapter, before any work starts.
 * @throws RubricateError ERR_ARGUMENT, ERR_CONTEXT_LENGTH
 */
export function checkedScore(options: Omit<ScoreOptions, "adapter">, model: ModelSizes): ScoreCall {
  const prompt = readPrompt(options, model);
  return {
    prompt,
    continuation: readContinuation(options.continuation, prompt, model),
    topLogProbs: mostLikelyOf(options.topLogProbabilities),
    signal: signalOf(options.signal),
  };
}

/** See Engine.score and LanguageModel.score. @param begin checks the call */
export async function scored(model: RequestModel, begin: (work: Work) => Served<ScoreCall>): Promise<ScoreResult> {
  const work = new Work();
  let ids = new Int32Array(0);
  let promptTokens = 0;
  const request = await started(model, begin, work, async ({ prompt, continuation, topLogProbs, signal }) => {
    const before = await promptIds(model, prompt, signal, work);
    ids = joined(before, await followingIds(model, prompt, before, continuation, signal, work));
    promptTokens = before.length;
    return {
      tokenIds: ids,
      sampling: greedy, // nothing is sampled
      maxNewTokens: 0,
      stopIds: new Int32Array(0),
      topLogProbs,
      scoreFrom: promptTokens,
    };
  });
  const { stream, adapter } = request;
  try {
    await nextToken(request, work); // there is none: it waits for the end
  } finally {
    await leave(request, true);
  }
  const tokenIds = Array.from(ids.subarray(promptTokens));
  const { scores, scoreTops, cachedTokens, queuedMs } = stream;
  return {
    tokenIds,
    logProbabilities: tokenIds.map((tokenId, at) => ({
      tokenId,
      logProbability: scores[at]!,
      topLogProbabilities: scoreTops[at] ?? [],
    })),
    sum: scores.reduce((total, score) => total + score, 0),
    promptTokens,
    adapter: adapter.named ?? null,
    cachedTokens,
    queuedMs,
  };
}

/** Log-probabilities of given tokens. */
import { joined } from "../tokenizer/sequence";
import { followingIds, type PromptOptions, promptIds } from "./prompt_ids";
import { leave, nextToken, type RequestModel, started } from "./request";
import type { TokenLogProbability } from "./result";
import { greedy } from "./sampling_options";
import { type Served, type ServedCall, Work } from "./served";

export interface ScoreResult {
  /** Ids of the continuation. */
  readonly tokenIds: number[];
  /** One for each of `tokenIds`: of the token behind the prompt and the tokens before it. */
  readonly logProbabilities: readonly TokenLogProbability[];
  /** Their sum, the logarithm of the whole continuation's probability. */
  readonly sum: number;
  readonly promptTokens: number;
  /** The name and version of the engine's adapter that was used; null for the base, and for a RedAdapter that was given. */
  readonly adapter: { readonly name: string; readonly version: number } | null;
  /** Tokens of the prompt whose keys and values an earlier request had left, so that they were not computed again. */
  readonly cachedTokens: number;
  /** Milliseconds that the request waited for its first step, once its texts were encoded. */
  readonly queuedMs: number;
}

/** A call of `score`, checked. */
export interface ScoreCall extends ServedCall {
  readonly options: PromptOptions & { readonly continuation: string | ArrayLike<number> };
}

/** See Engine.score. @param begin checks the call */
export async function scored(model: RequestModel, begin: (work: Work) => Served<ScoreCall>): Promise<ScoreResult> {
  const work = new Work();
  let ids = new Int32Array(0);
  let promptTokens = 0;
  const request = await started(model, begin, work, async ({ options, signal }) => {
    const before = await promptIds(model, options, signal, work);
    ids = joined(before, await followingIds(model, options, before, options.continuation, signal, work));
    promptTokens = before.length;
    return {
      tokenIds: ids,
      sampling: greedy, // nothing is sampled
      maxNewTokens: 0,
      stopIds: new Int32Array(0),
      topLogProbs: -1,
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
  const { scores, cachedTokens, queuedMs } = stream;
  return {
    tokenIds,
    logProbabilities: tokenIds.map((tokenId, at) => ({ tokenId, logProbability: scores[at]! })),
    sum: scores.reduce((total, score) => total + score, 0),
    promptTokens,
    adapter: adapter.named ?? null,
    cachedTokens,
    queuedMs,
  };
}

/** What a generation gives: pieces while it runs, and a result at its end. */
import type { NativeSamplingOptions } from "../native";

/** A token and the logarithm (to base e) of its probability: at most 0. */
export interface TokenLogProbability {
  readonly tokenId: number;
  /** The model's own: of its logits as they are, before bias, penalties, temperature and the rest of the sampling. */
  readonly logProbability: number;
}

/** The log-probability of a generated or scored token, and those of the likeliest tokens in its place. */
export interface GeneratedLogProbability extends TokenLogProbability {
  /** As many as `topLogProbabilities` asks for, the likeliest first; of equal ones the lower id. */
  readonly topLogProbabilities: readonly TokenLogProbability[];
}

export interface GenerationPiece {
  /** Text that became certain with this token; may be empty in the middle of a character or a possible stop string. */
  readonly text: string;
  readonly tokenId: number;
  /** With the option `logProbabilities`, except in a last piece that has only text which was held back. */
  readonly logProbability?: number;
  readonly topLogProbabilities?: readonly TokenLogProbability[];
}

export interface GenerationUsage {
  readonly promptTokens: number;
  /** Length of `tokenIds`. */
  readonly completionTokens: number;
  /** Their sum. */
  readonly totalTokens: number;
}

export interface GenerationResult {
  /** What decoding the prompt and the generated tokens together shows behind the prompt. */
  readonly text: string;
  /** Generated ids, without the one that ended the text. */
  readonly tokenIds: number[];
  /** With the option `logProbabilities`: one for each of `tokenIds`. */
  readonly logProbabilities?: readonly GeneratedLogProbability[];
  /** "stop": an end token or stop string; "length": maxNewTokens; "context": the model's context is full. */
  readonly finishReason: "stop" | "length" | "context";
  readonly promptTokens: number;
  readonly usage: GenerationUsage;
  /** The seed that was given or drawn: with it, the same call gives the same text. null with temperature 0: no seed is used. */
  readonly seed: number | null;
  /** The name and version of the engine's adapter that answered; null for the base, and for an adapter object that was given. */
  readonly adapter: { readonly name: string; readonly version: number } | null;
  /** Tokens of the prompt whose keys and values an earlier request had left, so that they were not computed again. */
  readonly cachedTokens: number;
  /** Milliseconds that the request waited for its first step, once its prompt was encoded. */
  readonly queuedMs: number;
  /** Milliseconds from the call to the first token; null if there is none. */
  readonly firstTokenMs: number | null;
  /** Generated tokens a second, the prompt's time included. */
  readonly tokensPerSecond: number;
}

/** The result of a generation, from what it was asked for and what came out. */
export function resultOf(
  { promptTokens, sampling }: { promptTokens: number; sampling: NativeSamplingOptions },
  made: Pick<GenerationResult, "text" | "tokenIds" | "logProbabilities" | "finishReason">,
  served: Pick<GenerationResult, "adapter" | "cachedTokens" | "queuedMs" | "firstTokenMs">,
  seconds: number,
): GenerationResult {
  const completionTokens = made.tokenIds.length;
  return {
    ...made,
    promptTokens,
    usage: { promptTokens, completionTokens, totalTokens: promptTokens + completionTokens },
    seed: sampling.temperature === 0 ? null : sampling.seed,
    ...served,
    tokensPerSecond: completionTokens / Math.max(seconds, 1e-9),
  };
}

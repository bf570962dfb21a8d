/** What a generation gives: pieces while it runs, and a result at its end. */
import type { NativeSamplingOptions } from "../native";

export interface GenerationPiece {
  /** Text that became certain with this token; may be empty in the middle of a character or a possible stop string. */
  readonly text: string;
  readonly tokenId: number;
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
  /** "stop": an end token or stop string; "length": maxNewTokens; "context": the model's context is full. */
  readonly finishReason: "stop" | "length" | "context";
  readonly promptTokens: number;
  readonly usage: GenerationUsage;
  /** The seed that was given or drawn: with it, the same call gives the same text. null with temperature 0: no seed is used. */
  readonly seed: number | null;
  /** The name and version of the engine's adapter that answered; null for the base, and for a RedAdapter that was given. */
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
  made: Pick<GenerationResult, "text" | "tokenIds" | "finishReason">,
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

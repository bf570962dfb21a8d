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
  /** Generated tokens a second, the prompt's time included. */
  readonly tokensPerSecond: number;
}

/** The result of a generation, from what it was asked for and what came out. */
export function resultOf(
  { promptTokens, sampling }: { promptTokens: number; sampling: NativeSamplingOptions },
  made: Pick<GenerationResult, "text" | "tokenIds" | "finishReason">,
  seconds: number,
): GenerationResult {
  const completionTokens = made.tokenIds.length;
  return {
    ...made,
    promptTokens,
    usage: { promptTokens, completionTokens, totalTokens: promptTokens + completionTokens },
    seed: sampling.temperature === 0 ? null : sampling.seed,
    tokensPerSecond: completionTokens / Math.max(seconds, 1e-9),
  };
}

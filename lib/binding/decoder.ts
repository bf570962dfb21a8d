/** The handle of a generation. */
import type { NativeJob } from "../job";
import type { NativeAdapter } from "./parameters";

export interface NativeSamplingOptions {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly seed: number;
}

interface NativeDecodeRequest {
  readonly sequence: number;
  readonly tokenIds: Int32Array;
  readonly adapter: NativeAdapter | null;
  readonly sampling: NativeSamplingOptions;
}

/** Sequences under generation, with their keys and values. One step at a time; sequences may come and go meanwhile. */
export interface NativeDecoder {
  addSequence(): number;
  /** ERR_BUSY while a step feeds the sequence. */
  removeSequence(sequence: number): void;
  length(sequence: number): number;
  /**
   * Feeds every sequence its tokens and samples its next one; `chunk` rows at most go through the model at once. ERR_BUSY
   * while another step of this decoder is under way.
   */
  step(requests: readonly NativeDecodeRequest[], chunk: number): NativeJob<Int32Array>;
  dispose(): void;
}

/** The handle of a generation. */
import type { NativeJob } from "../job";
import type { NativeAdapter } from "./parameters";

export interface NativeSamplingOptions {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  /** Of what was generated; a decoder, which cannot tell that from what it was fed, takes only 0. */
  readonly frequencyPenalty: number;
  readonly presencePenalty: number;
  /** Ids ascending, each once, and what is added to the logit of each. Copied. null: none. */
  readonly logitBias: { readonly ids: Int32Array; readonly biases: Float32Array } | null;
  readonly seed: number;
}

interface NativeDecodeRequest {
  readonly sequence: number;
  readonly tokenIds: Int32Array;
  readonly adapter: NativeAdapter | null;
  readonly sampling: NativeSamplingOptions;
}

/**
 * Sequences being generated, with their keys and values. One step runs at a time; sequences may be added and removed during
 * it.
 */
export interface NativeDecoder {
  addSequence(): number;
  /** ERR_BUSY while a step feeds the sequence. */
  removeSequence(sequence: number): void;
  length(sequence: number): number;
  /**
   * Feeds every sequence its tokens and samples its next one; at most `chunk` rows go through the model together. ERR_BUSY
   * while another step of this decoder is running.
   */
  step(requests: readonly NativeDecodeRequest[], chunk: number): NativeJob<Int32Array>;
  dispose(): void;
}

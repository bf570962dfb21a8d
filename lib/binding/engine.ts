/** The handles of an engine: continuous batching over versions of adapters. */
import type { NativeJob } from "../job";

export interface NativeSamplingOptions {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly frequencyPenalty: number;
  readonly presencePenalty: number;
  /** Ids ascending, each once, and what is added to the logit of each. Copied. null: none. */
  readonly logitBias: { readonly ids: Int32Array; readonly biases: Float32Array } | null;
  readonly seed: number;
}

/** Vectors of an adapter that no longer change (native/adapter/adapter_version.h). */
export interface NativeVersion {
  /** Unique in this process. */
  readonly id: number;
  readonly bytes: number;
  /** ERR_NOT_FINITE, which names the first number that is infinite or NaN. */
  requireFinite(): void;
  /** Lets go of it; requests under way keep it. */
  dispose(): void;
}

export interface NativeEngineOptions {
  /** Bytes of keys and values; rounded down to pages, at least one. */
  readonly cacheBytes: number;
  /** Sequences that take part in steps. */
  readonly maxSequences: number;
  /** Requests under way beyond those. */
  readonly maxQueue: number;
  /** How long a step with rows of prompts should take. */
  readonly stepMs: number;
  /** Share of the model's time for training while requests want it, above 0 and below 1. */
  readonly trainingShare: number;
  /** Whether requests of one domain and version share keys and values of equal beginnings. */
  readonly sharePrefixes: boolean;
  /** Bytes of copies of versions on a CUDA device. */
  readonly maxDeviceVersionBytes: number;
}

export interface NativeEngineRequest {
  /** At least one token, at most the context. Copied. */
  readonly tokenIds: Int32Array;
  /** null: the base. */
  readonly version: NativeVersion | null;
  readonly sampling: NativeSamplingOptions;
  /** At least 1; with `scoreFrom` also 0: nothing is generated. */
  readonly maxNewTokens: number;
  /** Tokens that end the answer without being part of it. Copied. */
  readonly stopIds: Int32Array;
  /** A number for the tenant, 0 to 2^32 - 1, and the weight of its share, above 0. */
  readonly tenant: number;
  readonly weight: number;
  /** Only requests of one domain share keys and values: 0 to 2^53 - 1. */
  readonly domain: number;
  /**
   * -1: no log-probabilities of generated tokens; else those of each and of so many of the likeliest, at most 20. Above 0 also
   * as many of the likeliest with each scored token.
   */
  readonly topLogProbs: number;
  /** -1: none; else log-probabilities of the prompt's tokens from this one on, 1 to one less than the tokens. */
  readonly scoreFrom: number;
  /** From now on; 0: none. */
  readonly deadlineMs: number;
}

/** Kinds of output rows; from `stopped` on the request has ended, and position is how many tokens were generated. */
export const outputKinds = {
  /** value: tokens of the prompt that were found in the cache; position: milliseconds since `submit`. */
  started: 0,
  /** value: the token; position: how many were generated before it. */
  token: 1,
  /**
   * After its token. value: how many of the likeliest tokens; position: index into the call's numbers of the token's
   * log-probability, and behind it for each of the likeliest its id and log-probability, in nats.
   */
  logProbs: 2,
  /**
   * Of the prompt's tokens from `scoreFrom` on, in their order, before any token. value: how many; position: index into the
   * call's numbers of their log-probabilities, in nats.
   */
  scores: 3,
  /**
   * After their scores, with `topLogProbs` above 0. value: how many of the likeliest tokens of each; position: index into the
   * call's numbers of their ids and log-probabilities, token by token.
   */
  scoreTops: 4,
  /** value: the stop id. */
  stopped: 5,
  /** maxNewTokens were generated. */
  length: 6,
  /** The context is full. */
  context: 7,
  /** value: index into the call's failures. */
  failed: 8,
} as const;

export interface NativeFailure {
  readonly code: string;
  readonly message: string;
}

/**
 * Called once for everything that came since the last call, with `rows` of (request, kind, value, position). `numbers`
 * has log-probabilities. It must not throw, and must not keep the model's or the engine's objects alive
 * while no request is under way, or they are never collected.
 */
export type NativeOutputs = (rows: Int32Array, numbers: Float32Array, failures: readonly NativeFailure[]) => void;

export interface NativeEngineStats {
  /** Sequences that have pages, and requests without. */
  readonly running: number;
  readonly waiting: number;
  readonly pages: number;
  readonly freePages: number;
  readonly cachedPages: number;
  readonly pageBytes: number;
  readonly steps: number;
  /** Rows of prompts, also of those that were computed again. */
  readonly computedTokens: number;
  readonly generatedTokens: number;
  /** Tokens of prompts that were found in the cache. */
  readonly foundTokens: number;
  /** Sequences that gave up their pages, to be computed again. */
  readonly putOut: number;
  /** Of the last step: its time and its distinct versions. */
  readonly stepMs: number;
  readonly versions: number;
  readonly deviceVersionBytes: number;
}

/**
 * The process stays alive while requests are under way, except those that pause until their readers take what they were
 * told. ERR_DISPOSED once the model or the engine was disposed of.
 */
export interface NativeEngine {
  /**
   * Never waits. A number for the request, from 0 on, or -1: too many are under way. ERR_CACHE_FULL if the request could
   * never fit, ERR_CONTEXT_LENGTH, ERR_ARGUMENT, ERR_SHAPE (a version of another model).
   */
  submit(request: NativeEngineRequest): number;
  /** The request ends with ERR_ABORTED, unless it has ended. */
  abort(request: number): void;
  /** The reader has taken so many more tokens; a request runs at most 256 tokens ahead, then it pauses. */
  taken(request: number, tokens: number): void;
  stats(): NativeEngineStats;
  /** Requests under way end with ERR_ABORTED, then the promise resolves; the model can have another engine. */
  close(): NativeJob<undefined>;
}

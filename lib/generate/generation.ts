import { requireModel } from "../brands";
import { invalid, RubricateError } from "../errors";
import { runJob } from "../job";
import { limits } from "../limits";
import { adapterHandle, checkedIds, type ModelAdapter } from "../model_arguments";
import type { NativeModel, NativeSamplingOptions } from "../native";
import { temperatures } from "../option_kinds";
import { booleanOf, checkOptions, type OptionNames, signalOf } from "../options";
import { prefixed } from "../tokenizer/sequence";
import type { ChatMessage, Tokenizer } from "../tokenizer/tokenizer";
import { encodePrompt } from "./prompt";
import type { Prompt } from "./prompt_protocol";
import type { Stoppable } from "./prompt_thread";
import { StopFilter, stopStrings } from "./stop_strings";

/** How to continue, and what: exactly one of `prompt`, `messages` and `tokenIds`. Defaults are those of greedy decoding. */
export interface GenerateOptions {
  /** Text; the tokenizer's beginning-of-sequence token is put before it, unless it begins with that. */
  readonly prompt?: string;
  /** A conversation, rendered by the model's chat template with the prompt for an answer. */
  readonly messages?: readonly ChatMessage[];
  readonly tokenIds?: ArrayLike<number>;
  /** A RedAdapter that was created or loaded for this model object. Default: the model alone. */
  readonly adapter?: ModelAdapter | null;
  /** Default 256. */
  readonly maxNewTokens?: number;
  /** 0 (the default): always the likeliest token. Else from 2^-126, the smallest normal float32, to 100. */
  readonly temperature?: number;
  /** Sample among the k likeliest tokens; 0 (the default): among all. */
  readonly topK?: number;
  /** Sample among the fewest tokens that together have this probability, in (0, 1]; default 1. */
  readonly topP?: number;
  /** Sample among tokens of at least this share of the likeliest one's probability; default 0. */
  readonly minP?: number;
  /** Above 1: tokens that occurred become less likely (Keskar et al. 2019); default 1. */
  readonly repetitionPenalty?: number;
  /** Ends the text before the first of these that it would contain. Up to 256, of 1,024 UTF-16 units each. */
  readonly stop?: string | readonly string[];
  /** Leaves special tokens, such as those of a chat template, out of the text. `tokenIds` has them. Default: true. */
  readonly skipSpecialTokens?: boolean;
  /** The same seed gives the same text; default 0. An integer from 0 to 2^53 - 1. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

export interface GenerationPiece {
  /** Text that became certain with this token; may be empty in the middle of a character or a possible stop string. */
  readonly text: string;
  readonly tokenId: number;
}

export interface GenerationResult {
  /** What decoding the prompt and the generated tokens together shows behind the prompt. */
  readonly text: string;
  /** Generated ids, without the one that ended the text. */
  readonly tokenIds: number[];
  /** "stop": an end token or stop string; "length": maxNewTokens; "context": the model's context is full. */
  readonly finishReason: "stop" | "length" | "context";
  readonly promptTokens: number;
  /** Generated tokens a second, the prompt's time included. */
  readonly tokensPerSecond: number;
}

/** What a generation needs of a LlamaModel. */
interface GenerationModel {
  readonly dir: string;
  readonly native: NativeModel;
  readonly tokenizer: Tokenizer | undefined;
  readonly contextLength: number;
  readonly vocabularySize: number;
  readonly eosTokenIds: readonly number[];
  requireTokenizer(): Tokenizer;
}

const optionNames: OptionNames<GenerateOptions> = {
  prompt: true,
  messages: true,
  tokenIds: true,
  adapter: true,
  maxNewTokens: true,
  temperature: true,
  topK: true,
  topP: true,
  minP: true,
  repetitionPenalty: true,
  stop: true,
  skipSpecialTokens: true,
  seed: true,
  signal: true,
};

/**
 * Tokens that a job feeds at most while a prompt is read in. It bounds the memory, and how long other generations on the
 * model wait; it changes no result.
 */
const PREFILL_CHUNK = 256;

function inRange(name: string, value: number | undefined, fallback: number, least: number, most: number): number {
  const chosen = value ?? fallback;
  if (typeof chosen !== "number" || !(chosen >= least && chosen <= most)) {
    throw invalid(name, `a number from ${least} to ${most}`, value);
  }
  return chosen;
}

function integerInRange(
  name: string,
  value: number | undefined,
  fallback: number,
  least: number,
  most: number,
): number {
  const chosen = value ?? fallback;
  if (!Number.isSafeInteger(chosen) || chosen < least || chosen > most) {
    throw invalid(name, `an integer from ${least} to ${most}`, value);
  }
  return chosen;
}

function temperatureOf({ temperature }: GenerateOptions): number {
  const { leastTemperature, mostTemperature } = limits;
  const chosen = temperature ?? 0;
  const isNumber = typeof chosen === "number";
  if (!isNumber || !(chosen === 0 || (chosen >= leastTemperature && chosen <= mostTemperature)))
    throw invalid("temperature", temperatures, temperature);
  return chosen;
}

function topPOf(options: GenerateOptions): number {
  const topP = options.topP ?? 1;
  if (typeof topP !== "number" || !(Math.fround(topP) > 0 && topP <= 1))
    throw invalid("topP", "a number above 0 and up to 1", topP);
  return topP;
}

function samplingOptions(options: GenerateOptions): NativeSamplingOptions {
  const { leastRepetitionPenalty, mostRepetitionPenalty } = limits;
  return {
    temperature: temperatureOf(options),
    topK: integerInRange("topK", options.topK, 0, 0, limits.topK),
    topP: topPOf(options),
    minP: inRange("minP", options.minP, 0, 0, 1),
    repetitionPenalty: inRange(
      "repetitionPenalty",
      options.repetitionPenalty,
      1,
      leastRepetitionPenalty,
      mostRepetitionPenalty,
    ),
    seed: integerInRange("seed", options.seed, 0, 0, limits.seed),
  };
}

async function promptIds(model: GenerationModel, options: GenerateOptions, work: Stoppable): Promise<Int32Array> {
  const given = [options.prompt, options.messages, options.tokenIds].filter((value) => value !== undefined);
  if (given.length !== 1) {
    throw new RubricateError(
      "ERR_ARGUMENT",
      `Expected exactly one of prompt, messages and tokenIds but received ${given.length}`,
    );
  }
  const prompt = { prompt: true };
  if (options.tokenIds !== undefined) return checkedIds(options.tokenIds, model, prompt);
  const tokenizer = model.requireTokenizer();
  const encode = (prompt: Prompt) =>
    encodePrompt(tokenizer, prompt, model.contextLength, signalOf(options.signal), work);
  if (options.messages !== undefined) {
    return checkedIds(await encode({ messages: options.messages }), model, prompt);
  }
  if (typeof options.prompt !== "string") throw invalid("prompt", "a string", options.prompt);
  const ids = prefixed(tokenizer, await encode({ text: options.prompt }));
  if (ids.length === 0) {
    throw new RubricateError(
      "ERR_ARGUMENT",
      "Expected a prompt of at least one token: this tokenizer adds none to an empty text",
    );
  }
  return checkedIds(ids, model, prompt);
}

/** Tokens of a prompt whose text may matter to what follows: all of a run of bytes. */
const promptEnd = 1 << 14;

/** The work of a generator under way, which `return()` ends. */
interface Work extends Stoppable {
  ended: boolean;
}

type Pieces = AsyncGenerator<GenerationPiece, GenerationResult, void>;

/** See LlamaModel.generate. A generator's own `return` waits for the work under way; this one's ends it. */
export function generate(model: GenerationModel, given: GenerateOptions): Pieces {
  const work: Work = { stop: () => {}, ended: false };
  const pieces = generated(model, given, work);
  const finish = pieces.return.bind(pieces);
  pieces.return = (value) => {
    work.ended = true;
    work.stop();
    return finish(value);
  };
  return pieces;
}

/** What a generator gives that `return()` ended: its caller asked for no result. */
function unlessEnded(work: Work, error: unknown): undefined {
  if (!work.ended) throw error;
}

function checkedCall(model: GenerationModel, given: GenerateOptions) {
  requireModel(model);
  const options = checkOptions(given, optionNames, "generate");
  adapterHandle(options.adapter, model);
  return {
    options,
    sampling: samplingOptions(options),
    maxNewTokens: integerInRange("maxNewTokens", options.maxNewTokens, 256, 1, limits.maxNewTokens),
    stops: new StopFilter(stopStrings(options.stop)),
    skipSpecialTokens: booleanOf("skipSpecialTokens", options.skipSpecialTokens, true),
    signal: signalOf(options.signal),
  };
}

async function* generated(model: GenerationModel, given: GenerateOptions, work: Work): Pieces {
  const { options, sampling, maxNewTokens, stops, skipSpecialTokens, signal } = checkedCall(model, given);
  const prompt = await promptIds(model, options, work).catch((error) => unlessEnded(work, error));
  if (!prompt || work.ended) return undefined as never;
  const text = model.tokenizer?.createDecoder({ skipSpecialTokens, after: prompt.subarray(-promptEnd) });
  const decoder = model.native.createDecoder();
  const started = performance.now();
  const tokenIds: number[] = [];
  let written = "";
  let finishReason: GenerationResult["finishReason"] = "length";
  try {
    const sequence = decoder.addSequence();
    const step = async (tokenIds: Int32Array) => {
      const request = { sequence, tokenIds, adapter: adapterHandle(options.adapter, model), sampling };
      return (await runJob(() => decoder.step([request], PREFILL_CHUNK), signal, work))[0]!;
    };
    let input: Int32Array = prompt;
    for (; input.length > PREFILL_CHUNK; input = input.subarray(PREFILL_CHUNK)) {
      await step(input.subarray(0, PREFILL_CHUNK)); // what it would continue with is of no use yet
    }
    while (tokenIds.length < maxNewTokens) {
      if (prompt.length + tokenIds.length >= model.contextLength) {
        finishReason = "context";
        break;
      }
      const next = await step(input);
      if (model.eosTokenIds.includes(next)) {
        finishReason = "stop";
        break;
      }
      tokenIds.push(next);
      input = Int32Array.of(next);
      const piece = text ? stops.push(text.push(next), false) : "";
      written += piece;
      yield { text: piece, tokenId: next };
      if (stops.stopped) {
        finishReason = "stop";
        break;
      }
    }
    const rest = text && !stops.stopped ? stops.push(text.end(), true) : "";
    if (rest !== "") {
      written += rest;
      yield { text: rest, tokenId: tokenIds[tokenIds.length - 1]! };
    }
  } catch (error) {
    return unlessEnded(work, error) as never;
  } finally {
    decoder.dispose();
  }
  const seconds = Math.max((performance.now() - started) / 1e3, 1e-9);
  return {
    text: written,
    tokenIds,
    finishReason,
    promptTokens: prompt.length,
    tokensPerSecond: tokenIds.length / seconds,
  };
}

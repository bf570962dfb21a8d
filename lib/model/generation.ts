import type { RedAdapter } from "../adapter/red_adapter";
import { invalid, RubricateError } from "../errors";
import { runJob } from "../job";
import type { NativeSamplingOptions } from "../native";
import { checkedIds, type LlamaModel } from "./model";
import { encodePrompt, type Prompt } from "./prompt";
import type { ChatMessage } from "./tokenizer";

/** How to continue, and what: exactly one of `prompt`, `messages` and `tokenIds`. Defaults are those of greedy decoding. */
export interface GenerateOptions {
  /** Text; the tokenizer's beginning-of-sequence token is put before it. */
  readonly prompt?: string;
  /** A conversation, rendered by the model's chat template with the prompt for an answer. */
  readonly messages?: readonly ChatMessage[];
  readonly tokenIds?: ArrayLike<number>;
  readonly adapter?: RedAdapter | null;
  /** Default 256. */
  readonly maxNewTokens?: number;
  /** 0 (the default): always the likeliest token. */
  readonly temperature?: number;
  /** Sample among the k likeliest tokens; 0 (the default): among all. */
  readonly topK?: number;
  /** Sample among the fewest tokens that together have this probability; default 1. */
  readonly topP?: number;
  /** Sample among tokens of at least this share of the likeliest one's probability; default 0. */
  readonly minP?: number;
  /** Above 1: tokens that occurred become less likely (Keskar et al. 2019); default 1. */
  readonly repetitionPenalty?: number;
  /** Ends the text before the first of these that it would contain. */
  readonly stop?: string | readonly string[];
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
  readonly text: string;
  /** Generated ids, without the one that ended the text. */
  readonly tokenIds: number[];
  /** "stop": an end token or stop string; "length": maxNewTokens; "context": the model's context is full. */
  readonly finishReason: "stop" | "length" | "context";
  readonly promptTokens: number;
  /** Generated tokens a second, the prompt's time included. */
  readonly tokensPerSecond: number;
}

/** Rows that go through the model at once while a prompt is read in; bounds the memory, changes no result. */
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

function samplingOptions(options: GenerateOptions): NativeSamplingOptions {
  return {
    temperature: inRange("temperature", options.temperature, 0, 0, 100),
    topK: integerInRange("topK", options.topK, 0, 0, 2 ** 31 - 1),
    topP: inRange("topP", options.topP, 1, 0, 1),
    minP: inRange("minP", options.minP, 0, 0, 1),
    repetitionPenalty: inRange("repetitionPenalty", options.repetitionPenalty, 1, 1e-3, 1e3),
    seed: integerInRange("seed", options.seed, 0, 0, Number.MAX_SAFE_INTEGER),
  };
}

async function promptIds(model: LlamaModel, options: GenerateOptions): Promise<Int32Array> {
  const given = [options.prompt, options.messages, options.tokenIds].filter((value) => value !== undefined);
  if (given.length !== 1) {
    throw new RubricateError(
      "ERR_ARGUMENT",
      `Expected exactly one of prompt, messages and tokenIds but received ${given.length}`,
    );
  }
  if (options.tokenIds !== undefined) return checkedIds(options.tokenIds, model.vocabularySize);
  const tokenizer = model.requireTokenizer();
  const encode = (prompt: Prompt) => encodePrompt(tokenizer, prompt, model.contextLength, options.signal);
  if (options.messages !== undefined) {
    return checkedIds(await encode({ messages: options.messages }), model.vocabularySize);
  }
  if (typeof options.prompt !== "string") throw invalid("prompt", "a string", options.prompt);
  const text = await encode({ text: options.prompt });
  const ids = [...tokenizer.prefixIds, ...text];
  if (ids.length === 0) {
    throw new RubricateError(
      "ERR_ARGUMENT",
      "Expected a prompt of at least one token: this tokenizer adds none to an empty text",
    );
  }
  return checkedIds(ids, model.vocabularySize);
}

/** Holds text back while it could still become a stop string. */
class StopFilter {
  private held = "";
  stopped = false;

  constructor(private readonly stops: readonly string[]) {}

  push(text: string, last: boolean): string {
    this.held += text;
    let cut = -1;
    for (const stop of this.stops) {
      const at = this.held.indexOf(stop);
      if (at >= 0 && (cut < 0 || at < cut)) cut = at;
    }
    if (cut >= 0) {
      this.stopped = true;
      return this.take(cut);
    }
    return this.take(last ? this.held.length : this.held.length - this.possibleStart());
  }

  private take(length: number): string {
    const text = this.held.slice(0, length);
    this.held = this.stopped ? "" : this.held.slice(length);
    return text;
  }

  /** Length of the longest end of the held text that begins some stop string. */
  private possibleStart(): number {
    let longest = 0;
    for (const stop of this.stops) {
      for (let length = Math.min(stop.length - 1, this.held.length); length > longest; length--) {
        if (this.held.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}

function stopStrings(stop: GenerateOptions["stop"]): readonly string[] {
  const list = stop === undefined ? [] : typeof stop === "string" ? [stop] : stop;
  if (!Array.isArray(list) || !list.every((text) => typeof text === "string" && text !== "")) {
    throw invalid("stop", "a string or a list of strings, none of them empty", stop);
  }
  return list;
}

/** See LlamaModel.generate. */
export async function* generate(
  model: LlamaModel,
  options: GenerateOptions,
): AsyncGenerator<GenerationPiece, GenerationResult, void> {
  const sampling = samplingOptions(options);
  const maxNewTokens = integerInRange("maxNewTokens", options.maxNewTokens, 256, 1, 2 ** 31 - 1);
  const stops = new StopFilter(stopStrings(options.stop));
  const prompt = await promptIds(model, options);
  if (prompt.length >= model.contextLength) {
    throw new RubricateError(
      "ERR_CONTEXT_LENGTH",
      `Expected a prompt of fewer than ${model.contextLength} tokens (the model's context) but received ${prompt.length}`,
    );
  }
  const text = model.tokenizer?.createDecoder();
  const decoder = model.native.createDecoder();
  const started = performance.now();
  const tokenIds: number[] = [];
  let written = "";
  let finishReason: GenerationResult["finishReason"] = "length";
  try {
    const sequence = decoder.addSequence();
    let input: Int32Array = prompt;
    while (tokenIds.length < maxNewTokens) {
      if (prompt.length + tokenIds.length >= model.contextLength) {
        finishReason = "context";
        break;
      }
      const request = { sequence, tokenIds: input, adapter: options.adapter?.native ?? null, sampling };
      const next = (await runJob(() => decoder.step([request], PREFILL_CHUNK), options.signal))[0]!;
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

import { invalid, RubricateError } from "../errors";
import { runJob } from "../job";
import { adapterHandle, checkedIds } from "../model_arguments";
import type { NativeModel } from "../native";
import { signalOf } from "../options";
import { prefixed } from "../tokenizer/sequence";
import type { Tokenizer } from "../tokenizer/tokenizer";
import { checkedCall, type GenerateOptions } from "./options";
import { encodePrompt } from "./prompt";
import type { Prompt } from "./prompt_protocol";
import type { Stoppable } from "./prompt_thread";
import { type GenerationPiece, type GenerationResult, resultOf } from "./result";

/** What a generation needs of a LlamaModel. */
export interface GenerationModel {
  readonly dir: string;
  readonly native: NativeModel;
  readonly tokenizer: Tokenizer | undefined;
  readonly contextLength: number;
  readonly vocabularySize: number;
  readonly eosTokenIds: readonly number[];
  requireTokenizer(): Tokenizer;
}

/**
 * Tokens that a job feeds at most while a prompt is read in. It bounds the memory, and how long other generations on the
 * model wait; it changes no result.
 */
const PREFILL_CHUNK = 256;

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

export type Pieces = AsyncGenerator<GenerationPiece, GenerationResult, void>;

/**
 * See LlamaModel.generate. A generator's own `return` waits for the work under way; this one's ends it.
 * @param what the method that was called, for messages
 */
export function generation(model: GenerationModel, given: GenerateOptions, what: string): Pieces {
  const work: Work = { stop: () => {}, ended: false };
  const pieces = generated(model, given, what, work);
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

async function* generated(model: GenerationModel, given: GenerateOptions, what: string, work: Work): Pieces {
  const { options, sampling, maxNewTokens, stops, skipSpecialTokens, signal } = checkedCall(model, given, what);
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
  const seconds = (performance.now() - started) / 1e3;
  return resultOf({ promptTokens: prompt.length, sampling }, { text: written, tokenIds, finishReason }, seconds);
}

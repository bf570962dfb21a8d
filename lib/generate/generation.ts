/** A generation: from a call's options to token ids, and from the tokens of the model's engine to text. */
import { invalid, RubricateError } from "../errors";
import { onAbort, throwIfAborted } from "../job";
import { checkedIds } from "../model_arguments";
import type { NativeModel } from "../native";
import { prefixed } from "../tokenizer/sequence";
import type { Tokenizer } from "../tokenizer/tokenizer";
import { Answer } from "./answer";
import type { ModelEngine } from "./model_engine";
import type { CheckedCall } from "./options";
import type { GeneratedToken, RequestStream } from "./outputs";
import { encodePrompt } from "./prompt";
import type { Prompt } from "./prompt_protocol";
import { type GenerationPiece, type GenerationResult, resultOf } from "./result";
import { type ChosenAdapter, type Served, Work } from "./served";

/** What a generation needs of a LlamaModel. */
export interface GenerationModel {
  readonly dir: string;
  readonly native: NativeModel;
  readonly engine: ModelEngine;
  readonly tokenizer: Tokenizer | undefined;
  readonly contextLength: number;
  readonly vocabularySize: number;
  readonly eosTokenIds: readonly number[];
  requireTokenizer(): Tokenizer;
}

async function promptIds(model: GenerationModel, { options, signal }: CheckedCall, work: Work): Promise<Int32Array> {
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
  const encode = (prompt: Prompt) => encodePrompt(tokenizer, prompt, model.contextLength, signal, work);
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

/** A request of the model's engine, with one reader. */
interface Request {
  readonly call: CheckedCall;
  readonly stream: RequestStream;
  readonly answer: Answer;
  readonly adapter: ChosenAdapter;
  readonly promptTokens: number;
  /** When the call began, as of `performance.now()`. */
  readonly calledAt: number;
  readonly release: (() => void) | undefined;
}

export type Pieces = AsyncGenerator<GenerationPiece, GenerationResult, void>;

/** Ends the requests of generators that were left half-way and collected. */
const collected = new FinalizationRegistry<Work>((work) => work.end());

/**
 * See LlamaModel.generate. A generator's own `return` waits for the work under way; this one's ends it.
 * @param begin checks the call; called when the generator is first iterated
 */
export function generation(model: GenerationModel, begin: (work: Work) => Served): Pieces {
  const work = new Work();
  const pieces = generated(model, begin, work);
  const finish = pieces.return.bind(pieces);
  pieces.return = (value) => {
    work.end();
    return finish(value);
  };
  collected.register(pieces, work);
  return pieces;
}

async function* generated(model: GenerationModel, begin: (work: Work) => Served, work: Work): Pieces {
  let request: Request | undefined;
  try {
    request = await started(model, begin, work);
    const { stream, answer } = request;
    for (;;) {
      const token = await nextToken(request, work);
      if (token === undefined) break;
      const piece = answer.push(token);
      if (answer.stopped) stream.abort(); // what ran ahead is dropped
      yield piece;
      if (answer.stopped) break;
      stream.taken();
    }
    const rest = answer.rest();
    if (rest) yield rest;
    return result(request);
  } catch (error) {
    if (!work.ended) throw error;
    return undefined as never; // who ended the generator asked for no result
  } finally {
    if (request) await leave(request);
  }
}

/** The next token; undefined once the text has ended. @throws RubricateError why there is none */
async function nextToken({ stream, call: { signal } }: Request, work: Work): Promise<GeneratedToken | undefined> {
  const check = () => {
    throwIfAborted(signal);
    work.check();
  };
  check();
  let token: GeneratedToken | undefined;
  try {
    token = await stream.next();
  } catch (error) {
    check(); // of what was stopped, the reason
    throw error;
  }
  check();
  return token;
}

/** Ends what is still under way. A request whose text has ended leaves the engine by itself. */
async function leave({ stream, answer, release }: Request): Promise<void> {
  release?.();
  if (stream.end) return;
  stream.abort();
  if (!answer.stopped) await stream.next().catch(() => {});
}

/** Encodes the prompt and gives it to the engine. */
async function started(model: GenerationModel, begin: (work: Work) => Served, work: Work): Promise<Request> {
  const calledAt = performance.now();
  const served = begin(work);
  const { call, deadlineMs } = served;
  let adapter: ChosenAdapter | undefined;
  let release: (() => void) | undefined;
  const timer = deadlineMs > 0 ? setTimeout(() => work.fail(overdue()), deadlineMs).unref() : undefined;
  try {
    throwIfAborted(call.signal);
    adapter = await served.choose(work);
    work.check();
    const prompt = await promptIds(model, call, work);
    const { skipSpecialTokens, stops } = call;
    const decoder = model.tokenizer?.createDecoder({ skipSpecialTokens, after: prompt.subarray(-promptEnd) });
    throwIfAborted(call.signal);
    work.check();
    const left = deadlineMs > 0 ? deadlineMs - (performance.now() - calledAt) : 0;
    if (left < 0) throw overdue();
    // The listener comes first: a signal that refuses it must not leave a request under way.
    release = call.signal && onAbort(call.signal, () => work.stop());
    const stream = await model.engine.submit({
      tokenIds: prompt,
      version: adapter.version,
      sampling: call.sampling,
      maxNewTokens: call.maxNewTokens,
      stopIds: Int32Array.from(model.eosTokenIds),
      tenant: served.tenant,
      weight: served.weight,
      topLogProbs: call.topLogProbs,
      deadlineMs: left,
    });
    stream.onEnd = () => served.over();
    work.stop = () => stream.abort();
    const answer = new Answer(decoder, stops);
    return { call, stream, answer, adapter, promptTokens: prompt.length, calledAt, release };
  } catch (error) {
    release?.();
    served.over();
    work.check(); // of what was stopped, the reason
    throw error;
  } finally {
    clearTimeout(timer);
    adapter?.release();
  }
}

const overdue = () => new RubricateError("ERR_DEADLINE", "The request's deadline passed before its first step");

function result({ call, stream, answer, adapter, promptTokens, calledAt }: Request): GenerationResult {
  const end = stream.end;
  const finishReason = answer.stopped || !end || "error" in end ? "stop" : end.reason;
  const { text, tokenIds, logProbabilities } = answer;
  const { queuedMs, firstTokenAt, cachedTokens } = stream;
  return resultOf(
    { promptTokens, sampling: call.sampling },
    { text, tokenIds, ...(call.topLogProbs >= 0 && { logProbabilities }), finishReason },
    {
      adapter: adapter.named ?? null,
      cachedTokens,
      queuedMs,
      firstTokenMs: firstTokenAt === undefined ? null : firstTokenAt - calledAt,
    },
    (performance.now() - calledAt) / 1e3,
  );
}

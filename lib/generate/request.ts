/** A request of a model's engine, from the choice of its adapter to its end: what generating and scoring share. */
import { RubricateError } from "../errors";
import { onAbort, throwIfAborted } from "../job";
import type { NativeModel } from "../native";
import type { Tokenizer } from "../tokenizer/tokenizer";
import type { EngineRequest, ModelEngine } from "./model_engine";
import type { GeneratedToken, RequestStream } from "./outputs";
import type { ChosenAdapter, Served, ServedCall, Work } from "./served";

/** What a request needs of a LanguageModel. */
export interface RequestModel {
  readonly dir: string;
  readonly native: NativeModel;
  readonly engine: ModelEngine;
  readonly tokenizer: Tokenizer | undefined;
  readonly contextLength: number;
  readonly vocabularySize: number;
  readonly eosTokenIds: readonly number[];
  requireTokenizer(): Tokenizer;
}

/** What is asked, but for who asks. */
export type Asked = Omit<EngineRequest, "version" | "tenant" | "weight" | "deadlineMs">;

/** A request under way, with one reader. */
export interface StartedRequest {
  readonly stream: RequestStream;
  readonly adapter: ChosenAdapter;
  readonly signal: AbortSignal | undefined;
  /** When the call began, as of `performance.now()`. */
  readonly calledAt: number;
  readonly release: (() => void) | undefined;
}

/**
 * @param begin checks the call
 * @param ask encodes the prompt
 */
export async function started<C extends ServedCall>(
  model: RequestModel,
  begin: (work: Work) => Served<C>,
  work: Work,
  ask: (call: C) => Promise<Asked>,
): Promise<StartedRequest> {
  const calledAt = performance.now();
  const served = begin(work);
  const { deadlineMs } = served;
  const { signal } = served.call;
  let adapter: ChosenAdapter | undefined;
  let release: (() => void) | undefined;
  const timer = deadlineMs > 0 ? setTimeout(() => work.fail(overdue()), deadlineMs).unref() : undefined;
  try {
    throwIfAborted(signal);
    adapter = await served.choose(work);
    work.check();
    const asked = await ask(served.call);
    throwIfAborted(signal);
    work.check();
    const left = deadlineMs > 0 ? deadlineMs - (performance.now() - calledAt) : 0;
    if (left < 0) throw overdue();
    // The listener comes first: a signal that refuses it must not leave a request under way.
    release = signal && onAbort(signal, () => work.stop());
    const { tenant, weight } = served;
    const stream = await model.engine.submit({ ...asked, version: adapter.version, tenant, weight, deadlineMs: left });
    stream.onEnd = () => served.over();
    work.stop = () => stream.abort();
    return { stream, adapter, signal, calledAt, release };
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

/** The next token; undefined once there are no more. @throws RubricateError why there is none */
export async function nextToken({ stream, signal }: StartedRequest, work: Work): Promise<GeneratedToken | undefined> {
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

/**
 * Ends what is still under way. A request whose text has ended leaves the engine by itself.
 * @param awaited whether to wait for the end
 */
export async function leave({ stream, release }: StartedRequest, awaited: boolean): Promise<void> {
  release?.();
  if (stream.end) return;
  stream.abort();
  if (awaited) await stream.next().catch(() => {});
}

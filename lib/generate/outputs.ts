/** Hands the outputs of an engine's steps to the requests that they are for. */
import { outputKinds } from "../binding/engine";
import { type ErrorCode, RubricateError } from "../errors";
import type { NativeEngine, NativeFailure } from "../native";
import type { GeneratedLogProbability, TokenLogProbability } from "./result";

/** A token, with its log-probability if the request asked for that. */
export type GeneratedToken = { readonly tokenId: number } | GeneratedLogProbability;

/** Why a request ended: what ended its text, or an error. */
export type End = { readonly reason: "stop" | "length" | "context" } | { readonly error: RubricateError };

/** Tokens that a reader takes before the core hears of it; the core lets a request run 256 tokens ahead. */
const CREDIT = 32;

/** What the rows of one call of the core refer to. */
interface Told {
  readonly numbers: Float32Array;
  readonly failures: readonly NativeFailure[];
}

/** Numbers of an output row: request, kind, value, position. */
const COLUMNS = 4;

/** The tokens of a request under way, for one reader. */
export class RequestStream {
  /** Tokens of the prompt that were found in the cache. */
  cachedTokens = 0;
  /** Milliseconds that it waited for its first step. */
  queuedMs = 0;
  /** When its first token came, as of `performance.now()`. */
  firstTokenAt: number | undefined;
  /** Log-probabilities of the prompt's tokens that are scored, as far as they are known. */
  readonly scores: number[] = [];
  /** The likeliest tokens in the place of each of `scores`, if they were asked for. */
  readonly scoreTops: (readonly TokenLogProbability[])[] = [];
  /** The request has ended, though its reader may have tokens left. */
  end: End | undefined;
  /** Called once, when the request has ended. */
  onEnd: () => void = () => {};
  private tokens: GeneratedToken[] = [];
  private read = 0;
  private owed = 0;
  private aborted = false;
  private wake: (() => void) | undefined;

  constructor(
    private readonly native: NativeEngine,
    private readonly id: number,
  ) {}

  /** The next token; undefined once there are no more. @throws RubricateError what ended the request */
  async next(): Promise<GeneratedToken | undefined> {
    while (this.read === this.tokens.length) {
      if (this.end) {
        if ("error" in this.end) throw this.end.error;
        return undefined;
      }
      this.drop();
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    return this.tokens[this.read++]!;
  }

  /** The reader asks for more than it was given: the core may run on. */
  taken(): void {
    if (++this.owed < CREDIT || this.end || this.aborted) return;
    this.tell(() => this.native.taken(this.id, this.owed));
    this.owed = 0;
  }

  /** Ends the request. Tokens that nobody has read are dropped; `next` waits for the end. */
  abort(): void {
    if (this.aborted) return;
    this.aborted = true;
    this.drop();
    if (!this.end) this.tell(() => this.native.abort(this.id));
  }

  /** An output of this request. Must not throw. */
  put(kind: number, value: number, position: number, { numbers, failures }: Told): void {
    if (kind === outputKinds.started) {
      this.cachedTokens = value;
      this.queuedMs = position;
    } else if (kind === outputKinds.token) {
      this.firstTokenAt ??= performance.now();
      if (!this.aborted) this.tokens.push({ tokenId: value });
    } else if (kind === outputKinds.logProbs) {
      // Its token came before it in the same call, so that nobody has read it yet.
      const token = this.tokens.pop();
      if (token) this.tokens.push(withLogProbability(token, numbers, value, position));
    } else if (kind === outputKinds.scores) {
      for (let at = position; at < position + value; at++) this.scores.push(numbers[at]!);
    } else if (kind === outputKinds.scoreTops) {
      for (let at = position; this.scoreTops.length < this.scores.length; at += 2 * value)
        this.scoreTops.push(topsAt(numbers, value, at));
    } else if (kind >= outputKinds.stopped) {
      this.end = endOf(kind, failures[value]);
      if ("error" in this.end && this.end.error.code === "ERR_DEADLINE") this.drop(); // it is too late for them
      this.onEnd();
    }
    if (!this.wake || (this.read === this.tokens.length && !this.end)) return;
    this.wake();
    this.wake = undefined;
  }

  private drop(): void {
    this.tokens.length = 0;
    this.read = 0;
  }

  /** The handle refuses every call once its engine or model is gone; the request's end says so. */
  private tell(call: () => void): void {
    try {
      call();
    } catch {
      // the end comes, or has come
    }
  }
}

/** @param at index of the token's log-probability, behind which are ids and log-probabilities of the likeliest */
function withLogProbability(
  { tokenId }: GeneratedToken,
  numbers: Float32Array,
  count: number,
  at: number,
): GeneratedLogProbability {
  return { tokenId, logProbability: numbers[at]!, topLogProbabilities: topsAt(numbers, count, at + 1) };
}

/** The likeliest tokens, whose ids and log-probabilities begin at `at`. */
function topsAt(numbers: Float32Array, count: number, at: number): TokenLogProbability[] {
  const tops: TokenLogProbability[] = [];
  for (let one = at; one < at + 2 * count; one += 2)
    tops.push({ tokenId: numbers[one]!, logProbability: numbers[one + 1]! });
  return tops;
}

function endOf(kind: number, failure: NativeFailure | undefined): End {
  if (kind === outputKinds.stopped) return { reason: "stop" };
  if (kind === outputKinds.length) return { reason: "length" };
  if (kind === outputKinds.context) return { reason: "context" };
  const { code, message } = failure ?? { code: "ERR_INTERNAL", message: `The engine gave an output of kind ${kind}` };
  return { error: new RubricateError(code as ErrorCode, message) };
}

/**
 * The requests of an engine. The core holds this object; it must not hold the model while no request is under way, or the
 * model is never collected.
 */
export class Outputs {
  private readonly streams = new Map<number, RequestStream>();
  private readonly waiting = new Set<() => void>();

  /** @param onIdle called when the last request has ended; must not hold the model */
  constructor(private readonly onIdle: () => void) {}

  get count(): number {
    return this.streams.size;
  }

  add(id: number, stream: RequestStream): void {
    this.streams.set(id, stream);
  }

  /** The core's callback: everything that came since the last one. */
  hand(rows: Int32Array, told: Told): void {
    const before = this.streams.size;
    for (let at = 0; at < rows.length; at += COLUMNS) {
      const id = rows[at]!;
      const kind = rows[at + 1]!;
      const stream = this.streams.get(id);
      if (kind >= outputKinds.stopped) this.streams.delete(id);
      stream?.put(kind, rows[at + 2]!, rows[at + 3]!, told);
    }
    if (before === 0 || this.streams.size > 0) return;
    for (const resolve of this.waiting) resolve();
    this.waiting.clear();
    this.onIdle();
  }

  /** Resolves when no request is under way. */
  async idle(): Promise<void> {
    while (this.streams.size > 0) await new Promise<void>((resolve) => this.waiting.add(resolve));
  }
}

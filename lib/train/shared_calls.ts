/**
 * Calls of the core that several runs of a model share. Each run asks as soon as its examples are there; those that are there
 * are put into one call, which gives each the bits of its call alone.
 */
import { RubricateError } from "../errors";
import { abortError, onAbort, throwIfAborted } from "../job";
import { FairSteps, type Share, type StepBounds } from "./fair_steps";

/**
 * How long a call waits for the runs of the call before, which use their results and take their examples; in milliseconds.
 * Who is later is passed over. It decides which calls are shared, and no result.
 */
const returnMs = 20;

/** Errors of a shared call that would be those of every part of it. */
const ofAll: readonly string[] = ["ERR_ABORTED", "ERR_DEVICE_LOST", "ERR_FILE"];

export type Outcome<Result> = { readonly result: Result } | { readonly error: unknown };

/** What a run asks for. */
export interface Asked<Request> {
  readonly request: Request;
  /** Requests of equal layouts can share a call. */
  readonly layout: string;
  /** Its tokens. */
  readonly rows: number;
}

/** A run's request that waits for its turn. */
interface Waiting<Request, Result> extends Share {
  readonly request: Request;
  settle(outcome: Outcome<Result>): void;
}

/** A run that shares calls. */
export class Caller<Request, Result> {
  /** "back": it was in the last call, or is known to come, and asks soon. */
  state: "away" | "back" | "waiting" | "in call" = "away";
  served = 0;

  constructor(
    private readonly calls: SharedCalls<Request, Result>,
    readonly weight: number,
  ) {}

  /**
   * Makes a run's request with those of others. When the signal fires, one that waits is given up, and one that is being made is
   * finished.
   * @throws RubricateError ERR_ABORTED, and the run's own error; then nothing of it has changed
   */
  ask(asked: Asked<Request>, signal: AbortSignal | undefined): Promise<Result> {
    return this.calls.ask(this, asked, signal);
  }

  /** The run does something else, which takes long: nobody waits for it. */
  away(): void {
    this.calls.away(this);
  }

  /** The run asks soon. */
  comes(): void {
    this.calls.comes(this);
  }

  /** The run has ended. */
  leave(): void {
    this.calls.leave(this);
  }
}

export class SharedCalls<Request, Result> {
  private readonly callers = new Set<Caller<Request, Result>>();
  /** In the order in which they came. */
  private readonly waiting = new Map<Caller<Request, Result>, Waiting<Request, Result>>();
  private readonly fair: FairSteps;
  private running = false;
  private timer: NodeJS.Timeout | undefined;

  /** @param call makes one call of all; what it throws concerns all of them, unless it is found to be one's */
  constructor(
    private readonly call: (requests: readonly Request[]) => Promise<Outcome<Result>[]>,
    bounds: StepBounds,
  ) {
    this.fair = new FairSteps(bounds);
  }

  /** Adds a run. @param weight its share of the rows, compared with those of others */
  join(weight: number): Caller<Request, Result> {
    const caller = new Caller(this, weight);
    this.callers.add(caller);
    return caller;
  }

  leave(caller: Caller<Request, Result>): void {
    this.callers.delete(caller);
    this.consider();
  }

  away(caller: Caller<Request, Result>): void {
    caller.state = "away";
    this.consider();
  }

  comes(caller: Caller<Request, Result>): void {
    this.fair.enter(caller);
    caller.state = "back";
  }

  async ask(caller: Caller<Request, Result>, asked: Asked<Request>, signal: AbortSignal | undefined): Promise<Result> {
    throwIfAborted(signal);
    let release: (() => void) | undefined;
    try {
      const outcome = await new Promise<Outcome<Result>>((settle) => {
        if (signal) release = onAbort(signal, () => this.giveUp(caller, abortError(signal)));
        if (caller.state === "away") this.fair.enter(caller);
        caller.state = "waiting";
        this.waiting.set(caller, waitingOf(caller, asked, settle));
        this.consider();
      });
      if ("error" in outcome) throw outcome.error;
      return outcome.result;
    } finally {
      release?.();
    }
  }

  private giveUp(caller: Caller<Request, Result>, error: RubricateError): void {
    const waiting = this.waiting.get(caller);
    if (!waiting) return;
    this.waiting.delete(caller);
    caller.state = "away";
    waiting.settle({ error });
    this.consider();
  }

  /** Begins a call if there is one to make, once those of the last one are back. */
  private consider(): void {
    if (this.running || this.waiting.size === 0) return;
    if ([...this.callers].some(({ state }) => state === "back"))
      this.timer ??= setTimeout(() => this.begin(), returnMs);
    else this.begin();
  }

  private begin(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.running || this.waiting.size === 0) return;
    for (const caller of this.callers) if (caller.state === "back") caller.state = "away"; // it is passed over
    const byShare = new Map([...this.waiting].map(([caller, waiting]) => [waiting, caller]));
    const chosen = this.fair.choose([...byShare.keys()]);
    const callers = chosen.map((waiting) => byShare.get(waiting)!);
    for (const caller of callers) {
      this.waiting.delete(caller);
      caller.state = "in call";
    }
    this.running = true;
    void this.outcomes(chosen.map(({ request }) => request)).then((outcomes) => {
      this.running = false;
      for (const [at, waiting] of chosen.entries()) {
        callers[at]!.state = "back";
        waiting.settle(outcomes[at]!);
      }
      this.consider();
    });
  }

  /** Makes requests in one call. If that fails in a way that can be one run's, as with memory for all, its halves are tried. */
  private async outcomes(requests: readonly Request[]): Promise<Outcome<Result>[]> {
    try {
      return await this.call(requests);
    } catch (error) {
      const code = error instanceof RubricateError ? error.code : "ERR_INTERNAL";
      if (requests.length === 1 || ofAll.includes(code)) return requests.map(() => ({ error }));
      const half = requests.length >> 1;
      return [...(await this.outcomes(requests.slice(0, half))), ...(await this.outcomes(requests.slice(half)))];
    }
  }
}

/** The caller's count of rows is the entry's. */
function waitingOf<Request, Result>(
  caller: Caller<Request, Result>,
  { request, layout, rows }: Asked<Request>,
  settle: (outcome: Outcome<Result>) => void,
): Waiting<Request, Result> {
  return {
    layout,
    weight: caller.weight,
    rows,
    get served() {
      return caller.served;
    },
    set served(served: number) {
      caller.served = served;
    },
    request,
    settle,
  };
}

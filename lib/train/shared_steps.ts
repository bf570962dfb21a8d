/**
 * Makes the optimizer steps of several runs of a model together. Each run asks for its step as soon as its examples are there;
 * those that are there are put into one call of the core, which gives each the bits of its step alone.
 */
import { RubricateError } from "../errors";
import { abortError, onAbort, runJob, throwIfAborted } from "../job";
import type { LanguageModel } from "../model/model";
import type { NativeTenantResult } from "../native";
import { FairSteps, type Share, type StepBounds } from "./fair_steps";
import { rowsOf, type StepMaker, type StepRequest } from "./step_maker";

/**
 * How long a step waits for the runs of the step before, which log their results and take their examples; in milliseconds.
 * Who is later is passed over. It decides which steps are shared, and no result.
 */
const returnMs = 20;

/** Errors of a shared call that would be those of every part of it. */
const ofAll: readonly string[] = ["ERR_ABORTED", "ERR_DEVICE_LOST", "ERR_FILE"];

type Outcome = { readonly result: NativeTenantResult } | { readonly error: unknown };

/** A run's step that waits for its turn. */
interface Waiting extends Share {
  readonly step: StepRequest;
  settle(outcome: Outcome): void;
}

/** A run that shares steps. */
class Member implements StepMaker {
  /** "back": it was in the last step and asks for the next one soon. */
  state: "away" | "back" | "waiting" | "in step" = "away";
  served = 0;
  /** Of its adapter, once it has asked for a step. */
  layout: string | undefined;

  constructor(
    private readonly steps: SharedSteps,
    readonly weight: number,
  ) {}

  make(step: StepRequest, signal: AbortSignal | undefined): Promise<NativeTenantResult> {
    return this.steps.make(this, step, signal);
  }

  away(): void {
    this.steps.away(this);
  }

  /** The run has ended. */
  leave(): void {
    this.steps.leave(this);
  }
}

export type { Member };

export class SharedSteps {
  private readonly members = new Set<Member>();
  /** In the order in which they came. */
  private readonly waiting = new Map<Member, Waiting>();
  private readonly fair: FairSteps;
  private running = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly model: LanguageModel,
    private readonly bounds: StepBounds,
  ) {
    this.fair = new FairSteps(bounds);
  }

  /** Adds a run. @param weight its share of the rows, compared with those of others */
  join(weight: number): Member {
    const member = new Member(this, weight);
    this.members.add(member);
    return member;
  }

  leave(member: Member): void {
    this.members.delete(member);
    this.consider();
  }

  away(member: Member): void {
    member.state = "away";
    this.consider();
  }

  /**
   * Makes a run's step with those of others. When the signal fires, a step that waits is given up, and one that is being made
   * is finished.
   * @throws RubricateError ERR_ABORTED, and the run's own error; then nothing of it has changed
   */
  async make(member: Member, step: StepRequest, signal: AbortSignal | undefined): Promise<NativeTenantResult> {
    throwIfAborted(signal);
    let release: (() => void) | undefined;
    try {
      const outcome = await new Promise<Outcome>((settle) => {
        if (signal) release = onAbort(signal, () => this.giveUp(member, abortError(signal)));
        if (member.state === "away") this.fair.enter(member);
        member.state = "waiting";
        this.waiting.set(member, waitingOf(member, step, settle));
        this.consider();
      });
      if ("error" in outcome) throw outcome.error;
      return outcome.result;
    } finally {
      release?.();
    }
  }

  private giveUp(member: Member, error: RubricateError): void {
    const waiting = this.waiting.get(member);
    if (!waiting) return;
    this.waiting.delete(member);
    member.state = "away";
    waiting.settle({ error });
    this.consider();
  }

  /** Begins a step if there is one to make, once those of the last one are back. */
  private consider(): void {
    if (this.running || this.waiting.size === 0) return;
    if ([...this.members].some(({ state }) => state === "back"))
      this.timer ??= setTimeout(() => this.begin(), returnMs);
    else this.begin();
  }

  private begin(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.running || this.waiting.size === 0) return;
    for (const member of this.members) if (member.state === "back") member.state = "away"; // it is passed over
    const byShare = new Map([...this.waiting].map(([member, waiting]) => [waiting, member]));
    const chosen = this.fair.choose([...byShare.keys()]);
    const members = chosen.map((waiting) => byShare.get(waiting)!);
    for (const member of members) {
      this.waiting.delete(member);
      member.state = "in step";
    }
    this.running = true;
    void this.outcomes(chosen.map(({ step }) => step)).then((outcomes) => {
      this.running = false;
      for (const [at, waiting] of chosen.entries()) {
        members[at]!.state = "back";
        waiting.settle(outcomes[at]!);
      }
      this.consider();
    });
  }

  /** Makes steps in one call. If that fails in a way that can be one run's, as with memory for all, its halves are tried. */
  private async outcomes(steps: readonly StepRequest[]): Promise<Outcome[]> {
    try {
      const found = await runJob(() => this.model.native.trainStep(sharedRequest(steps, this.bounds.maxRows)));
      return found.map(({ error, ...result }) => (error ? { error } : { result }));
    } catch (error) {
      const code = error instanceof RubricateError ? error.code : "ERR_INTERNAL";
      if (steps.length === 1 || ofAll.includes(code)) return steps.map(() => ({ error }));
      const half = steps.length >> 1;
      return [...(await this.outcomes(steps.slice(0, half))), ...(await this.outcomes(steps.slice(half)))];
    }
  }
}

/** The member's count of rows is the entry's. */
function waitingOf(member: Member, step: StepRequest, settle: (outcome: Outcome) => void): Waiting {
  member.layout ??= step.trainee.names.join();
  return {
    layout: member.layout,
    weight: member.weight,
    rows: rowsOf(step.microBatches),
    get served() {
      return member.served;
    },
    set served(rows: number) {
      member.served = rows;
    },
    step,
    settle,
  };
}

/** One call of the core. It splits the sequences into micro-batches of at most `maxRows` itself. */
function sharedRequest(steps: readonly StepRequest[], maxRows: number) {
  const microBatches = steps.flatMap((step, at) =>
    step.microBatches.map((batch) => ({
      ...batch,
      slots: new Int32Array(batch.sequenceStarts.length - 1).fill(at + 1),
    })),
  );
  const longest = Math.max(...steps.map(({ microBatches: own }) => longestSequence(own)));
  const largest = Math.min(rowsOf(microBatches), Math.max(maxRows, longest));
  return {
    tenants: steps.map(({ trainee, optimizer, options }) => ({ parameters: trainee.parameters, optimizer, options })),
    microBatches,
    maxRows,
    recompute: steps.some(({ recomputes }) => recomputes(largest)),
    update: true,
  };
}

function longestSequence(microBatches: StepRequest["microBatches"]): number {
  let longest = 0;
  for (const { sequenceStarts } of microBatches)
    for (let at = 1; at < sequenceStarts.length; at++)
      longest = Math.max(longest, sequenceStarts[at]! - sequenceStarts[at - 1]!);
  return longest;
}

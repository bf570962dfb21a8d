/** Optimizer steps and evaluations of several runs of a model, in shared calls of the core. */
import { runJob } from "../job";
import type { LanguageModel } from "../model/model";
import type { NativeMicroBatch, NativeTenantResult } from "../native";
import type { EvaluationPart, EvaluationSums } from "./evaluate";
import type { StepBounds } from "./fair_steps";
import { type Caller, type Outcome, SharedCalls } from "./shared_calls";
import { rowsOf, type StepMaker, type StepRequest } from "./step_maker";

/** A run that shares calls. */
export class Member implements StepMaker {
  /** Of its adapter, once it has asked for a step. */
  private layout: string | undefined;

  constructor(
    private readonly steps: Caller<StepRequest, NativeTenantResult>,
    private readonly evaluations: Caller<EvaluationPart, EvaluationSums>,
  ) {}

  make(request: StepRequest, signal: AbortSignal | undefined): Promise<NativeTenantResult> {
    this.layout ??= request.trainee.names.join();
    return this.steps.ask({ request, layout: this.layout, rows: rowsOf(request.microBatches) }, signal);
  }

  evaluate(request: EvaluationPart, signal: AbortSignal | undefined): Promise<EvaluationSums> {
    const layout = request.adapter!.names.join();
    return this.evaluations.ask({ request, layout, rows: rowsOf(request.microBatches) }, signal);
  }

  evaluates(now: boolean): void {
    if (now) this.evaluations.comes();
    else this.evaluations.away();
  }

  away(): void {
    this.steps.away();
  }

  /** The run has ended. */
  leave(): void {
    this.steps.leave();
    this.evaluations.leave();
  }
}

export class SharedSteps {
  private readonly steps: SharedCalls<StepRequest, NativeTenantResult>;
  private readonly evaluations: SharedCalls<EvaluationPart, EvaluationSums>;

  constructor(
    private readonly model: LanguageModel,
    private readonly bounds: StepBounds,
  ) {
    this.steps = new SharedCalls((requests) => this.make(requests), bounds);
    this.evaluations = new SharedCalls((parts) => this.evaluate(parts), bounds);
  }

  /** Adds a run. @param weight its share of the rows, compared with those of others */
  join(weight: number): Member {
    return new Member(this.steps.join(weight), this.evaluations.join(weight));
  }

  private async make(steps: readonly StepRequest[]): Promise<Outcome<NativeTenantResult>[]> {
    const found = await runJob(() => this.model.native.trainStep(sharedRequest(steps, this.bounds.maxRows)));
    return found.map(({ error, ...result }) => (error ? { error } : { result }));
  }

  private async evaluate(parts: readonly EvaluationPart[]): Promise<Outcome<EvaluationSums>[]> {
    const microBatches = inSlots(parts);
    const adapters = parts.map(({ adapter }) => adapter);
    const { nats, supervisedTokens, correctTokens } = await runJob(() =>
      this.model.native.evaluate(microBatches, adapters, this.bounds.maxRows),
    );
    return parts.map((_, at) => ({
      result: {
        nats: nats[at + 1]!,
        supervisedTokens: supervisedTokens[at + 1]!,
        correctTokens: correctTokens[at + 1]!,
      },
    }));
  }
}

/** The micro-batches of all, each with the slot of the run that it is of: the first run has slot 1. */
function inSlots(runs: readonly { readonly microBatches: readonly NativeMicroBatch[] }[]): NativeMicroBatch[] {
  return runs.flatMap((run, at) =>
    run.microBatches.map((batch) => ({
      ...batch,
      slots: new Int32Array(batch.sequenceStarts.length - 1).fill(at + 1),
    })),
  );
}

/** One call of the core. It splits the sequences into micro-batches of at most `maxRows` itself. */
function sharedRequest(steps: readonly StepRequest[], maxRows: number) {
  const microBatches = inSlots(steps);
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

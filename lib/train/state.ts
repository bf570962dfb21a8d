import { formatJson } from "../errors";
import type { RunIdentity } from "./identity";

/** Where a run stands after an optimizer step. */
export interface TrainerState {
  /** Optimizer steps made. */
  readonly step: number;
  readonly epoch: number;
  /** Micro-batches of the epoch that are done. */
  readonly microBatch: number;
  /** The step that was evaluated last, 0 for none. */
  readonly evaluatedStep: number;
  /** Loss of that evaluation. */
  readonly evalLoss: number | null;
  readonly best: { readonly step: number; readonly loss: number } | null;
  /** Evaluations since the last that gained enough. */
  readonly evaluationsWithoutGain: number;
  /** Over all steps. */
  readonly nats: number;
  readonly supervisedTokens: number;
  readonly tokens: number;
}

/** Where every run begins. */
export function newState(): { -readonly [K in keyof TrainerState]: TrainerState[K] } {
  return {
    step: 0,
    epoch: 0,
    microBatch: 0,
    evaluatedStep: 0,
    evalLoss: null,
    best: null,
    evaluationsWithoutGain: 0,
    nats: 0,
    supervisedTokens: 0,
    tokens: 0,
  };
}

/**
 * What is wrong with a state that was read, alone or with the identity of its run; undefined if nothing is. A state
 * has no digest of its own, and a run resumed from a wrong one would give another result silently.
 */
export function stateFault(state: TrainerState, identity: RunIdentity): string | undefined {
  const integer = (name: keyof TrainerState, least: number, most = Number.MAX_SAFE_INTEGER) => {
    const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
    const value = state[name] as number;
    return Number.isSafeInteger(value) && value >= least && value <= most
      ? undefined
      : fault(name, `an integer ${range}`, value);
  };
  const { step, nats } = state;
  return (
    integer("step", 1) ??
    integer("epoch", 0, step) ??
    integer("microBatch", 0) ??
    integer("supervisedTokens", step) ??
    integer("tokens", state.supervisedTokens) ??
    (isLoss(nats) ? undefined : fault("nats", "a number of at least 0", nats)) ??
    integer("evaluatedStep", 0, identity.eval === null ? 0 : step) ??
    integer("evaluationsWithoutGain", 0, state.evaluatedStep) ??
    evaluationFault(state)
  );
}

/** Every evaluation has a loss, and the first is the best until another is better. */
function evaluationFault({ evaluatedStep, evalLoss, best }: TrainerState): string | undefined {
  if (evaluatedStep === 0) {
    if (evalLoss !== null) return fault("evalLoss", "null before any evaluation", evalLoss);
    return best === null ? undefined : fault("best", "null before any evaluation", best);
  }
  if (!isLoss(evalLoss)) return fault("evalLoss", "a number of at least 0", evalLoss);
  const fits =
    best !== null &&
    typeof best === "object" &&
    Number.isSafeInteger(best.step) &&
    best.step >= 1 &&
    best.step <= evaluatedStep &&
    isLoss(best.loss) &&
    best.loss <= evalLoss;
  return fits ? undefined : fault("best", `a step from 1 to ${evaluatedStep} with a loss of at most ${evalLoss}`, best);
}

/** @returns the sentence for a value that cannot be */
export function fault(name: keyof TrainerState, what: string, value: unknown): string {
  return `expected ${what} for state.${name} but found ${formatJson(value)}`;
}

function isLoss(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

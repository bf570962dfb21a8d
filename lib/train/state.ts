import { formatJson } from "../errors";
import type { RunIdentity } from "./identity";

/** State of a run after an optimizer step. */
export interface TrainerState {
  /** Optimizer steps made. */
  readonly step: number;
  readonly epoch: number;
  /** Finished micro-batches of the epoch. */
  readonly microBatch: number;
  /** The step of the last evaluation; 0: none. */
  readonly evaluatedStep: number;
  /** Loss of that evaluation. */
  readonly evalLoss: number | null;
  readonly best: { readonly step: number; readonly loss: number } | null;
  /** Evaluations since the last sufficient improvement. */
  readonly evaluationsWithoutGain: number;
  /** Over all steps. */
  readonly nats: number;
  readonly supervisedTokens: number;
  readonly tokens: number;
}

/** The initial state of a run. */
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
 * Checks a state that was read, by itself and against the identity of its run; returns the fault, or undefined. A state has
 * no digest, and a run resumed from a wrong one would silently give a different result.
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

/** Checks the fields of evaluation: every evaluation has a loss, and the best is the lowest so far. */
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

/** @returns the message for an invalid value */
export function fault(name: keyof TrainerState, what: string, value: unknown): string {
  return `expected ${what} for state.${name} but found ${formatJson(value)}`;
}

function isLoss(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

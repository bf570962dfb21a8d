/** How a request is served: what lib/serve adds to the calls of a model. */
import { RubricateError } from "../errors";
import { runJob } from "../job";
import { adapterHandle, type ModelAdapter } from "../model_arguments";
import type { NativeModel, NativeVersion } from "../native";
import type { CheckedCall } from "./options";

/** The work of one generation; its generator, its engine or its deadline may end it before its time. */
export class Work {
  /** Stops what is being done; set by that. */
  stop: () => void = () => {};
  /** The generator's `return` was called: nobody wants a result. */
  ended = false;
  private failure: RubricateError | undefined;

  end(): void {
    this.ended = true;
    this.stop();
  }

  fail(error: RubricateError): void {
    this.failure ??= error;
    this.stop();
  }

  /** @throws RubricateError why the work was stopped */
  check(): void {
    if (this.failure) throw this.failure;
    if (this.ended) throw new RubricateError("ERR_ABORTED", "The generator was ended by return()");
  }
}

/** The adapter of a request in one state. */
export interface ChosenAdapter {
  /** null: the base. */
  readonly version: NativeVersion | null;
  /** undefined: the base, or an adapter that has no name. */
  readonly named?: { readonly name: string; readonly version: number };
  /** To be called once the request was submitted, or will not be: requests under way keep their version. */
  release(): void;
}

/** What a call of any kind has. */
export interface ServedCall {
  readonly signal: AbortSignal | undefined;
}

export interface Served<C extends ServedCall = CheckedCall> {
  readonly call: C;
  readonly tenant: number;
  readonly weight: number;
  /** 0: none. */
  readonly deadlineMs: number;
  /** Chooses the adapter's version. Called once, before anything else. */
  choose(work: Work): Promise<ChosenAdapter>;
  /** The request has ended, or was never submitted. Called once. */
  over(): void;
}

/** The present state of an adapter object. */
export async function presentVersion(
  model: { readonly dir: string; readonly native: NativeModel },
  adapter: ModelAdapter | null | undefined,
  { signal }: ServedCall,
  work: Work,
): Promise<ChosenAdapter> {
  const handle = adapterHandle(adapter, model);
  if (!handle) return { version: null, release: () => {} };
  const version = await runJob(() => model.native.publish(handle), signal, work);
  return { version, release: () => version.dispose() };
}

/** The declaration of a training option. */
import type { Kind } from "../option_kinds";
import type { Trained } from "./learning_rates";

/** Facts about a run that defaults may depend on. */
export interface RunFacts extends Trained {
  readonly contextLength: number;
  /** Whether `eval` is given. */
  readonly evaluates: boolean;
  /** Whether `outputDir` is given. */
  readonly writes: boolean;
}

/** A flag of `rubricate train` that sets an option. */
export interface OptionFlag {
  readonly help: string;
  /** If the option is an object: the field that the flag sets. */
  readonly field?: string;
  /** The value that the flag sets if it is given without one. */
  readonly alone?: unknown;
  /** Default shown by --help, if it differs from the option's. */
  readonly default?: string;
  readonly placeholder?: string;
}

/**
 * Whether the option is part of the run's identity: a run resumes only from a checkpoint with the same value. `unless`
 * names an option that replaces this one: if that is given, this one has no effect.
 */
export type Identity = boolean | { readonly unless: "maxSteps" | "packing" };

/** The default; a function if it depends on the run. */
type Default<T> = T | ((run: RunFacts) => T);

interface Declaration<D, F extends string> {
  /** undefined if there is none. */
  readonly default: D;
  /** Required, because without it a run resumed with another value would silently give a different result. */
  readonly identity: Identity;
  /** Flags by name in camel case. */
  readonly flags: Readonly<Record<F, OptionFlag>>;
}

/** An option with values of type T, the default D if there is none (undefined, else never) and flags F. */
export interface Option<T, D extends undefined = never, F extends string = string>
  extends Declaration<Default<T> | D, F> {
  readonly kind: Kind<T>;
}

/** Declares an option. */
export function option<T, const D extends Default<T> | undefined, F extends string>(
  kind: Kind<T>,
  declaration: Declaration<D, F>,
): Option<T, Extract<D, undefined>, F> {
  return { ...declaration, kind } as Option<T, Extract<D, undefined>, F>;
}

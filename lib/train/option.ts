/** What the declaration of a training option holds. */
import type { Kind } from "../option_kinds";

/** What defaults may depend on. */
export interface RunFacts {
  readonly contextLength: number;
  /** Whether `eval` is given. */
  readonly evaluates: boolean;
  /** Whether `outputDir` is given. */
  readonly writes: boolean;
}

/** A flag of `rubricate train` that sets an option. */
export interface OptionFlag {
  readonly help: string;
  /** Of an option that is an object: the field that the flag's value becomes. */
  readonly field?: string;
  /** What the flag sets where it has no value. */
  readonly alone?: unknown;
  /** For --help, where the option's default is not what it should show. */
  readonly default?: string;
  readonly placeholder?: string;
}

/**
 * Whether the option is part of the run's identity: a run resumes only from a checkpoint with the same value. `unless` names an
 * option that replaces this one: where that is given, this one has no effect.
 */
export type Identity = boolean | { readonly unless: "maxSteps" | "packing" };

/** The default; a function where it depends on the run. */
type Default<T> = T | ((run: RunFacts) => T);

interface Declaration<D, F extends string> {
  /** undefined where there is none. */
  readonly default: D;
  /** Required: were it forgotten, a run resumed with another value would silently differ. */
  readonly identity: Identity;
  /** By their names in camel case. */
  readonly flags: Readonly<Record<F, OptionFlag>>;
}

/** An option with values of type T, the missing default D (undefined, or never where there is a default) and flags F. */
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

/** What a flag of the command line is. */
import { type Kind, noValue } from "../option_kinds";

/** How a flag is written and read. */
export interface Flag<T> {
  readonly kind: Kind<T>;
  readonly help: string;
  /** Shown in --help; the default itself is where the value is used. */
  readonly default?: string;
  /** The value of the flag where none is written. Another one can then be given with `=` only. */
  readonly alone?: unknown;
  /** Each time that the flag is given adds a value. */
  readonly multiple?: boolean;
  readonly short?: string;
}

export function flag<T>(kind: Kind<T>, help: string, fallback?: string): Flag<T> {
  return { kind, help, default: fallback };
}

/** A flag without a value. */
export function toggle(help: string, short?: string): Flag<boolean> {
  return { kind: noValue, help, alone: true, short };
}

/** A kind of which a flag takes some values only. */
export function narrowed<T>(kind: Kind<T>, expects: string, holds: (value: T) => boolean): Kind<T> {
  const fault = (value: unknown) => (kind.fault(value) === undefined && holds(value as T) ? undefined : expects);
  return { ...kind, expects, fault };
}

/** A kind whose texts are read and checked at once. */
export function parsed<T>(placeholder: string, expects: string, read: (text: string) => T | undefined): Kind<T> {
  return { placeholder, expects, read, fault: () => undefined };
}

/** Types of command-line flags. */
import { type Kind, noValue } from "../option_kinds";

/** A flag: its kind of value and its help. */
export interface Flag<T> {
  readonly kind: Kind<T>;
  readonly help: string;
  /** Default shown in --help; the code that uses the value defines it. */
  readonly default?: string;
  /** The value if the flag is given without one. A value can then only be given with `=`. */
  readonly alone?: unknown;
  /** The flag may be repeated; each occurrence adds a value. */
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

/** A kind with a function that parses and checks a text in one step. */
export function parsed<T>(placeholder: string, expects: string, read: (text: string) => T | undefined): Kind<T> {
  return { placeholder, expects, read, fault: () => undefined };
}

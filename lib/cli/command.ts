import type { FlagName, Values } from "./flags";
import type { Interrupts } from "./interrupts";
import type { Terminal } from "./terminal";

/** What a command runs with. */
export interface Invocation {
  readonly values: Values;
  /** Arguments that are no flags. */
  readonly positionals: readonly string[];
  readonly terminal: Terminal;
  readonly interrupts: Interrupts;
  /** All arguments as they were given, the command's name first. */
  readonly argv: readonly string[];
}

/** A command of the command line. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** More for its own --help; may be empty. */
  readonly details: string;
  /** Placeholders of arguments that are no flags, all of them optional. */
  readonly positionals?: readonly string[];
  /** Besides --help and --json, which all have. */
  readonly flags: readonly FlagName[];
  /** Flags without which it cannot run. */
  readonly required?: readonly FlagName[];
  /** Defaults of this command where they differ from the flag's, for --help. */
  readonly defaults?: Partial<Record<FlagName, string>>;
  /** @returns the exit status; nothing: 0 */
  // biome-ignore lint/suspicious/noConfusingVoidType: commands that cannot end otherwise return nothing
  run(invocation: Invocation): Promise<number | void>;
}

/** The command line cannot be used: exit status 2. */
export class UsageError extends Error {}

/** Exit statuses. */
export const status = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

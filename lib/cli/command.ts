import type { FlagName, Values } from "./flags";
import type { Interrupts } from "./interrupts";
import type { Terminal } from "./terminal";

/** The inputs of a command. */
export interface Invocation {
  readonly values: Values;
  /** Positional arguments. */
  readonly positionals: readonly string[];
  readonly terminal: Terminal;
  readonly interrupts: Interrupts;
  /** All arguments as given, starting with the command's name. */
  readonly argv: readonly string[];
}

/** A command of the command line. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** More text for its --help; may be empty. */
  readonly details: string;
  /** Placeholders of positional arguments; all are optional. */
  readonly positionals?: readonly string[];
  /** In addition to --help and --json, which all commands have. */
  readonly flags: readonly FlagName[];
  /** The flags by headings of --help, where there are many. */
  readonly groups?: Readonly<Record<string, readonly FlagName[]>>;
  /** Required flags. */
  readonly required?: readonly FlagName[];
  /** Defaults of this command that differ from the flag's, for --help. */
  readonly defaults?: Partial<Record<FlagName, string>>;
  /** Placeholders and texts of this command that differ from the flag's, for --help. */
  readonly meanings?: Partial<Record<FlagName, { readonly placeholder?: string; readonly help: string }>>;
  /** @returns the exit status; nothing: 0 */
  // biome-ignore lint/suspicious/noConfusingVoidType: commands with a single exit status return nothing
  run(invocation: Invocation): Promise<number | void>;
}

/** The command line is invalid: exit status 2. */
export class UsageError extends Error {}

/** Exit statuses. */
export const status = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

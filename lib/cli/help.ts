import { kebab } from "./arguments";
import type { Command } from "./command";
import type { Flag } from "./flag";
import { type FlagName, flags } from "./flags";
import { lines as linesOf } from "./text";

/** The version of the package. */
export function version(): string {
  return (require("../../package.json") as { version: string }).version;
}

/** Wraps a text to a width; all lines except the first are indented by `indent` spaces. */
function wrap(text: string, width: number, indent: number): string {
  return linesOf(text, width - indent).join(`\n${" ".repeat(indent)}`);
}

/** A flag with a placeholder for its value. */
export function usageOf(name: FlagName, command?: Command): string {
  const flag: Flag<unknown> = flags[name];
  const written = `${flag.short ? `-${flag.short}, ` : ""}--${kebab(name)}`;
  const placeholder = command?.meanings?.[name]?.placeholder ?? flag.kind.placeholder;
  if (placeholder === undefined) return written;
  return flag.alone === undefined ? `${written} ${placeholder}` : `${written}[=${placeholder}]`;
}

/** @param width of the terminal, in columns */
export function commandHelp(command: Command, width: number): string {
  const positionals = (command.positionals ?? []).map((name) => ` [${name}]`).join("");
  const required = (command.required ?? []).map((name) => ` ${usageOf(name, command)}`).join("");
  const lines = [
    `Usage: rubricate ${command.name}${positionals}${required} [flags]`,
    "",
    wrap(command.summary, width, 0),
  ];
  if (command.details !== "") lines.push("", ...command.details.split("\n").map((line) => wrap(line, width, 0)));
  const column = 34;
  const describe = (name: FlagName) => {
    const flag: Flag<unknown> = flags[name];
    const fallback = command.defaults?.[name] ?? flag.default;
    const help = wrap(
      (command.meanings?.[name]?.help ?? flag.help) + (fallback === undefined ? "" : ` (default: ${fallback})`),
      width,
      column,
    );
    const usage = `  ${usageOf(name, command)}`;
    lines.push(usage.length < column ? usage.padEnd(column) + help : `${usage}\n${" ".repeat(column)}${help}`);
  };
  const groups = command.groups ?? { Flags: command.flags };
  for (const [heading, names] of Object.entries(groups)) {
    lines.push("", `${heading}:`);
    for (const name of names) describe(name);
  }
  if (command.groups) lines.push("", "General:");
  for (const name of ["json", "help"] as const) describe(name);
  lines.push(
    "",
    wrap(
      "Exit status: 0 done, 1 failed, 2 invalid command line, 130 interrupted (143 by SIGTERM, 129 by SIGHUP).",
      width,
      0,
    ),
  );
  return lines.join("\n");
}

export function generalHelp(commands: readonly Command[], width: number): string {
  const lines = [
    "Usage: rubricate COMMAND [flags]",
    "",
    "Fine-tunes LLaMA models with RED edits and runs them.",
    "",
    "Commands:",
  ];
  for (const { name, summary } of commands) lines.push(`  ${name.padEnd(12)}${wrap(summary, width, 14)}`);
  lines.push("", wrap("rubricate COMMAND --help prints more; rubricate --version prints the version.", width, 0));
  return lines.join("\n");
}

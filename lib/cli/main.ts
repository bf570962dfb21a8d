#!/usr/bin/env node
import { oneLine, RubricateError } from "../errors";
import { suggestion } from "../options";
import { readArguments, withFlags } from "./arguments";
import { benchCommand } from "./bench";
import { chatCommand } from "./chat";
import { type Command, status, UsageError } from "./command";
import { compareCommand } from "./compare";
import { configArguments } from "./config_file";
import { curveCommand } from "./curve";
import { demoCommand } from "./demo";
import { doctorCommand } from "./doctor";
import { evalCommand } from "./eval";
import { exportCommand } from "./export";
import { generateCommand } from "./generate";
import { commandHelp, generalHelp, version } from "./help";
import { importCommand } from "./import";
import { inspectCommand } from "./inspect";
import { Interrupts, statusOf, stopSignals } from "./interrupts";
import { mergeCommand } from "./merge";
import { type Streams, Terminal } from "./terminal";
import { trainCommand } from "./train";

export const commands: readonly Command[] = [
  demoCommand,
  trainCommand,
  evalCommand,
  compareCommand,
  mergeCommand,
  generateCommand,
  chatCommand,
  inspectCommand,
  importCommand,
  exportCommand,
  curveCommand,
  benchCommand,
  doctorCommand,
];

const helpWidth = (streams: Streams) => Math.min(120, Math.max(60, streams.stdout.columns ?? 100));

/**
 * Runs a command line.
 * @param argv without node and script
 * @returns the exit status: 0 done, 1 failed, 2 invalid command line, 130 interrupted (`main` ends with the status of
 * the signal)
 */
export async function run(argv: readonly string[], streams: Streams, interrupts = new Interrupts()): Promise<number> {
  const [name, ...rest] = argv;
  const width = helpWidth(streams);
  if (name === "--version" || name === "version") {
    streams.stdout.write(`${version()}\n`);
    return status.done;
  }
  if (name === undefined) {
    streams.stderr.write(`${generalHelp(commands, width)}\n`);
    return status.usage;
  }
  const asksHelp = name === "help" || name === "--help" || name === "-h";
  const wanted = name === "help" ? rest[0] : name;
  const command = commands.find((one) => one.name === wanted);
  if (asksHelp && (name !== "help" || wanted === undefined)) {
    streams.stdout.write(`${generalHelp(commands, width)}\n`);
    return status.done;
  }
  if (asksHelp && command) {
    streams.stdout.write(`${commandHelp(command, width)}\n`);
    return status.done;
  }
  const terminal = new Terminal(streams, argv.includes("--json"));
  try {
    if (!command) throw unknownCommand(wanted!);
    const { values, positionals } = argumentsOf(command, rest);
    if (values.help) {
      streams.stdout.write(`${commandHelp(command, width)}\n`);
      return status.done;
    }
    return (await command.run({ values, positionals, terminal, interrupts, argv })) ?? status.done;
  } catch (error) {
    return reportFailure(error, command, terminal, interrupts);
  }
}

/** The arguments of a command, before which those of its configuration file stand: a flag replaces a key. */
function argumentsOf(command: Command, argv: readonly string[]) {
  if (!command.flags.includes("config")) return readArguments(command, argv);
  const { config, help } = readArguments({ ...command, required: [] }, argv).values;
  if (config === undefined || help) return readArguments(command, argv);
  return readArguments(command, [...configArguments(config, command), ...argv]);
}

function unknownCommand(name: string): UsageError {
  const names = commands.map((one) => one.name);
  return new UsageError(
    `Expected one of ${names.join(", ")} but received ${JSON.stringify(name)}${suggestion(name, names)}`,
  );
}

/** Prints an error in one sentence. @returns the exit status */
function reportFailure(
  error: unknown,
  command: Command | undefined,
  terminal: Terminal,
  interrupts: Interrupts,
): number {
  const who = command ? `rubricate ${command.name}` : "rubricate";
  if (error instanceof UsageError) {
    terminal.event({ type: "error", code: "ERR_ARGUMENT", message: error.message });
    terminal.note(`${who}: ${error.message}`);
    terminal.note(`See ${who} --help`);
    return status.usage;
  }
  const code = error instanceof RubricateError ? error.code : "ERR_INTERNAL";
  if (interrupts.signal.aborted && (code === "ERR_ABORTED" || !(error instanceof RubricateError))) {
    terminal.progress.clear();
    return status.interrupted;
  }
  const said = error instanceof Error ? error.message : String(error);
  const message = command && error instanceof RubricateError ? withFlags(said, command) : said;
  terminal.event({ type: "error", code, message });
  terminal.note(`${who}: ${message} [${code}]`);
  if (code !== "ERR_ARGUMENT") return status.failed;
  terminal.note(`See ${who} --help`);
  return status.usage;
}

/** Runs the process's own command line. */
function main(): void {
  const interrupts = new Interrupts();
  let lostOutput: Error | undefined;
  let stoppedBy: number | undefined;
  const { stdin, stdout, stderr, env } = process;
  stdout.on("error", (error: NodeJS.ErrnoException) => {
    lostOutput ??= error;
    interrupts.stopQuietly();
  });
  stderr.on("error", () => {}); // the error cannot be reported anywhere
  const end = (code: number) => {
    // After a signal, which may be that of a closed terminal, stdout may be lost too.
    if (stoppedBy !== undefined && (code === status.interrupted || lostOutput)) process.exit(stoppedBy);
    const cause = lostOutput as NodeJS.ErrnoException | undefined;
    if (cause && cause.code !== "EPIPE")
      stderr.write(`rubricate: Cannot write to stdout: ${cause.message} [ERR_FILE]\n`);
    process.exit(cause ? (cause.code === "EPIPE" ? status.done : status.failed) : code);
  };
  for (const name of stopSignals)
    process.on(name, () => {
      stoppedBy ??= statusOf(name);
      if (interrupts.interrupt(name)) process.exit(statusOf(name));
    });
  process.on("uncaughtException", (error: NodeJS.ErrnoException) => {
    if (error.syscall === "write") {
      lostOutput ??= error;
      return end(status.failed);
    }
    stderr.write(`rubricate: ${oneLine(String(error?.message ?? error))} [ERR_INTERNAL]\n`);
    process.exit(status.failed);
  });
  run(process.argv.slice(2), { stdin, stdout, stderr, env }, interrupts).then((code) =>
    stdout.write("", () => end(code)),
  );
}

if (require.main === module) main();

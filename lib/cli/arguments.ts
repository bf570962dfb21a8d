import { parseArgs } from "node:util";
import { suggestion } from "../options";
import { sameNames } from "../other_names";
import { type Command, UsageError } from "./command";
import type { Flag } from "./flag";
import { type FlagName, flags, type Values } from "./flags";
import { flagNameOf } from "./training_flags";

/** The parsed command line. */
interface Arguments {
  readonly values: Values;
  readonly positionals: readonly string[];
}

/** `maxSteps` is written --max-steps. */
export function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Names of options in camel case, as the library's messages have them, outside of paths and quotation marks. */
const optionName = /(?<![\w/.\-"'])[a-z]+(?:[A-Z]\w*|\.[a-z]+[A-Z]\w*)(?![\w/\-"'])/g;
/** The place of the name in the message of an invalid argument, see `invalid`. */
const argumentName = / for ([\w.]+)(?:\[\d+\])? but received /;

/** A message of the library with the command's flags in place of options. */
export function withFlags(message: string, command: Command): string {
  const flagOf = (name: string) => {
    const [option, field] = name.split(".") as [string, string?];
    const known: readonly string[] = command.flags;
    const flag = field === undefined && known.includes(option) ? option : flagNameOf(option, field);
    return flag !== undefined && known.includes(flag) ? `--${kebab(flag)}` : undefined;
  };
  return message
    .replace(argumentName, (whole, name: string) => {
      const flag = flagOf(name);
      return flag === undefined ? whole : ` for ${flag} but received `;
    })
    .replace(/\b([a-z]+): true\b/g, (whole, name: string) => flagOf(name) ?? whole)
    .replace(optionName, (name) => flagOf(name) ?? name);
}

/** `--learning_rate`, as transformers writes it. Only a known flag is changed. */
function withHyphens(argument: string, known: ReadonlyMap<string, unknown>): string {
  const [, name, rest] = /^--(\w+_[\w-]*)((?:=.*)?)$/s.exec(argument) ?? [];
  const written = name?.replaceAll("_", "-");
  return written !== undefined && known.has(written) ? `--${written}${rest}` : argument;
}

const quote = (value: string | undefined) =>
  value === undefined ? "nothing" : JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}...` : value);

/**
 * Reads the arguments of a command.
 * @throws UsageError naming the flag, what was expected and what was received
 */
export function readArguments(command: Command, argv: readonly string[]): Arguments {
  const known = new Map<string, FlagName>();
  for (const name of ["help", "json", ...command.flags] as FlagName[]) known.set(kebab(name), name);
  const own = [...known.keys()];
  for (const [written, name] of sameNames(command.flags)) if (!known.has(written)) known.set(written, name);
  const options = Object.fromEntries(
    [...known].map(([written, name]) => {
      const flag: Flag<unknown> = flags[name];
      const type = flag.kind.placeholder === undefined || flag.alone !== undefined ? "boolean" : "string";
      return [written, { type, ...(flag.short && { short: flag.short }) } as const];
    }),
  );
  const fail = (message: string) => new UsageError(message);
  const values: Record<string, unknown> = {};
  const positionals: string[] = [];
  for (const token of parseArgs({
    args: argv.map((one) => withHyphens(one, known)),
    options,
    strict: false,
    tokens: true,
  }).tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const name = known.get(token.name);
    if (name === undefined) {
      const written = own.map((one) => `--${one}`);
      throw fail(
        `Expected a flag of rubricate ${command.name} but received ${quote(token.rawName)}${suggestion(token.rawName, written)}`,
      );
    }
    // A flag in place of a value, unless it is a dash alone or a negative number.
    const isFlag = !token.inlineValue && /^-(?!$|[\d.])/.test(token.value ?? "");
    const value = readValue(flags[name], `--${token.name}`, isFlag ? undefined : token.value, fail);
    if ((flags[name] as Flag<unknown>).multiple) values[name] = [...((values[name] as unknown[]) ?? []), value];
    else values[name] = value;
  }
  if (values.help) return { values: { help: true }, positionals };
  const most = command.positionals?.length ?? 0;
  if (positionals.length > most)
    throw fail(
      `Expected ${most === 0 ? "no arguments" : `${most} argument${most === 1 ? "" : "s"} at most`} for rubricate ` +
        `${command.name} but received ${quote(positionals[most])}`,
    );
  for (const name of command.required ?? [])
    if (values[name] === undefined) {
      const { placeholder = flags[name].kind.placeholder, help = flags[name].help } = command.meanings?.[name] ?? {};
      throw fail(`Expected --${kebab(name)} ${placeholder}: ${help}`);
    }
  return { values, positionals };
}

/** The value that a text has for a flag. @param fail makes the error that is thrown */
export function readValue(
  flag: Flag<unknown>,
  written: string,
  value: string | undefined,
  fail: (message: string) => UsageError,
): unknown {
  if (value === undefined && flag.alone !== undefined) return flag.alone;
  if (value === "-" && /FILE|DIR/.test(flag.kind.placeholder ?? ""))
    throw fail(
      `Expected a path for ${written} but received "-": stdin and stdout are not supported there (the path of a file with that name is ./-)`,
    );
  const read = value === undefined ? undefined : flag.kind.read(value);
  const fault = read === undefined ? flag.kind.expects : flag.kind.fault(read);
  if (fault !== undefined) throw fail(`Expected ${fault} for ${written} but received ${quote(value)}`);
  return read;
}

/** A run's options from a JSON or YAML file: each key becomes the flag that means it, so that the same checks apply. */
import { formatJson } from "../errors";
import { isObject, parseJson } from "../files/json";
import { readTextSync } from "../files/read";
import { parseYaml } from "../files/yaml";
import { limits } from "../limits";
import { suggestion } from "../options";
import { optionEntries } from "../train/option_table";
import { kebab } from "./arguments";
import { type Command, UsageError } from "./command";
import type { Flag } from "./flag";
import { type FlagName, flags } from "./flags";

/**
 * Flags for the keys of a file: names of flags in camel case, or of options of `Trainer` with their values.
 * @throws UsageError naming the file and the key; RubricateError ERR_FILE, ERR_JSON
 */
export function configArguments(path: string, command: Command): string[] {
  const text = readTextSync(path, limits.documentBytes);
  const document = /\.ya?ml$/i.test(path) ? parseYaml(text, path) : parseJson(text, path);
  if (!isObject(document)) throw new UsageError(`Expected an object in ${path} but it has ${formatJson(document)}`);
  return Object.entries(document).flatMap(([key, value]) => argumentsOf(key, value, path, command));
}

function argumentsOf(key: string, value: unknown, path: string, command: Command): string[] {
  const names = command.flags.filter((name) => name !== "config");
  const options = optionEntries.filter(([, { flags: own }]) =>
    Object.keys(own).some((flag) => (names as readonly string[]).includes(flag)),
  );
  const option = options.find(([name]) => name === key);
  if (option) return optionArguments(option[0], value, path);
  if ((names as readonly string[]).includes(key)) return [argumentOf(key as FlagName, value, key, path)].flat();
  const known = [...new Set([...names, ...options.map(([name]) => name)])];
  const meant = suggestion(key, known) || `; the keys are ${known.join(", ")}`;
  throw new UsageError(`Unknown key ${formatJson(key)} in ${path}${meant}`);
}

/** An option may have a flag for each of its fields, or one that turns it off. */
function optionArguments(name: string, value: unknown, path: string): string[] {
  const [, { kind, flags: own }] = optionEntries.find(([one]) => one === name)!;
  const isOther = kind.fields !== undefined && typeof value === "object" && !isObject(value); // null, or an array
  const expected = isOther ? kind.expects : kind.fault(value);
  if (expected !== undefined) throw wrong(name, expected, value, path);
  const written = Object.entries(own) as [FlagName, { field?: string; alone?: unknown }][];
  const fields = isObject(value) ? value : undefined;
  for (const field of Object.keys(fields ?? {}))
    if (!written.some(([, flag]) => flag.field === field))
      throw new UsageError(
        `Unknown key ${formatJson(`${name}.${field}`)} in ${path}; the keys are ${Object.keys(kind.fields ?? {}).join(", ")}`,
      );
  return written.flatMap(([flag, { field, alone }]) => {
    if (fields) return fields[field!] === undefined ? [] : argumentOf(flag, fields[field!], `${name}.${field}`, path);
    if (typeof value !== "boolean") return field === undefined ? argumentOf(flag, value, name, path) : [];
    return alone === value ? [`--${kebab(flag)}`] : []; // the other value is what holds without the flag
  });
}

function argumentOf(name: FlagName, value: unknown, key: string, path: string): string | string[] {
  const { kind, alone }: Flag<unknown> = flags[name];
  const flag = `--${kebab(name)}`;
  if (typeof value === "boolean" && alone !== undefined) return value === alone ? flag : [];
  if (kind.placeholder === undefined) throw wrong(key, "true or false", value, path);
  const isList = Array.isArray(value) && value.every((one) => ["string", "number"].includes(typeof one));
  const text = isList ? value.join(",") : String(value);
  const meaning = kind.read(text);
  const fits = isList ? Array.isArray(meaning) : typeof value === "number" || typeof value === "string";
  const isShare = name === "eval" && typeof value === "number"; // a share of the data in place of a file
  const sameType = isShare || typeof meaning === "object" || typeof meaning === typeof value || isList;
  if (!fits || meaning === undefined || !sameType) throw wrong(key, kind.expects, value, path);
  return `${flag}=${text}`;
}

function wrong(key: string, expected: string, value: unknown, path: string): UsageError {
  return new UsageError(`Expected ${expected} for ${key} in ${path} but received ${formatJson(value)}`);
}

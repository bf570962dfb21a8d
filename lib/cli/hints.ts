/** Command lines to try next. They run in a POSIX shell as they are printed, from the same folder. */
import { isAbsolute, join, relative } from "node:path";
import { packageRoot } from "../package_root";
import { shellQuoted } from "./text";

/** The words that start the command line. In a clone of this package npx does not find it, and would look for it elsewhere. */
function starter(): string[] {
  const { root } = packageRoot();
  const folder = process.cwd();
  const below = relative(root, folder);
  const isInside = !(below.split(/[\\/]/)[0] === ".." || isAbsolute(below));
  return isInside ? ["node", relative(folder, join(root, "dist", "cli", "main.js"))] : ["npx", "rubricate"];
}

/** A command line of this package. */
export function commandLine(words: readonly string[]): string {
  return [...starter(), ...words].map(shellQuoted).join(" ");
}

/** A path as an argument. One that begins with "-" would be read as a flag. */
export function pathWord(path: string): string {
  return path.startsWith("-") ? `./${path}` : path;
}

/** What was trained: a model, or an adapter and its base. */
export interface Trained {
  readonly model: string;
  readonly adapter?: string;
}

export function flagsOf({ model, adapter }: Trained): string[] {
  return ["--model", pathWord(model), ...(adapter === undefined ? [] : ["--adapter", pathWord(adapter)])];
}

/** The command line that tries what was trained on data of this shape. */
export function tryLine(trained: Trained, isChat: boolean): string {
  if (isChat) return commandLine(["chat", ...flagsOf(trained)]);
  return `${commandLine(["generate", ...flagsOf(trained)])} --prompt "..."`;
}

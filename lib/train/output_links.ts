/**
 * Refuses symbolic links at the paths that a run writes in its outputDir. Through a link the run would change files
 * elsewhere: replace the model that `best` links to, or copy the target of `log.jsonl`. The outputDir itself is chosen by
 * the caller and may be a link.
 */
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { RubricateError } from "../errors";
import { entriesOf } from "../files/operations";
import { checkpointName } from "./checkpoint";
import { logFile } from "./loggers";
import { eventFilePrefix } from "./tensorboard";

/** Folder of the outputDir with the result of the lowest evaluation loss. */
export const bestFolder = "best";
/** File of the outputDir that names its run, see run_file.ts. */
export const runFile = "run.json";

function isOfRun(name: string): boolean {
  return (
    name === bestFolder ||
    name === logFile ||
    name === runFile ||
    checkpointName.test(name) ||
    name.startsWith(eventFilePrefix)
  );
}

/** @throws RubricateError ERR_FILE if a path that a run would write to or read is a symbolic link */
export async function requireNoLink(path: string): Promise<void> {
  const status = await lstat(path).catch(() => undefined); // an error here is reported by the write
  if (status?.isSymbolicLink())
    throw new RubricateError(
      "ERR_FILE",
      `Expected no symbolic link at ${path}: the run would read or write its target; remove the link, or replace it ` +
        "with its target",
    );
}

/**
 * Checks an outputDir before anything is written or read there.
 * @throws RubricateError ERR_FILE naming the link
 */
export async function requireNoLinks(outputDir: string): Promise<void> {
  // If it is not a folder, the run's lock reports it.
  for (const name of await entriesOf(outputDir).catch(() => []))
    if (isOfRun(name)) await requireNoLink(join(outputDir, name));
}

/**
 * What a run writes into its outputDir lies there. A symbolic link in that place would lead the run to somebody else's
 * files: it would replace a model beside which `best` points, or copy what `log.jsonl` points to. The outputDir itself is
 * the caller's to name, and may be a link.
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

function isOfRun(name: string): boolean {
  return name === bestFolder || name === logFile || checkpointName.test(name) || name.startsWith(eventFilePrefix);
}

/** @throws RubricateError ERR_FILE where a symbolic link is at a path that a run would write to or read */
export async function requireNoLink(path: string): Promise<void> {
  const status = await lstat(path).catch(() => undefined); // what cannot be looked at, writing reports
  if (status?.isSymbolicLink())
    throw new RubricateError(
      "ERR_FILE",
      `Expected no symbolic link at ${path}: the run would read or write what it leads to; remove the link, or replace it ` +
        "with what it leads to",
    );
}

/**
 * Looks through an outputDir, before anything is written or read there.
 * @throws RubricateError ERR_FILE naming the link
 */
export async function requireNoLinks(outputDir: string): Promise<void> {
  // What is no folder, the run's lock reports.
  for (const name of await entriesOf(outputDir).catch(() => []))
    if (isOfRun(name)) await requireNoLink(join(outputDir, name));
}

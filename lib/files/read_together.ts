/** Reads files that `writeInto` writes, also while another process writes them, or after an interruption. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { RubricateError } from "../errors";
import { pause, withFileErrors } from "./atomic";
import { attempts, commitFolder, finishCommit, pendingCommit, stagedName } from "./commit";

/**
 * Finishes an interrupted write into a folder, if there is one, before many of its files are read.
 * @throws RubricateError ERR_FILE
 */
export async function finishInto(folder: string): Promise<void> {
  await withFileErrors(folder, () => finishCommit(folder));
}

/**
 * The path at which to read the newest version of a file that `writeInto` wrote.
 * @throws RubricateError ERR_FILE if what looks like an interrupted write is not one
 */
export async function readableFile(folder: string, name: string): Promise<string> {
  const pending = await pendingCommit(folder);
  // A file that is to be removed counts as missing.
  const isThere = !pending || !(pending.waiting.includes(name) || pending.stale.some((file) => file.name === name));
  return isThere ? join(folder, name) : join(commitFolder(folder), stagedName(name));
}

/**
 * Reads several files of a folder as one write left them; reads again if they were replaced meanwhile.
 * @param discard releases a result that cannot be used
 * @throws RubricateError ERR_FILE if they are replaced again and again
 */
export async function readTogether<T>(
  folder: string,
  names: readonly string[],
  read: () => Promise<T>,
  discard: (result: T) => void,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const before = await versionsOf(folder, names);
    let result: T | undefined;
    let failure: unknown;
    try {
      result = await read();
    } catch (error) {
      failure = error;
    }
    const after = await versionsOf(folder, names);
    if (!failure && before.files === after.files) return result as T;
    // A file that was moved between the lookup and the opening was not found.
    if (failure && before.files === after.files && before.paths === after.paths) throw failure;
    if (!failure) discard(result as T);
    if (attempt === attempts)
      throw new RubricateError("ERR_FILE", `Cannot read ${folder}: other processes keep writing there`);
    await pause();
  }
}

/** Identifies files and their paths. A file moved to its final path at the end of a write stays the same file. */
async function versionsOf(folder: string, names: readonly string[]): Promise<{ files: string; paths: string }> {
  const files: string[] = [];
  const paths: string[] = [];
  for (const name of names) {
    const path = await readableFile(folder, name);
    const status = await stat(path, { bigint: true }).catch(() => undefined);
    files.push(status ? `${status.dev} ${status.ino} ${status.size} ${status.mtimeNs}` : "none");
    paths.push(path);
  }
  return { files: files.join(), paths: paths.join() };
}

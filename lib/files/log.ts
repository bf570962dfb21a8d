import { constants } from "node:fs";
import { type FileHandle, lstat, open } from "node:fs/promises";
import { RubricateError } from "../errors";

/** Not through a link, which may lead to a file that is not meant; opening a pipe would wait for its reader. */
const flags =
  constants.O_WRONLY |
  constants.O_CREAT |
  constants.O_APPEND |
  (constants.O_NOFOLLOW ?? 0) |
  (constants.O_NONBLOCK ?? 0) |
  (constants.O_NOCTTY ?? 0);

/**
 * Opens a file to append to. The caller closes it.
 * @param keep whether what is in it stays
 * @throws RubricateError ERR_FILE where a link, a pipe, a device or a folder is in its place
 */
export async function openLog(path: string, keep: boolean): Promise<FileHandle> {
  const inTheWay = (what: string) =>
    new RubricateError("ERR_FILE", `Expected a regular file or nothing to write to at ${path} but it is ${what}`);
  let file: FileHandle;
  try {
    file = await open(path, flags, 0o666);
  } catch (cause) {
    const status = await lstat(path).catch(() => undefined);
    if (status?.isSymbolicLink()) throw inTheWay("a symbolic link");
    if (status && !status.isFile()) throw inTheWay(status.isDirectory() ? "a folder" : "a pipe, a socket or a device");
    throw new RubricateError("ERR_FILE", `Cannot write ${path}: ${(cause as Error).message}`, { cause });
  }
  try {
    if (!(await file.stat()).isFile()) throw inTheWay("a pipe, a socket or a device");
    if (!keep) await file.truncate(0);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

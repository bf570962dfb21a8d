import { constants } from "node:fs";
import { type FileHandle, lstat, open } from "node:fs/promises";
import { RubricateError } from "../errors";

/** Does not follow links, which may lead to an unrelated file, or wait for a pipe's reader. */
const flags =
  constants.O_WRONLY |
  constants.O_CREAT |
  constants.O_APPEND |
  (constants.O_NOFOLLOW ?? 0) |
  (constants.O_NONBLOCK ?? 0) |
  (constants.O_NOCTTY ?? 0);

/**
 * Opens a file to append to. The caller closes it.
 * @param keep whether existing contents stay
 * @throws RubricateError ERR_FILE if the path is a link, a pipe, a device or a folder
 */
export async function openLog(path: string, keep: boolean): Promise<FileHandle> {
  const notRegular = (what: string) =>
    new RubricateError("ERR_FILE", `Expected a regular file or nothing to write to at ${path} but it is ${what}`);
  let file: FileHandle;
  try {
    file = await open(path, flags, 0o666);
  } catch (cause) {
    const status = await lstat(path).catch(() => undefined);
    if (status?.isSymbolicLink()) throw notRegular("a symbolic link");
    if (status && !status.isFile())
      throw notRegular(status.isDirectory() ? "a folder" : "a pipe, a socket or a device");
    throw new RubricateError("ERR_FILE", `Cannot write ${path}: ${(cause as Error).message}`, { cause });
  }
  try {
    if (!(await file.stat()).isFile()) throw notRegular("a pipe, a socket or a device");
    if (!keep) await file.truncate(0);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

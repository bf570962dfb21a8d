import { constants } from "node:fs";
import { mkdir, open, readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { RubricateError, systemCode } from "../errors";

/** A file being written. */
export interface WritableFile {
  /** Writes some or all of `bytes` at the end of the file. @returns how many were written */
  write(bytes: Uint8Array): Promise<number>;
  /** Returns when the file's contents are on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** The operations that change the file system; tests inject failures here. */
export interface FileOperations {
  /** Creates a folder and its parents. @returns the first folder created, or undefined if it existed */
  makeFolder(path: string): Promise<string | undefined>;
  /** Creates a file that must not exist. */
  create(path: string): Promise<WritableFile>;
  /** Returns when the folder's entries are on the disk. */
  syncFolder(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a folder with its contents; does nothing if it does not exist. */
  remove(path: string): Promise<void>;
  /** Removes a folder if it exists and is empty. */
  removeEmpty(path: string): Promise<void>;
}

/** Like `mkdir` with `recursive`, which never returns if a file system such as /proc reports an existing parent as missing. */
async function makeFolders(path: string): Promise<string | undefined> {
  try {
    await mkdir(path);
    return path;
  } catch (error) {
    if (systemCode(error) !== "ENOENT" || dirname(path) === path) {
      // EEXIST, or what a read-only or special file system reports for an existing folder
      if ((await stat(path).catch(() => undefined))?.isDirectory()) return undefined;
      if (systemCode(error) === "EEXIST")
        throw new RubricateError("ERR_FILE", `Expected a folder or nothing at ${path} but it is no folder`, {
          cause: error,
        });
      throw error;
    }
  }
  const first = await makeFolders(dirname(path));
  try {
    await mkdir(path);
  } catch (error) {
    if (systemCode(error) === "EEXIST") return first; // created by another process meanwhile
    if (systemCode(error) !== "ENOENT") throw error;
    throw Object.assign(new Error(`the system makes no folder in ${dirname(path)} (${(error as Error).message})`), {
      code: "ENOENT",
    });
  }
  return first ?? path;
}

const nodeOperations: FileOperations = {
  makeFolder: (path) => makeFolders(resolve(path)),
  async create(path) {
    const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o666);
    return {
      write: async (bytes) => (await file.write(bytes)).bytesWritten,
      sync: () => file.sync(),
      close: () => file.close(),
    };
  },
  async syncFolder(path) {
    if (process.platform === "win32") return; // folders cannot be opened there; NTFS journals its entries
    const folder = await open(path, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  },
  rename,
  remove: (path) => rm(path, { recursive: true, force: true }),
  async removeEmpty(path) {
    await rmdir(path).catch((error: NodeJS.ErrnoException) => {
      if (!["ENOENT", "ENOTEMPTY", "EEXIST"].includes(error.code!)) throw error;
    });
  },
};

let current = nodeOperations;

/** The current operations. */
export function fileOperations(): FileOperations {
  return current;
}

/**
 * Replaces the operations, for tests.
 * @param wrap makes them from the real ones; undefined restores these
 * @internal
 */
export function replaceFileOperations(wrap: ((real: FileOperations) => FileOperations) | undefined): void {
  current = wrap ? wrap(nodeOperations) : nodeOperations;
}

/** Names in a folder, sorted; empty if there is no folder. */
export async function entriesOf(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/**
 * Atomic writes: after a crash or a disk error a reader finds either all of the old files or all of the new ones.
 * Everything is written to a temporary name, flushed, and renamed; a rename is atomic.
 */
import { randomBytes } from "node:crypto";
import { lstat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import { RubricateError, systemCode, systemReason } from "../errors";
import { attempts, commitFolder, commitList, finishCommit, stagedName } from "./commit";
import { entriesOf, fileOperations, type WritableFile } from "./operations";

/**
 * A file to be written: its name within the folder (which may contain one folder, "folder/name"), and its contents, whole
 * or in pieces.
 */
export interface FileContents {
  readonly name: string;
  readonly data: string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

const staging = ".rubricate-new-";
const abandonedAfterMs = 3600_000;
/** Bytes written per call: large enough to be fast, small enough not to block the event loop. */
const sliceBytes = 1 << 18;

/** Pause between attempts, randomised. */
export const pause = () => setTimeout(Math.random() * 5);

/** The last write that this process has started into each folder. */
const writing = new Map<string, Promise<void>>();

/**
 * Writes files into a folder, all of them or none. Other files in the folder stay, except stale ones, which are removed in
 * the same step. The files are staged in a hidden folder inside it, one rename commits them, and then each is moved to its
 * final path. If that is interrupted, `readableFile` still finds the new files and the next write finishes the moves.
 * Concurrent writes are each atomic, and the last one wins. A symbolic link at a file's path is replaced; its target is not
 * touched. A folder that this call created is removed if it fails.
 * @param stale returns the names of the files to remove; called when this write starts
 * @param check throws if the folder must not be written; called when this write starts, and again immediately before the commit
 * @throws RubricateError ERR_FILE naming path and cause; then either no file or every file has been replaced
 */
export async function writeInto(
  folder: string,
  files: readonly FileContents[],
  stale: () => Promise<readonly string[]> = async () => [],
  check: () => Promise<void> = async () => {},
): Promise<void> {
  const target = resolve(folder);
  const turn = (writing.get(target) ?? Promise.resolve())
    .catch(() => {})
    .then(() => writeNow(target, files, stale, check));
  writing.set(target, turn);
  try {
    await turn;
  } finally {
    if (writing.get(target) === turn) writing.delete(target);
  }
}

async function writeNow(
  target: string,
  files: readonly FileContents[],
  stale: () => Promise<readonly string[]>,
  check: () => Promise<void>,
): Promise<void> {
  await withFileErrors(target, async () => {
    const made = await makeFolder(target);
    try {
      await finishCommit(target);
      await removeAbandoned(target);
      await stageAndCommit(target, files, stale, check);
    } catch (error) {
      // A folder that this write created must not look like a result. Another process's files keep it.
      if (made)
        await fileOperations()
          .removeEmpty(target)
          .catch(() => {});
      throw error;
    }
    await finishCommit(target);
  });
}

async function stageAndCommit(
  target: string,
  files: readonly FileContents[],
  stale: () => Promise<readonly string[]>,
  check: () => Promise<void>,
): Promise<void> {
  await check();
  const removed = await stale();
  const names = files.map(({ name }) => name);
  for (const name of [...names, ...removed]) await requireReplaceable(target, name);
  const list = await commitList(target, names, removed);
  const staged = files.map(({ name, data }) => ({ name: stagedName(name), data }));
  const stage = join(target, staging + randomBytes(6).toString("hex"));
  try {
    await writeFiles(stage, [list, ...staged]);
    await commit(stage, target, check);
    await fileOperations().syncFolder(target);
  } catch (error) {
    await removeQuietly(stage);
    throw error;
  }
}

/** Commits the staged files. An unfinished commit of another process, which may have ended, is finished first. */
async function commit(stage: string, target: string, check: () => Promise<void>): Promise<void> {
  await whileOccupied(target, async () => {
    await finishCommit(target);
    await check();
    await fileOperations().rename(stage, commitFolder(target));
  });
}

/** Retries while another process's folder is at the target path. */
async function whileOccupied(target: string, attempt: () => Promise<void>): Promise<void> {
  for (let tried = 1; ; tried++) {
    try {
      return await attempt();
    } catch (error) {
      if (!["ENOTEMPTY", "EEXIST"].includes(systemCode(error)!)) throw error;
      if (tried === attempts)
        throw new RubricateError("ERR_FILE", `Cannot write ${target}: other processes keep writing there`);
      await pause();
    }
  }
}

/** Refuses a folder at a file's path, or a file at a folder's path: the write would fail halfway. */
async function requireReplaceable(target: string, name: string): Promise<void> {
  const path = join(target, name);
  const status = await lstat(path).catch(() => undefined);
  if (status?.isDirectory())
    throw new RubricateError("ERR_FILE", `Expected a file or nothing to replace at ${path} but it is a folder`);
  const folder = dirname(path);
  if (folder === target) return;
  const folderStatus = await lstat(folder).catch(() => undefined);
  if (folderStatus && !folderStatus.isDirectory())
    throw new RubricateError("ERR_FILE", `Expected a folder or nothing at ${folder} but it is a file or a link`);
}

/**
 * Writes a whole folder, all of it or nothing, and replaces an existing one. For a moment there is neither, so this is only
 * for folders with older versions to fall back on.
 * @throws RubricateError ERR_FILE naming path and cause
 */
export async function writeFolder(folder: string, files: readonly FileContents[]): Promise<void> {
  const target = resolve(folder);
  await withFileErrors(target, async () => {
    const parent = dirname(target);
    await makeFolder(parent);
    const stage = temporaryName(target);
    try {
      await writeFiles(stage, files);
      await whileOccupied(target, async () => {
        if (await lstat(target).catch(() => undefined)) await removeFolder(target);
        await fileOperations().rename(stage, target);
      });
      await fileOperations().syncFolder(parent);
    } catch (error) {
      await removeQuietly(stage);
      throw error;
    }
  });
}

/**
 * Writes one file into an existing folder, and replaces an existing one; `removeLeftovers` removes what an interruption
 * leaves.
 * @throws RubricateError ERR_FILE
 */
export async function replaceFile(path: string, data: FileContents["data"]): Promise<void> {
  const target = resolve(path);
  await withFileErrors(target, async () => {
    const [parent, stage] = [dirname(target), temporaryName(target)];
    try {
      await writeFiles(parent, [{ name: basename(stage), data }]);
      await fileOperations().rename(stage, target);
      await fileOperations().syncFolder(parent);
    } catch (error) {
      await removeQuietly(stage);
      throw error;
    }
  });
}

/**
 * Removes a folder atomically: no reader sees a part of it at its path.
 * @throws RubricateError ERR_FILE
 */
export async function removeFolder(folder: string): Promise<void> {
  const target = resolve(folder);
  await withFileErrors(target, async () => {
    const aside = temporaryName(target);
    await fileOperations().rename(target, aside);
    await fileOperations().syncFolder(dirname(target));
    await fileOperations().remove(aside);
  });
}

/** Removes what interrupted calls of `writeFolder`, `replaceFile` and `removeFolder` left in `parent`. Nothing may be writing there. */
export async function removeLeftovers(parent: string): Promise<void> {
  await withFileErrors(parent, async () => {
    for (const name of await entriesOf(parent))
      if (/^\..+\.rubricate-[0-9a-f]{12}$/.test(name)) await fileOperations().remove(join(parent, name));
  });
}

/**
 * Creates a folder. Its entry, and those of the parents created with it, are on the disk when this returns.
 * @returns whether it did not exist
 */
async function makeFolder(path: string): Promise<boolean> {
  const first = await fileOperations().makeFolder(path);
  if (first === undefined) return false;
  for (let made = path; made.length >= first.length; made = dirname(made))
    await fileOperations().syncFolder(dirname(made));
  return true;
}

/** Removes staged files older than an hour; another process may still be writing newer ones. */
async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await entriesOf(folder)) {
    if (!name.startsWith(staging)) continue;
    const path = join(folder, name);
    const written = await lstat(path).catch(() => undefined);
    if (written && Date.now() - written.mtimeMs > abandonedAfterMs) await fileOperations().remove(path);
  }
}

async function writeFiles(folder: string, files: readonly FileContents[]): Promise<void> {
  const operations = fileOperations();
  await operations.makeFolder(folder);
  for (const { name, data } of files) {
    const file = await operations.create(join(folder, name));
    try {
      for await (const slice of slicesOf(data)) await writeAll(file, slice, join(folder, name));
      await file.sync();
    } finally {
      await file.close();
    }
  }
  await operations.syncFolder(folder);
}

function pieces(data: FileContents["data"]): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  if (typeof data === "string") return [Buffer.from(data, "utf8")];
  return ArrayBuffer.isView(data) ? [data as Uint8Array] : data;
}

/** A file's contents in slices that are small enough to be written, or hashed on this thread, between other work. */
export async function* slicesOf(data: FileContents["data"]): AsyncGenerator<Uint8Array, void, void> {
  for await (const piece of pieces(data))
    for (let at = 0; at < piece.length; at += sliceBytes) yield piece.subarray(at, at + sliceBytes);
}

/** The system may write less than it was given. */
async function writeAll(file: WritableFile, bytes: Uint8Array, path: string): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const written = await file.write(bytes.subarray(at));
    if (written <= 0) throw new Error(`the system wrote nothing of ${bytes.length - at} bytes to ${path}`);
    at += written;
  }
}

function temporaryName(target: string): string {
  return join(dirname(target), `.${basename(target)}.rubricate-${randomBytes(6).toString("hex")}`);
}

/** For cleaning up after a failure, which is the error to report. */
async function removeQuietly(path: string): Promise<void> {
  await fileOperations()
    .remove(path)
    .catch(() => {});
}

/** Runs work on a file; turns an error into ERR_FILE naming path and cause. */
export async function withFileErrors<T>(path: string, work: () => Promise<T>, verb = "Cannot write"): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof RubricateError) throw cause;
    throw new RubricateError("ERR_FILE", `${verb} ${path}: ${systemReason(cause, path)}`, { cause });
  }
}

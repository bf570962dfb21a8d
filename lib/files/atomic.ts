/**
 * Writing that a crash, a full disk or a failing one cannot leave half done: a reader finds all of the old or all of the
 * new. Everything is written beside its place, flushed, and renamed; a rename is the one step that cannot be half done.
 */
import { randomBytes } from "node:crypto";
import { lstat, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import { RubricateError, systemCode } from "../errors";
import { commitFolder, commitList, finishCommit, pendingCommit, stagedName } from "./commit";
import { entriesOf, fileOperations, type WritableFile } from "./operations";

/**
 * A file to be written: its name within the folder (which may have one folder in it, "folder/name"), and its contents, whole
 * or piece by piece.
 */
export interface FileContents {
  readonly name: string;
  readonly data: string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

const staging = ".rubricate-new-";
const abandonedAfterMs = 3600_000;
/** Bytes handed to the system at a time: large enough to be fast, small enough to leave the event loop free. */
const sliceBytes = 1 << 18;

/** Attempts while other processes write into the same folder. */
const attempts = 500;
/** A pause between them, not the same for all. */
const pause = () => setTimeout(Math.random() * 5);

/** The last write into each folder that this process has begun. */
const writing = new Map<string, Promise<void>>();

/**
 * Writes files into a folder, all of them or none; others in the folder stay, but for those that must not be beside the new
 * ones: these go in the same step. They are staged in a hidden folder inside
 * it, one rename commits them, and then each is moved to its place. If that is interrupted, `readableFile` still finds the
 * new ones and the next write finishes the moves. Of several writes at once, each is whole and the last one stays. A
 * symbolic link in the place of a file is replaced, and what it leads to is not touched.
 * @param stale names of the files to remove, asked for when it is this write's turn
 * @throws RubricateError ERR_FILE naming path and cause; the earlier files are then as they were, or all are replaced
 */
export async function writeInto(
  folder: string,
  files: readonly FileContents[],
  stale: () => Promise<readonly string[]> = async () => [],
): Promise<void> {
  const target = resolve(folder);
  const turn = (writing.get(target) ?? Promise.resolve()).catch(() => {}).then(() => writeNow(target, files, stale));
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
): Promise<void> {
  await reported(target, async () => {
    await makeFolder(target);
    await finishCommit(target);
    await removeAbandoned(target);
    const removed = await stale();
    const names = files.map(({ name }) => name);
    for (const name of [...names, ...removed]) await requireReplaceable(target, name);
    const list = await commitList(target, names, removed);
    const staged = files.map(({ name, data }) => ({ name: stagedName(name), data }));
    const stage = join(target, staging + randomBytes(6).toString("hex"));
    try {
      await writeFiles(stage, [list, ...staged]);
      await commit(stage, target);
      await fileOperations().syncFolder(target);
    } catch (error) {
      await removeQuietly(stage);
      throw error;
    }
    await finishCommit(target);
  });
}

/** A commit that is not finished is in the way: it is another process's, which may have ended. */
async function commit(stage: string, target: string): Promise<void> {
  await whileOccupied(target, async () => {
    await finishCommit(target);
    await fileOperations().rename(stage, commitFolder(target));
  });
}

/** Tries again while the place of a folder is taken by that of another process. */
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

/** A folder in the place of a file, or a file in the place of a folder, would stop the write in its midst. */
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
 * Writes a folder anew, all of it or nothing. What was at its place is replaced; between, for a moment, there is neither,
 * so this is for folders of which there are others to fall back on.
 * @throws RubricateError ERR_FILE naming path and cause
 */
export async function writeFolder(folder: string, files: readonly FileContents[]): Promise<void> {
  const target = resolve(folder);
  await reported(target, async () => {
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
 * Removes a folder such that nobody ever sees a part of it at its place.
 * @throws RubricateError ERR_FILE
 */
export async function removeFolder(folder: string): Promise<void> {
  const target = resolve(folder);
  await reported(target, async () => {
    const aside = temporaryName(target);
    await fileOperations().rename(target, aside);
    await fileOperations().syncFolder(dirname(target));
    await fileOperations().remove(aside);
  });
}

/** Removes what `writeFolder` and `removeFolder` left in `parent` when they were cut short. Nobody may be writing there. */
export async function removeLeftovers(parent: string): Promise<void> {
  await reported(parent, async () => {
    for (const name of await entriesOf(parent))
      if (/^\..+\.rubricate-[0-9a-f]{12}$/.test(name)) await fileOperations().remove(join(parent, name));
  });
}

/**
 * Finishes a write into a folder that was interrupted, if there is one: for who reads many files of it.
 * @throws RubricateError ERR_FILE
 */
export async function finishInto(folder: string): Promise<void> {
  await reported(folder, () => finishCommit(folder));
}

/**
 * Where the newest version of a file that `writeInto` wrote is to be read.
 * @throws RubricateError ERR_FILE where what looks like an interrupted write is none
 */
export async function readableFile(folder: string, name: string): Promise<string> {
  const pending = await pendingCommit(folder);
  // A file that is to be removed is looked for where it is not.
  const isThere = !pending || !(pending.waiting.includes(name) || pending.stale.some((file) => file.name === name));
  return isThere ? join(folder, name) : join(commitFolder(folder), stagedName(name));
}

/**
 * Reads several files of a folder as one write left them: again where they were replaced meanwhile.
 * @param discard gives back what was read in vain
 * @throws RubricateError ERR_FILE where they are replaced again and again
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
    // A file that was moved to its place between looking and opening was not found.
    if (failure && before.files === after.files && before.paths === after.paths) throw failure;
    if (!failure) discard(result as T);
    if (attempt === attempts)
      throw new RubricateError("ERR_FILE", `Cannot read ${folder}: other processes keep writing there`);
    await pause();
  }
}

/** Which files these are, and where: moving one to its place, as the end of a write does, leaves it the same file. */
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

/** The folder's entry, and those of folders that had to be created above it, are on the disk when this returns. */
async function makeFolder(path: string): Promise<void> {
  const first = await fileOperations().makeFolder(path);
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made))
    await fileOperations().syncFolder(dirname(made));
}

/** Another process may be writing here; what is an hour old, nobody is. */
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
      for await (const piece of pieces(data)) await writeAll(file, piece, join(folder, name));
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

/** The system may write less than it was given. */
async function writeAll(file: WritableFile, bytes: Uint8Array, path: string): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const written = await file.write(bytes.subarray(at, at + sliceBytes));
    if (written <= 0) throw new Error(`the system wrote nothing of ${bytes.length - at} bytes to ${path}`);
    at += written;
  }
}

function temporaryName(target: string): string {
  return join(dirname(target), `.${basename(target)}.rubricate-${randomBytes(6).toString("hex")}`);
}

/** For cleaning up after a failure, which is what will be reported. */
async function removeQuietly(path: string): Promise<void> {
  await fileOperations()
    .remove(path)
    .catch(() => {});
}

/** Runs work on a file; what fails becomes ERR_FILE naming path and cause. */
export async function reported<T>(path: string, work: () => Promise<T>, verb = "Cannot write"): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof RubricateError) throw cause;
    throw new RubricateError("ERR_FILE", `${verb} ${path}: ${(cause as Error).message}`, { cause });
  }
}

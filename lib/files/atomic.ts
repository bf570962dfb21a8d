/**
 * Writing that a crash, a full disk or a failing one cannot leave half done: a reader finds all of the old or all of the
 * new. Everything is written beside its place, flushed, and renamed; a rename is the one step that cannot be half done.
 */
import { randomBytes } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { RubricateError } from "../errors";
import { entriesOf, fileOperations, type WritableFile } from "./operations";

/** A file to be written: its name within the folder, and its contents, whole or piece by piece. */
export interface FileContents {
  readonly name: string;
  readonly data: string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** Files of a finished write that may still have to be moved to their places. */
const committed = ".rubricate-commit";
const staging = ".rubricate-new-";
const abandonedAfterMs = 3600_000;
/** Bytes handed to the system at a time: large enough to be fast, small enough to leave the event loop free. */
const sliceBytes = 1 << 18;

/**
 * Writes files into a folder, all of them or none; others in the folder stay. They are staged in a hidden folder inside
 * it, one rename declares them valid, and then each is moved to its place. When that is cut short, `readableFile` still
 * finds the new ones and the next write finishes the moves.
 * @throws RubricateError ERR_FILE naming path and cause; the earlier files are then as they were, or all are replaced
 */
export async function writeInto(folder: string, files: readonly FileContents[]): Promise<void> {
  const target = resolve(folder);
  await reported(target, async () => {
    await makeFolder(target);
    await finishMoves(target);
    await removeAbandoned(target);
    const stage = join(target, staging + randomBytes(6).toString("hex"));
    try {
      await writeFiles(stage, files);
      await fileOperations().rename(stage, join(target, committed));
      await fileOperations().syncFolder(target);
    } catch (error) {
      await removeQuietly(stage);
      throw error;
    }
    await finishMoves(target);
  });
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
      if (await present(target)) await removeFolder(target);
      await fileOperations().rename(stage, target);
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

/** Where the newest version of a file that `writeInto` wrote is to be read. */
export async function readableFile(folder: string, name: string): Promise<string> {
  const waiting = join(folder, committed, name);
  return (await present(waiting)) ? waiting : join(folder, name);
}

/** The folder's entry, and those of folders that had to be created above it, are on the disk when this returns. */
async function makeFolder(path: string): Promise<void> {
  const first = await fileOperations().makeFolder(path);
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made))
    await fileOperations().syncFolder(dirname(made));
}

async function finishMoves(folder: string): Promise<void> {
  const source = join(folder, committed);
  if (!(await present(source))) return;
  for (const name of await entriesOf(source)) await fileOperations().rename(join(source, name), join(folder, name));
  await fileOperations().syncFolder(folder);
  await fileOperations().remove(source);
}

/** Another process may be writing here; what is an hour old, nobody is. */
async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await entriesOf(folder)) {
    if (!name.startsWith(staging)) continue;
    const path = join(folder, name);
    const written = await stat(path).catch(() => undefined);
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

async function present(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
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

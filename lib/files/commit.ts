/**
 * The commit of a write into a folder: a hidden folder with the staged files and a list of them. One rename makes it appear
 * and the files valid; then each is moved to its final path, and the stale files are removed. Any reader or writer that
 * finds a commit finishes it.
 *
 * A folder may come from an untrusted source and contain a forged commit. So the list names the inode of the folder that it
 * was made in, which cannot be predicted: a commit that was copied, unpacked or linked is refused, and none of its files is
 * read or moved.
 */
import { randomBytes } from "node:crypto";
import type { Stats } from "node:fs";
import { lstat, opendir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { escaped, RubricateError, systemCode } from "../errors";
import { limits } from "../limits";
import { isObject, readJson } from "./json";
import { fileOperations } from "./operations";
import { cannotRead } from "./read";

const committed = ".rubricate-commit";
const listName = /^list-[0-9a-f]{12}\.json$/;
/** Attempts to read a commit that other processes are moving. */
export const attempts = 500;

export const commitFolder = (folder: string) => join(folder, committed);

/** A file's name in a commit; its own name may contain a folder. */
export const stagedName = (name: string) => name.replace("/", "+");

/** A file to remove: the one that existed when the commit was made, not one that may have replaced it since. */
interface StaleFile {
  readonly name: string;
  readonly version: string;
}

/** The remaining work of a commit. */
interface PendingCommit {
  /** Files not moved yet, by their final names. */
  readonly waiting: readonly string[];
  readonly stale: readonly StaleFile[];
  /** Name of the list; undefined in a commit with nothing left to do. */
  readonly list: string | undefined;
}

/** The list of a commit of these files. Its name is random, so that no process removes another commit's list. */
export async function commitList(
  folder: string,
  names: readonly string[],
  removed: readonly string[] = [],
): Promise<{ name: string; data: string }> {
  const stale: StaleFile[] = [];
  for (const name of removed) {
    const version = await versionOf(join(folder, name));
    if (version !== undefined) stale.push({ name, version });
  }
  const list = { format: 1, folder: await identityOf(folder), names, stale };
  return { name: `list-${randomBytes(6).toString("hex")}.json`, data: JSON.stringify(list) };
}

/** Identifies a file without following links; undefined if there is none. */
async function versionOf(path: string): Promise<string | undefined> {
  const status = await lstat(path, { bigint: true }).catch(() => undefined);
  return status && `${status.dev} ${status.ino} ${status.size} ${status.mtimeNs}`;
}

async function identityOf(folder: string): Promise<string> {
  return String((await stat(folder, { bigint: true })).ino);
}

/**
 * The commit in a folder, if there is one, with every name checked.
 * @throws RubricateError ERR_FILE if it was not made by a write into this folder
 */
export async function pendingCommit(folder: string): Promise<PendingCommit | undefined> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await readCommit(folder);
    } catch (error) {
      // Another process finished it meanwhile.
      if (attempt < attempts && isMissing(error)) continue;
      throw error instanceof RubricateError ? error : cannotRead(commitFolder(folder), error);
    }
  }
}

function isMissing(error: unknown): boolean {
  return systemCode(error instanceof RubricateError ? error.cause : error) === "ENOENT";
}

async function readCommit(folder: string): Promise<PendingCommit | undefined> {
  const path = commitFolder(folder);
  let status: Stats;
  try {
    status = await lstat(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return undefined;
    throw error;
  }
  if (!status.isDirectory()) throw foreign(path, "it is not a folder");
  if (process.getuid && status.uid !== process.getuid() && status.uid !== (await stat(folder)).uid)
    throw foreign(path, "it belongs to another user");
  const entries = await entriesIn(path);
  if (entries.length === 0) return { waiting: [], stale: [], list: undefined };
  const lists = entries.filter((name) => listName.test(name));
  const [list] = lists;
  if (list === undefined || lists.length > 1) throw foreign(path, "it has no list of its files");
  await requireFile(path, list);
  // The list is read first: files that it does not name are not read.
  const { folder: madeIn, names, stale } = await readList(path, list);
  const staged = entries.filter((name) => name !== list);
  const isElsewhere = madeIn !== (await identityOf(folder));
  // A copy of a folder is complete if its commit had nothing left to do.
  if (isElsewhere && staged.length === 0 && !(await anyPresent(folder, stale))) return { waiting: [], stale: [], list };
  if (isElsewhere) throw foreign(path, "it was made in another folder");
  const places = new Map(names.map((name) => [stagedName(name), name]));
  for (const name of staged) if (!places.has(name)) throw foreign(path, `its list does not name ${escaped(name)}`);
  for (const name of staged) await requireFile(path, name);
  return { waiting: staged.map((name) => places.get(name)!), stale, list };
}

async function anyPresent(folder: string, files: readonly StaleFile[]): Promise<boolean> {
  for (const { name } of files) if ((await versionOf(join(folder, name))) !== undefined) return true;
  return false;
}

/** Names in a commit's folder; stops at the limit instead of reading a huge folder to its end. */
async function entriesIn(path: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of await opendir(path)) {
    if (names.length > limits.commitFiles) throw foreign(path, `it has more than ${limits.commitFiles} files`);
    names.push(name);
  }
  return names;
}

async function requireFile(path: string, name: string): Promise<void> {
  if (!(await lstat(join(path, name))).isFile()) throw foreign(path, `${escaped(name)} in it is not a regular file`);
}

/** Whether a name is valid within the folder: it contains at most one folder. */
function isPlace(name: unknown): name is string {
  if (typeof name !== "string") return false;
  const parts = name.split("/");
  return parts.length <= 2 && parts.every((part) => /^[^\\\0]+$/.test(part) && part !== "." && part !== "..");
}

function isStaleFile(value: unknown): value is StaleFile {
  return isObject(value) && isPlace(value.name) && typeof value.version === "string";
}

async function readList(
  path: string,
  name: string,
): Promise<{ folder: unknown; names: readonly string[]; stale: readonly StaleFile[] }> {
  const document = (await readJson(join(path, name), "ERR_FILE")) as Record<string, unknown> | null;
  const { format, names, folder, stale = [] } = document ?? {};
  if (format !== 1 || !Array.isArray(names) || !names.every(isPlace)) throw foreign(path, "its list is malformed");
  if (!Array.isArray(stale) || !stale.every(isStaleFile)) throw foreign(path, "its list is malformed");
  return { folder, names, stale };
}

function foreign(path: string, reason: string): RubricateError {
  return new RubricateError(
    "ERR_FILE",
    `Expected the rest of an interrupted write at ${path} but ${reason}. If you trust the folder and know that it was ` +
      "copied during a write, move the files in it one level up; else remove it",
  );
}

/**
 * Finishes a write that was interrupted, if there is one. Several processes may do so concurrently.
 * @throws RubricateError ERR_FILE as `pendingCommit`
 */
export async function finishCommit(folder: string): Promise<void> {
  const pending = await pendingCommit(folder);
  if (!pending) return;
  const path = commitFolder(folder);
  const operations = fileOperations();
  for (const name of pending.waiting)
    try {
      const inner = name.includes("/") ? dirname(join(folder, name)) : undefined;
      if (inner) await operations.makeFolder(inner);
      await operations.rename(join(path, stagedName(name)), join(folder, name));
      if (inner) await operations.syncFolder(inner);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error; // moved by another process
    }
  for (const { name, version } of pending.stale) {
    const stale = join(folder, name);
    // Another process may have finished this commit, and the next one may have put a new file here.
    if ((await versionOf(stale)) === version) await operations.remove(stale);
    if (!name.includes("/") || (await versionOf(dirname(stale))) === undefined) continue;
    await operations.syncFolder(dirname(stale));
    await operations.removeEmpty(dirname(stale));
  }
  await operations.syncFolder(folder);
  if (pending.list) await operations.remove(join(path, pending.list));
  // Without its contents: it may be the next commit by now.
  await operations.removeEmpty(path);
}

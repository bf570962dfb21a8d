/**
 * Locks a folder for one training run across processes: a file names the process and the thread (since a worker may be
 * terminated) that hold the lock. Node has no flock, so the file may outlive them. It contains a unique identity of the
 * thread (its number, start time and boot); a lock whose thread has ended is taken over.
 */
import { randomBytes } from "node:crypto";
import { readlinkSync } from "node:fs";
import { type FileHandle, lstat, open, readlink, realpath, rmdir, unlink } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { escaped, RubricateError, systemCode } from "../errors";
import { withFileErrors } from "../files/atomic";
import { parseJson } from "../files/json";
import { fileOperations } from "../files/operations";
import { readText } from "../files/read";
import { limits } from "../limits";

export const lockFile = ".rubricate-lock";
/** Exists while the lock of an ended process is replaced, which only one process may do at a time. */
const takeoverFile = ".rubricate-lock-takeover";
/** Interval at which a holder touches its file. */
const touchMs = 30_000;
/**
 * A holder that cannot be checked (on another machine or in a container) counts as ended if its file was not touched for
 * this long.
 */
const silentMs = 120_000;
/** A file without valid contents counts as being written until it is this old. */
const writingMs = 10_000;

interface Holder {
  readonly pid: number;
  /** Thread id; for the main thread it equals the process id. */
  readonly thread: number;
  /** Start of the thread in clock ticks since the boot; null if the system does not report it. */
  readonly started: string | null;
  /** Scope of the ids: boot and PID namespace, or the host's name if the system has neither. */
  readonly place: string;
  readonly host: string;
  readonly time: string;
}

/** A folder locked by this process. */
export class FolderLock {
  private held = true;
  private readonly touching: NodeJS.Timeout;

  private constructor(
    private readonly folder: string,
    private readonly text: string,
    private readonly created: string[],
    private file: FileHandle,
  ) {
    this.touching = setInterval(() => {
      this.touch().catch(() => {}); // at worst another machine considers it abandoned
    }, touchMs);
    this.touching.unref();
  }

  /**
   * Locks a folder, which is created if needed.
   * @throws RubricateError ERR_BUSY naming the process that holds the lock, ERR_FILE
   */
  static take(folder: string): Promise<FolderLock> {
    return withFileErrors(folder, async () => {
      const first = await fileOperations().makeFolder(folder);
      const created: string[] = [];
      for (let made = resolve(folder); first !== undefined && made.length >= first.length; made = dirname(made))
        created.push(made);
      try {
        const real = await realpath(folder); // different paths of the folder have the same lock
        const text = `${JSON.stringify(await thisThread())}\n`;
        const path = join(real, lockFile);
        const file = (await createdWith(path, text)) ?? (await takeOver(real, path, text));
        return new FolderLock(real, text, created, file);
      } catch (error) {
        await removeEmpty(created);
        throw error;
      }
    });
  }

  private get path(): string {
    return join(this.folder, lockFile);
  }

  /**
   * Writes the file's contents again, in place: the time of the change is then by the clock of its file system, which for a
   * network's is another machine's. If the file was replaced, this changes the replaced one, which has no name any more.
   */
  private async touch(): Promise<void> {
    await this.file.write(this.text, 0);
    await this.file.datasync();
  }

  /**
   * Checks that the lock is still this one's. A process that was suspended may have lost it to one of another machine; a
   * lock that was removed is made again.
   * @throws RubricateError ERR_BUSY naming the file, ERR_FILE
   */
  async requireHeld(): Promise<void> {
    const found = await readLock(this.path);
    if (found?.text === this.text) return;
    const again = found ? undefined : await withFileErrors(this.path, () => createdWith(this.path, this.text));
    if (!again)
      throw new RubricateError(
        "ERR_BUSY",
        `The folder ${this.folder} is in use by another training run by now: this one lost its lock, ${this.path}, because ` +
          "the file was replaced while its process was suspended, or by hand",
      );
    await this.file.close().catch(() => {});
    this.file = again;
  }

  /** Releases the lock. The folder is removed if `take` created it and it is empty. */
  async release(): Promise<void> {
    if (!this.held) return;
    this.held = false;
    clearInterval(this.touching);
    await this.file.close().catch(() => {});
    try {
      if ((await readText(this.path, limits.documentBytes)) === this.text) await unlink(this.path);
    } catch {
      // The file or the folder was removed.
    }
    await removeEmpty(this.created);
  }
}

/** @param folders innermost first */
async function removeEmpty(folders: readonly string[]): Promise<void> {
  try {
    for (const folder of folders) await rmdir(folder);
  } catch {
    // It is not empty, or already gone.
  }
}

/** Creates a file. @returns the open file; undefined if it exists already */
async function createdWith(path: string, text: string): Promise<FileHandle | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, "wx");
  } catch (error) {
    if (systemCode(error) === "EEXIST") return undefined;
    throw error;
  }
  try {
    await file.writeFile(text);
    return file;
  } catch (error) {
    await file.close();
    await unlink(path).catch(() => {});
    throw error;
  }
}

/** Replaces a lock whose process has ended. */
async function takeOver(folder: string, path: string, text: string): Promise<FileHandle> {
  await requireEnded(folder, path);
  const takeover = join(folder, takeoverFile);
  let turn = await createdWith(takeover, text);
  if (!turn) {
    await requireEnded(folder, takeover);
    await unlink(takeover).catch(() => {});
    turn = await createdWith(takeover, text);
    if (!turn) throw busy(folder, "another process", takeover);
  }
  try {
    await turn.close();
    await requireEnded(folder, path); // another process may have taken it over meanwhile
    await unlink(path).catch(() => {});
    const file = await createdWith(path, text);
    if (!file) throw busy(folder, "another process", path);
    return file;
  } finally {
    await unlink(takeover).catch(() => {});
  }
}

/** @throws RubricateError ERR_BUSY if the process that wrote a lock runs or may run; ERR_FILE if the path is something else */
async function requireEnded(folder: string, path: string): Promise<void> {
  const found = await readLock(path);
  if (!found) return; // released meanwhile
  const { text, touched } = found;
  const holder = holderIn(text, path);
  const silent = async () => Math.max(0, (await timeIn(folder)) - touched); // 0 for a time in the future
  if (!holder) {
    if ((await silent()) < writingMs) throw busy(folder, "another process", path);
    return;
  }
  const who = `process ${holder.pid} on ${escaped(holder.host)}, since ${escaped(holder.time)}`;
  if (holder.place === (await thisThread()).place) {
    if (await isRunning(holder)) throw busy(folder, who, path);
  } else if ((await silent()) < silentMs)
    throw busy(folder, who, path, "That process cannot be checked from here; if it has ended, wait two minutes or");
}

/**
 * The time on the clock of a folder's file system, in milliseconds: that of a new file. The clocks of machines that share a
 * folder may differ by more than the times that are compared here.
 */
async function timeIn(folder: string): Promise<number> {
  const path = join(folder, `.rubricate-clock-${randomBytes(6).toString("hex")}`);
  const file = await open(path, "wx");
  try {
    return (await file.stat()).mtimeMs;
  } finally {
    await file.close();
    await unlink(path).catch(() => {});
  }
}

/** @returns a lock's text, and when it was touched, in milliseconds */
async function readLock(path: string): Promise<{ text: string; touched: number } | undefined> {
  try {
    const status = await lstat(path);
    if (!status.isFile())
      throw new RubricateError("ERR_FILE", `Expected a lock file or nothing at ${path} but it is not a regular file`);
    return { text: await readText(path, limits.documentBytes), touched: status.mtimeMs };
  } catch (cause) {
    const gone = await lstat(path).then(
      () => false,
      (error: NodeJS.ErrnoException) => error.code === "ENOENT",
    );
    if (gone) return undefined;
    const reason = cause instanceof RubricateError ? cause.message : `Cannot read ${path}: ${(cause as Error).message}`;
    throw new RubricateError("ERR_FILE", `${reason}; if no training run uses the folder, remove ${path}`, { cause });
  }
}

function busy(folder: string, who: string, path: string, when = "If it has ended,"): RubricateError {
  return new RubricateError(
    "ERR_BUSY",
    `The folder ${folder} is in use by another training run (${who}). ${when} remove ${path}`,
  );
}

function holderIn(text: string, path: string): Holder | undefined {
  try {
    const { pid, thread, started, place, host, time } = parseJson(text, path) as Holder;
    const texts = [place, host, time].every((one) => typeof one === "string");
    if (![pid, thread].every((one) => Number.isSafeInteger(one) && one > 0) || !texts) return undefined;
    return { pid, thread, started, place, host, time };
  } catch {
    return undefined;
  }
}

let own: Promise<Holder> | undefined;

function thisThread(): Promise<Holder> {
  own ??= describeThread(numberOfThread());
  return own;
}

async function describeThread(thread: number): Promise<Holder> {
  return {
    pid: process.pid,
    thread,
    started: (await threadOf(process.pid, thread))?.started ?? null,
    place: await placeOfProcesses(),
    host: hostname(),
    time: new Date(Date.now() - 1000 * process.uptime()).toISOString(),
  };
}

/** Reads /proc synchronously: asynchronous calls run on other threads. */
function numberOfThread(): number {
  try {
    return Number(/task\/(\d+)$/.exec(readlinkSync("/proc/thread-self"))![1]);
  } catch {
    return process.pid;
  }
}

async function placeOfProcesses(): Promise<string> {
  try {
    const boot = await readText("/proc/sys/kernel/random/boot_id", limits.documentBytes);
    return `${boot.trim()} ${await readlink("/proc/self/ns/pid")}`;
  } catch {
    return hostname();
  }
}

async function isRunning({ pid, thread, started }: Holder): Promise<boolean> {
  const found = await threadOf(pid, thread);
  if (found) return !found.ended && found.started === started;
  if (await threadOf(pid, pid)) return false; // the process runs, but not the thread
  try {
    process.kill(pid, 0); // only checks that the process exists
    return true;
  } catch (error) {
    return systemCode(error) === "EPERM"; // otherwise there is no such process
  }
}

/** State of a thread from /proc; undefined if there is no such thread, no /proc, or it is hidden. */
async function threadOf(pid: number, thread: number): Promise<{ ended: boolean; started: string } | undefined> {
  try {
    const text = await readText(`/proc/${pid}/task/${thread}/stat`, limits.documentBytes);
    const [state, ...fields] = text.slice(text.lastIndexOf(")") + 2).split(" "); // the name before it may contain spaces
    return { ended: state === "Z" || state === "X", started: fields[18]! };
  } catch {
    return undefined;
  }
}

/**
 * One training run at a time in a folder, across processes: a file that says which process has it, and which of its threads,
 * since a worker may be terminated. Node has no flock, so the file may outlive them. It holds what identifies a thread for good
 * (its number, its start, the boot), and whoever finds it with a thread that has ended takes it over.
 */
import { readlinkSync } from "node:fs";
import { lstat, lutimes, open, readlink, realpath, rmdir, unlink } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { escaped, RubricateError, systemCode } from "../errors";
import { reported } from "../files/atomic";
import { parseJson } from "../files/json";
import { fileOperations } from "../files/operations";
import { readText } from "../files/read";
import { limits } from "../limits";

const lockFile = ".rubricate-lock";
/** There while a lock of a process that has ended is replaced: only one may do that at a time. */
const takeoverFile = ".rubricate-lock-takeover";
/** How often a holder touches its file. */
const touchMs = 30_000;
/** A holder that cannot be asked (another machine or container) has ended when its file was not touched for so long. */
const silentMs = 120_000;
/** A file without readable contents is being written, unless it is older than this. */
const writingMs = 10_000;

interface Holder {
  readonly pid: number;
  /** Number of the thread, which is the process's for its main one. */
  readonly thread: number;
  /** Start of the thread in clock ticks since the boot; null where the system does not say. */
  readonly started: string | null;
  /** Where the numbers mean this process: boot and process namespace, or the host's name where the system has neither. */
  readonly place: string;
  readonly host: string;
  readonly time: string;
}

/** A folder that this process has for itself. */
export class FolderLock {
  private held = true;
  private readonly touching: NodeJS.Timeout;

  private constructor(
    private readonly path: string,
    private readonly text: string,
    private readonly created: string[],
  ) {
    this.touching = setInterval(() => {
      const now = new Date();
      lutimes(path, now, now).catch(() => {}); // the worst is that another machine takes it for abandoned
    }, touchMs);
    this.touching.unref();
  }

  /**
   * Takes a folder, which is created where needed.
   * @throws RubricateError ERR_BUSY naming the process that has it, ERR_FILE
   */
  static take(folder: string): Promise<FolderLock> {
    return reported(folder, async () => {
      const first = await fileOperations().makeFolder(folder);
      const created: string[] = [];
      for (let made = resolve(folder); first !== undefined && made.length >= first.length; made = dirname(made))
        created.push(made);
      try {
        const real = await realpath(folder); // other spellings of the folder are the same folder
        const text = `${JSON.stringify(await thisThread())}\n`;
        const path = join(real, lockFile);
        if (!(await createdWith(path, text))) await takeOver(real, path, text);
        return new FolderLock(path, text, created);
      } catch (error) {
        await removeEmpty(created);
        throw error;
      }
    });
  }

  /** Gives the folder back. It is removed where `take` created it and nothing was written. */
  async release(): Promise<void> {
    if (!this.held) return;
    this.held = false;
    clearInterval(this.touching);
    try {
      if ((await readText(this.path, limits.documentBytes)) === this.text) await unlink(this.path);
    } catch {
      // Somebody removed it, or the folder.
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

/** Creates a file that is not there yet. @returns false where it is */
async function createdWith(path: string, text: string): Promise<boolean> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, "wx");
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw error;
  }
  try {
    await file.writeFile(text);
  } catch (error) {
    await unlink(path).catch(() => {});
    throw error;
  } finally {
    await file.close();
  }
  return true;
}

/** Replaces a lock whose process has ended. */
async function takeOver(folder: string, path: string, text: string): Promise<void> {
  await requireEnded(folder, path);
  const takeover = join(folder, takeoverFile);
  if (!(await createdWith(takeover, text))) {
    await requireEnded(folder, takeover);
    await unlink(takeover).catch(() => {});
    if (!(await createdWith(takeover, text))) throw busy(folder, "another process", takeover);
  }
  try {
    await requireEnded(folder, path); // another process may have taken it over meanwhile
    await unlink(path).catch(() => {});
    if (!(await createdWith(path, text))) throw busy(folder, "another process", path);
  } finally {
    await unlink(takeover).catch(() => {});
  }
}

/**
 * @throws RubricateError ERR_BUSY where the process that wrote a lock still runs, or may; ERR_FILE where something else is in
 * its place
 */
async function requireEnded(folder: string, path: string): Promise<void> {
  const found = await readLock(path);
  if (!found) return; // given back meanwhile
  const { text, silent } = found;
  const holder = holderIn(text, path);
  if (!holder) {
    if (silent < writingMs) throw busy(folder, "another process", path);
    return;
  }
  const who = `process ${holder.pid} on ${escaped(holder.host)}, since ${escaped(holder.time)}`;
  if (holder.place === (await thisThread()).place) {
    if (await isRunning(holder)) throw busy(folder, who, path);
  } else if (silent < silentMs)
    throw busy(folder, who, path, "That process cannot be checked from here; if it has ended, wait two minutes or");
}

/** @returns what a lock says, and for how long nobody has touched it; a time to come is now */
async function readLock(path: string): Promise<{ text: string; silent: number } | undefined> {
  try {
    const status = await lstat(path);
    if (!status.isFile())
      throw new RubricateError("ERR_FILE", `Expected a lock file or nothing at ${path} but it is not a regular file`);
    return { text: await readText(path, limits.documentBytes), silent: Math.max(0, Date.now() - status.mtimeMs) };
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

/** Asked on the thread itself: asynchronous calls are made on others. */
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
  if (await threadOf(pid, pid)) return false; // the process runs without that thread
  try {
    process.kill(pid, 0); // sends nothing
    return true;
  } catch (error) {
    return systemCode(error) === "EPERM"; // else there is none of that number, or cannot be
  }
}

/** What /proc has of a thread; undefined where there is none of these numbers, no /proc, or one that hides it. */
async function threadOf(pid: number, thread: number): Promise<{ ended: boolean; started: string } | undefined> {
  try {
    const text = await readText(`/proc/${pid}/task/${thread}/stat`, limits.documentBytes);
    const [state, ...fields] = text.slice(text.lastIndexOf(")") + 2).split(" "); // the name before it may hold spaces
    return { ended: state === "Z" || state === "X", started: fields[18]! };
  } catch {
    return undefined;
  }
}

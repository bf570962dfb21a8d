/** Simulates disk errors and crashes, for tests of file writing. */
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { type FileOperations, replaceFileOperations, type WritableFile } from "../../lib/files/operations";

/** A new folder, in memory if possible: thousands of flushes are slow elsewhere. */
export function temporaryFolder(): string {
  return mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "rubricate-test-"));
}

/** What happens at one operation. */
export type Failure = "ENOSPC" | "EIO" | "short write" | "power cut" | "power cut, unflushed data lost";

interface Rename {
  readonly from: string;
  readonly to: string;
  /** Of the file that it replaced. */
  readonly replaced: Buffer | undefined;
}

/** What is not on the disk yet. */
class Unflushed {
  private readonly files = new Map<string, number>();
  private renames: Rename[] = [];
  /** Removed files, and second names that keep them the same files. */
  private removals: { readonly path: string; readonly kept: string }[] = [];
  private readonly keeping = temporaryFolder();

  opened(path: string): void {
    this.files.set(path, openSync(path, "r+"));
  }

  synced(path: string): void {
    closeSync(this.files.get(path)!);
    this.files.delete(path);
  }

  renamed(from: string, to: string, replaced: Buffer | undefined): void {
    this.renames.push({ from: resolve(from), to: resolve(to), replaced });
  }

  removing(path: string): void {
    if (!existsSync(path) || !statSync(path).isFile()) return;
    const kept = join(this.keeping, `${this.removals.length}`);
    linkSync(path, kept);
    this.removals.push({ path: resolve(path), kept });
  }

  syncedFolder(path: string): void {
    for (const removal of this.removals)
      if (dirname(removal.path) === resolve(path)) rmSync(removal.kept, { force: true });
    this.renames = this.renames.filter(({ to }) => dirname(to) !== resolve(path));
  }

  /** Truncates files that were not synced, and undoes renames and removals whose folder was not synced. */
  lose(): void {
    for (const file of this.files.values()) ftruncateSync(file, fstatSync(file).size >> 1);
    for (const { from, to, replaced } of this.renames.reverse()) {
      renameSync(to, from);
      if (replaced) writeFileSync(to, replaced);
    }
    for (const { path, kept } of this.removals)
      if (existsSync(kept) && existsSync(dirname(path))) renameSync(kept, path);
  }

  close(): void {
    for (const file of this.files.values()) closeSync(file);
    this.files.clear();
    rmSync(this.keeping, { recursive: true });
  }
}

const contentsOf = (path: string) => (existsSync(path) && statSync(path).isFile() ? readFileSync(path) : undefined);

/** The operations, each of which begins with its name; `begin` returns whether a write is truncated. */
function watchedOperations(
  real: FileOperations,
  begin: (name: string) => boolean,
  unflushed: Unflushed,
): FileOperations {
  const watched = (file: WritableFile, path: string): WritableFile => ({
    write: (bytes) => file.write(begin("write") ? bytes.subarray(0, Math.max(1, bytes.length >> 1)) : bytes),
    async sync() {
      begin("sync");
      await file.sync();
      unflushed.synced(path);
    },
    close: () => file.close(),
  });
  return {
    async makeFolder(path) {
      begin("makeFolder");
      return real.makeFolder(path);
    },
    async create(path) {
      begin("create");
      const file = await real.create(path);
      unflushed.opened(path);
      return watched(file, path);
    },
    async syncFolder(path) {
      begin("syncFolder");
      await real.syncFolder(path);
      unflushed.syncedFolder(path);
    },
    async rename(from, to) {
      begin("rename");
      const replaced = contentsOf(to);
      await real.rename(from, to);
      unflushed.renamed(from, to, replaced);
    },
    async remove(path) {
      begin("remove");
      unflushed.removing(path);
      return real.remove(path);
    },
    async removeEmpty(path) {
      begin("removeEmpty");
      return real.removeEmpty(path);
    },
  };
}

/**
 * Makes the k-th operation (from 0) fail while `work` runs. After a power cut every later operation fails, including the
 * cleanup.
 * @returns the names of the operations that were started, and the error of `work`
 */
export async function withFailureAt(
  at: number,
  failure: Failure,
  work: () => Promise<unknown>,
): Promise<{ operations: string[]; error: unknown }> {
  const operations: string[] = [];
  const unflushed = new Unflushed();
  let dark = false;

  /** @returns whether this is the write to truncate */
  function begin(name: string): boolean {
    if (dark) throw Object.assign(new Error("the machine is off"), { code: "ECUT" });
    operations.push(name);
    if (operations.length - 1 !== at) return false;
    if (failure === "ENOSPC" || failure === "EIO")
      throw Object.assign(new Error(`${failure}: ${name}`), { code: failure });
    if (failure === "short write") return true;
    if (failure === "power cut, unflushed data lost") unflushed.lose();
    dark = true;
    throw Object.assign(new Error("the machine is off"), { code: "ECUT" });
  }

  replaceFileOperations((real) => watchedOperations(real, begin, unflushed));
  try {
    const error = await work().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    return { operations, error };
  } finally {
    replaceFileOperations(undefined);
    unflushed.close();
  }
}

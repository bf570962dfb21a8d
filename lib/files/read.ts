/**
 * The one way to read a file. It must be a regular file, and not larger than its kind may be: a pipe never ends, a device
 * has no end, and a sparse file of terabytes costs nothing to make. Symbolic links are followed, because the folders of a
 * Hugging Face cache consist of them.
 */
import { isUtf8 } from "node:buffer";
import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from "node:fs";
import { type FileHandle, lstat, open, stat } from "node:fs/promises";
import { RubricateError, systemCode } from "../errors";

/** Opening a pipe would wait for its writer, and opening a terminal would make it this process's own. */
const openFlags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0);
/** Bytes read at a time: large enough to be fast, small enough to leave the event loop free. */
const pieceBytes = 1 << 18;

/** ERR_FILE for what the system reports. */
export function cannotRead(path: string, cause: unknown): RubricateError {
  return new RubricateError("ERR_FILE", `Cannot read ${path}: ${(cause as Error).message}`, { cause });
}

function kindOf(status: Stats): string {
  if (status.isDirectory()) return "a folder";
  if (status.isFIFO()) return "a pipe (FIFO): save its contents as a file";
  if (status.isSocket()) return "a socket";
  return "a device";
}

function requireRegular(path: string, status: Stats): void {
  if (!status.isFile())
    throw new RubricateError("ERR_FILE", `Expected a regular file at ${path} but it is ${kindOf(status)}`);
}

function tooLarge(path: string, limit: number, size: number): RubricateError {
  const found = size > limit ? `has ${size}` : "has more";
  return new RubricateError("ERR_FILE", `Expected at most ${limit} bytes in ${path} but it ${found}`);
}

/** What git leaves in the place of a large file where git-lfs is not installed: three lines of text. */
const pointer = /^version https:\/\/(git-lfs|hawser)\.github\.com\/spec\//;
/** No pointer is longer, as its specification says. */
const pointerBytes = 1024;
/** As many of its first bytes tell. */
const pointerStart = 64;

const mayBePointer = (size: number) => size > pointerStart && size < pointerBytes;

function refusePointer(path: string, start: Buffer): void {
  if (pointer.test(start.toString("latin1")))
    throw new RubricateError(
      "ERR_FILE",
      `${path} is a git-lfs pointer, not the file: run "git lfs pull" in its folder, or download the file itself`,
    );
}

/**
 * Refuses what is read elsewhere, by the native core, where it is a git-lfs pointer.
 * @throws RubricateError ERR_FILE saying so, or that it cannot be read
 */
export async function requireContents(path: string): Promise<void> {
  await (await openRegular(path)).file.close();
}

/**
 * Whether there is something at a path. Only a path that does not exist is "no": one that cannot be looked at, or a link
 * that leads nowhere, is an error, or a file would be left out in silence.
 * @throws RubricateError ERR_FILE
 */
export async function present(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (cause) {
    if (systemCode(cause) !== "ENOENT") throw cannotRead(path, cause);
    const link = await lstat(path).catch(() => undefined);
    if (!link?.isSymbolicLink()) return false;
    throw new RubricateError("ERR_FILE", `Cannot read ${path}: it is a symbolic link to a file that does not exist`);
  }
}

/**
 * Opens a regular file, which is no git-lfs pointer, for reading. The caller closes it.
 * @throws RubricateError ERR_FILE
 */
export async function openRegular(path: string): Promise<{ file: FileHandle; size: number }> {
  let file: FileHandle;
  try {
    file = await open(path, openFlags);
  } catch (cause) {
    if (systemCode(cause) === "ENXIO") requireRegular(path, await stat(path)); // a socket
    throw cannotRead(path, cause);
  }
  try {
    const status = await file.stat();
    requireRegular(path, status);
    if (mayBePointer(status.size)) {
      const start = Buffer.alloc(pointerStart);
      await file.read(start, 0, pointerStart, 0);
      refusePointer(path, start);
    }
    return { file, size: status.size };
  } catch (error) {
    await file.close();
    throw error instanceof RubricateError ? error : cannotRead(path, error);
  }
}

/** As `openRegular`, at once. @returns the descriptor and the file's size */
export function openRegularSync(path: string): { descriptor: number; size: number } {
  let descriptor: number;
  try {
    descriptor = openSync(path, openFlags);
  } catch (cause) {
    if (systemCode(cause) === "ENXIO") requireRegular(path, statSync(path)); // a socket
    throw cannotRead(path, cause);
  }
  try {
    const status = fstatSync(descriptor);
    requireRegular(path, status);
    if (mayBePointer(status.size)) {
      const start = Buffer.alloc(pointerStart);
      readSync(descriptor, start, 0, pointerStart, 0);
      refusePointer(path, start);
    }
    return { descriptor, size: status.size };
  } catch (error) {
    closeSync(descriptor);
    throw error instanceof RubricateError ? error : cannotRead(path, error);
  }
}

/**
 * Reads a whole file.
 * @param limit bytes that it may have
 * @param allocate makes the memory that it is read into
 * @throws RubricateError ERR_FILE where it is no regular file, too large, or cannot be read
 */
export async function readBytes(
  path: string,
  limit: number,
  allocate: (size: number) => Buffer = Buffer.allocUnsafeSlow,
): Promise<Buffer> {
  const { file, size } = await openRegular(path);
  try {
    if (size > limit) throw tooLarge(path, limit, size);
    // One byte more than the size finds the end without another buffer. Files of /proc have size 0 and grow here.
    let bytes = allocate(size + 1);
    for (let filled = 0; ; ) {
      const length = Math.min(bytes.length - filled, pieceBytes);
      const { bytesRead } = await file.read(bytes, filled, length, filled);
      if (bytesRead === 0) return bytes.subarray(0, filled);
      filled += bytesRead;
      if (filled > limit) throw tooLarge(path, limit, size);
      if (filled < bytes.length) continue;
      const larger = allocate(Math.min(limit + 1, Math.max(2 * filled, 1 << 12)));
      bytes.copy(larger);
      bytes = larger;
    }
  } catch (error) {
    throw error instanceof RubricateError ? error : cannotRead(path, error);
  } finally {
    await file.close();
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes of a file as text. @throws RubricateError ERR_FILE where they are not UTF-8 */
function decoded(bytes: Uint8Array, path: string): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new RubricateError("ERR_FILE", `Expected UTF-8 in ${path} but it has other bytes`, { cause });
  }
}

/** The bytes of a text file in UTF-8, in shared memory. @throws RubricateError ERR_FILE, as `readBytes` */
export async function readSharedText(path: string, limit: number): Promise<Buffer> {
  const bytes = await readBytes(path, limit, (size) => Buffer.from(new SharedArrayBuffer(size)));
  if (!isUtf8(bytes)) throw new RubricateError("ERR_FILE", `Expected UTF-8 in ${path} but it has other bytes`);
  return bytes;
}

/** Reads a whole text file in UTF-8. @throws RubricateError ERR_FILE, as `readBytes` */
export async function readText(path: string, limit: number): Promise<string> {
  return decoded(await readBytes(path, limit), path);
}

/** As `readText`, at once: for small files of the package itself. @throws RubricateError ERR_FILE */
export function readTextSync(path: string, limit: number): string {
  const { descriptor, size } = openRegularSync(path);
  try {
    if (size > limit) throw tooLarge(path, limit, size);
    const bytes = Buffer.alloc(size);
    let filled = 0;
    for (let read = -1; read !== 0 && filled < size; filled += read)
      read = readSync(descriptor, bytes, filled, size - filled, filled);
    return decoded(bytes.subarray(0, filled), path);
  } catch (error) {
    throw error instanceof RubricateError ? error : cannotRead(path, error);
  } finally {
    closeSync(descriptor);
  }
}

/** Contents of a file of any size, piece by piece. A piece is valid until the next. @throws RubricateError ERR_FILE */
export async function* readPieces(path: string): AsyncGenerator<Buffer, void, void> {
  const { file } = await openRegular(path);
  try {
    const piece = Buffer.allocUnsafeSlow(pieceBytes);
    for (let at = 0; ; ) {
      const { bytesRead } = await file.read(piece, 0, piece.length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield piece.subarray(0, bytesRead);
    }
  } catch (error) {
    throw error instanceof RubricateError ? error : cannotRead(path, error);
  } finally {
    await file.close();
  }
}

/**
 * The only way in which this package reads files. A file must be regular and within the size limit of its kind: a pipe or a
 * device may never end, and a sparse file of terabytes costs nothing to make. Symbolic links are followed, because the
 * folders of a Hugging Face cache consist of them.
 */
import { isUtf8 } from "node:buffer";
import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from "node:fs";
import { type FileHandle, lstat, open, stat } from "node:fs/promises";
import { RubricateError, systemCode, systemReason } from "../errors";

/** Opening must not wait for a pipe's writer, or make a terminal the process's controlling one. */
const openFlags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0);
/** Bytes read per call: large enough to be fast, small enough not to block the event loop. */
const pieceBytes = 1 << 18;

/** ERR_FILE for an error of the system. */
export function cannotRead(path: string, cause: unknown): RubricateError {
  return new RubricateError("ERR_FILE", `Cannot read ${path}: ${systemReason(cause, path)}`, { cause });
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

/** A git-lfs pointer: three lines of text that git leaves instead of a large file if git-lfs is not installed. */
const pointer = /^version https:\/\/(git-lfs|hawser)\.github\.com\/spec\//;
/** Maximum length of a pointer by its specification. */
const pointerBytes = 1024;
/** Bytes at the start of a file that identify a pointer. */
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
 * Refuses a git-lfs pointer in place of a file that the native core reads.
 * @throws RubricateError ERR_FILE also if it cannot be read
 */
export async function requireContents(path: string): Promise<void> {
  await (await openRegular(path)).file.close();
}

/**
 * Whether a path exists. A path that cannot be checked, or a dangling link, is an error: a file must not be skipped
 * silently.
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
 * Opens a regular file for reading; a git-lfs pointer is refused. The caller closes the file.
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

/** Like `openRegular`, synchronously. @returns the descriptor and the file's size */
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
 * @param limit maximum number of bytes
 * @param allocate allocates the memory that it is read into
 * @throws RubricateError ERR_FILE if it is not a regular file, is too large, or cannot be read
 */
export async function readBytes(
  path: string,
  limit: number,
  allocate: (size: number) => Buffer = Buffer.allocUnsafeSlow,
): Promise<Buffer> {
  const { file, size } = await openRegular(path);
  try {
    if (size > limit) throw tooLarge(path, limit, size);
    // Reading one byte more than the size finds the end without another buffer. Files of /proc have size 0 and grow here.
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

/** Decodes the bytes of a file. @throws RubricateError ERR_FILE if they are not UTF-8 */
function decodeUtf8(bytes: Uint8Array, path: string): string {
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
  return decodeUtf8(await readBytes(path, limit), path);
}

/** Like `readText`, synchronously: for small files of the package itself. @throws RubricateError ERR_FILE */
export function readTextSync(path: string, limit: number): string {
  const { descriptor, size } = openRegularSync(path);
  try {
    if (size > limit) throw tooLarge(path, limit, size);
    const bytes = Buffer.alloc(size);
    let filled = 0;
    for (let read = -1; read !== 0 && filled < size; filled += read)
      read = readSync(descriptor, bytes, filled, size - filled, filled);
    return decodeUtf8(bytes.subarray(0, filled), path);
  } catch (error) {
    throw error instanceof RubricateError ? error : cannotRead(path, error);
  } finally {
    closeSync(descriptor);
  }
}

/** Contents of a file of any size, in pieces. A piece is valid until the next one is read. @throws RubricateError ERR_FILE */
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

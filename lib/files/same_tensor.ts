/** Compares two tensors of safetensors files byte by byte, without reading either into memory as a whole. */
import type { FileHandle } from "node:fs/promises";
import { throwIfAborted } from "../job";
import { inSlices } from "../steps";
import { isObject } from "./json";
import { checkShape } from "./json_shape";
import { cannotRead, openRegular } from "./read";

/** Location of a tensor's bytes. */
interface Extent {
  readonly file: FileHandle;
  readonly start: number;
  readonly end: number;
  /** Dtype and shape, for comparing. */
  readonly kind: string;
}

/** A header with more bytes or values than any LLaMA has is not read here. */
const headerBytes = 1 << 24;
const headerValues = 1 << 20;
/** Bytes compared at a time. */
const pieceBytes = 1 << 20;

/**
 * Whether two tensors have the same dtype, shape and bytes. A file that cannot be parsed counts as different: the native
 * core then reads both and reports the error.
 * @throws RubricateError ERR_FILE, ERR_ABORTED
 */
export async function haveSameBytes(
  path: string,
  name: string,
  otherPath: string,
  otherName: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const one = await openRegular(path);
  try {
    const other = await openRegular(otherPath);
    try {
      const [a, b] = [await extentOf(one.file, name), await extentOf(other.file, otherName)];
      return a !== undefined && b !== undefined && a.kind === b.kind && (await sameBytes(a, b, signal));
    } finally {
      await other.file.close();
    }
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall ? cannotRead(path, error) : error;
  } finally {
    await one.file.close();
  }
}

async function extentOf(file: FileHandle, name: string): Promise<Extent | undefined> {
  const prefix = Buffer.alloc(8);
  await file.read(prefix, 0, 8, 0);
  const length = Number(prefix.readBigUInt64LE());
  if (length > headerBytes) return undefined;
  const header = Buffer.alloc(length);
  await file.read(header, 0, length, 8);
  let document: unknown;
  try {
    await inSlices(checkShape(header, headerValues));
    document = JSON.parse(header.toString("utf8"));
  } catch {
    return undefined;
  }
  const entry = isObject(document) ? document[name] : undefined;
  if (!isObject(entry) || !Array.isArray(entry.data_offsets)) return undefined;
  const [start, end] = entry.data_offsets.map((offset) => 8 + length + Number(offset));
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start! > end!) return undefined;
  return { file, start: start!, end: end!, kind: JSON.stringify([entry.dtype, entry.shape]) };
}

async function sameBytes(one: Extent, other: Extent, signal: AbortSignal | undefined): Promise<boolean> {
  if (one.end - one.start !== other.end - other.start) return false;
  const [a, b] = [Buffer.alloc(pieceBytes), Buffer.alloc(pieceBytes)];
  for (let at = 0; at < one.end - one.start; ) {
    throwIfAborted(signal);
    const length = Math.min(pieceBytes, one.end - one.start - at);
    const [read, otherRead] = await Promise.all([
      one.file.read(a, 0, length, one.start + at),
      other.file.read(b, 0, length, other.start + at),
    ]);
    const bytes = Math.min(read.bytesRead, otherRead.bytesRead); // the system may read less than requested
    if (bytes === 0 || a.compare(b, 0, bytes, 0, bytes) !== 0) return false;
    at += bytes;
  }
  return true;
}

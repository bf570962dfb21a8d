/**
 * Reads zip archives as torch.save writes them: entries stored without compression, zip64 where sizes need it.
 * Source: PKWARE's APPNOTE.TXT 6.3.10. Sizes are taken from the central directory, and compared with the file's.
 */
import type { FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { quoted, RubricateError } from "../../errors";
import { limits } from "../../limits";
import { cannotRead } from "../read";

/** ERR_TORCH_FILE for a file of torch.save: "Expected WHAT in PATH but FOUND". */
export function torchFault(path: string, what: string, found: string): RubricateError {
  return new RubricateError("ERR_TORCH_FILE", `Expected ${what} in ${path} but ${found}`);
}

/** An open archive. */
export interface Archive {
  readonly file: FileHandle;
  readonly path: string;
  readonly size: number;
}

/** A stored entry. Its header, name and bytes lie between `start` and `end`, where nothing else does. */
export interface ZipEntry {
  readonly name: string;
  readonly crc: number;
  readonly size: number;
  readonly start: number;
  readonly end: number;
}

const signatures = { entry: 0x02014b50, local: 0x04034b50, end: 0x06054b50, end64: 0x06064b50, locator: 0x07064b50 };
const sizes = { entry: 46, local: 30, end: 22, end64: 56, locator: 20 };
/** A field of 32 or 16 bits with this value stands for one of zip64. */
const inZip64 = { long: 0xffffffff, short: 0xffff };
/** Bytes read per call. */
const pieceBytes = 1 << 18;

/** Reads bytes that must be there. */
async function readAt({ file, path }: Archive, start: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let filled = 0; filled < length; ) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, start + filled).catch((cause) => {
      throw cannotRead(path, cause);
    });
    if (bytesRead === 0) throw torchFault(path, `${length} bytes at ${start}`, `it ends at ${start + filled}`);
    filled += bytesRead;
  }
  return bytes;
}

/** A number of 64 bits; one that a double cannot hold is beyond every file. */
function uint64(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at));
}

interface Directory {
  readonly start: number;
  readonly size: number;
  readonly count: number;
}

/** Finds the central directory by the record at the file's end. */
async function findDirectory(archive: Archive): Promise<Directory> {
  const { path, size } = archive;
  const tail = await readAt(
    archive,
    Math.max(0, size - sizes.end - inZip64.short),
    Math.min(size, sizes.end + inZip64.short),
  );
  let at = tail.length - sizes.end;
  while (
    at >= 0 &&
    !(tail.readUInt32LE(at) === signatures.end && at + sizes.end + tail.readUInt16LE(at + 20) === tail.length)
  )
    at--;
  if (at < 0) throw torchFault(path, "the end of a zip archive", "found none: the file is truncated or damaged");
  const endAt = size - tail.length + at;
  const short = {
    count: tail.readUInt16LE(at + 10),
    size: tail.readUInt32LE(at + 12),
    start: tail.readUInt32LE(at + 16),
  };
  const disks = tail.readUInt16LE(at + 4) | tail.readUInt16LE(at + 6);
  const needs64 = short.count === inZip64.short || short.size === inZip64.long || short.start === inZip64.long;
  if (disks !== 0 && !needs64) throw torchFault(path, "an archive in one part", "it is part of several");
  const directory = needs64 ? await directory64(archive, endAt) : short;
  if (directory.count > limits.torchEntries)
    throw torchFault(path, `at most ${limits.torchEntries} entries`, `it has ${directory.count}`);
  if (directory.size > limits.torchDirectoryBytes)
    throw torchFault(path, `at most ${limits.torchDirectoryBytes} bytes of a directory`, `it has ${directory.size}`);
  if (directory.start + directory.size > endAt)
    throw torchFault(path, "a directory within the file", `it has ${directory.size} bytes at ${directory.start}`);
  return directory;
}

async function directory64(archive: Archive, endAt: number): Promise<Directory> {
  const { path } = archive;
  const damaged = () => torchFault(path, "a zip64 record before the archive's end", "found none");
  if (endAt < sizes.locator) throw damaged();
  const locator = await readAt(archive, endAt - sizes.locator, sizes.locator);
  const at = uint64(locator, 8);
  if (locator.readUInt32LE(0) !== signatures.locator || at + sizes.end64 > endAt - sizes.locator) throw damaged();
  const record = await readAt(archive, at, sizes.end64);
  if (record.readUInt32LE(0) !== signatures.end64) throw damaged();
  return { count: uint64(record, 32), size: uint64(record, 40), start: uint64(record, 48) };
}

/** Size and start of an entry whose fields of 32 bits may refer to the extra field of zip64. */
function extents(path: string, name: string, fields: Buffer, extra: Buffer) {
  const wanted = { packed: fields.readUInt32LE(20), size: fields.readUInt32LE(24), start: fields.readUInt32LE(42) };
  for (let at = 0; at + 4 <= extra.length; ) {
    const [id, length] = [extra.readUInt16LE(at), extra.readUInt16LE(at + 2)];
    const next = at + 4 + length;
    if (next > extra.length) break;
    if (id === 1) {
      let place = at + 4;
      for (const field of ["size", "packed", "start"] as const)
        if (wanted[field] === inZip64.long) {
          if (place + 8 > next) throw torchFault(path, `the sizes of ${quoted(name)}`, "its zip64 field is too short");
          wanted[field] = uint64(extra, place);
          place += 8;
        }
      break;
    }
    at = next;
  }
  return wanted;
}

/**
 * The entries of an archive by name.
 * @throws RubricateError ERR_TORCH_FILE if two have one name or overlap, or one is compressed or lies beyond the file
 */
export async function readZip(archive: Archive): Promise<Map<string, ZipEntry>> {
  const { path } = archive;
  const directory = await findDirectory(archive);
  const bytes = await readAt(archive, directory.start, directory.size);
  const found: { name: string; crc: number; size: number; start: number; least: number }[] = [];
  for (let at = 0, left = directory.count; left > 0; left--) {
    const fits = at + sizes.entry <= bytes.length && bytes.readUInt32LE(at) === signatures.entry;
    if (!fits)
      throw torchFault(path, `${directory.count} entries`, `its directory ends after ${directory.count - left}`);
    const fields = bytes.subarray(at, at + sizes.entry);
    const [flags, method] = [fields.readUInt16LE(8), fields.readUInt16LE(10)];
    const nameEnd = at + sizes.entry + fields.readUInt16LE(28);
    const extraEnd = nameEnd + fields.readUInt16LE(30);
    if (extraEnd > bytes.length) throw torchFault(path, "whole entries", "its directory is truncated");
    const name = bytes.toString("utf8", at + sizes.entry, nameEnd);
    const { packed, size, start } = extents(path, name, fields, bytes.subarray(nameEnd, extraEnd));
    if (method !== 0 || packed !== size)
      throw torchFault(
        path,
        "entries without compression, as torch.save writes them,",
        `${quoted(name)} is compressed`,
      );
    if ((flags & 1) !== 0) throw torchFault(path, "entries without encryption", `${quoted(name)} is encrypted`);
    found.push({ name, crc: fields.readUInt32LE(16), size, start, least: sizes.local + (nameEnd - at - sizes.entry) });
    at = extraEnd + fields.readUInt16LE(32);
  }
  found.sort((a, b) => a.start - b.start);
  const entries = new Map<string, ZipEntry>();
  for (const [index, { name, crc, size, start, least }] of found.entries()) {
    const end = found[index + 1]?.start ?? directory.start;
    if (start + least + size > end)
      throw torchFault(
        path,
        "entries that do not overlap",
        `${quoted(name)} with ${size} bytes at ${start} goes beyond ${end}`,
      );
    if (entries.has(name)) throw torchFault(path, "names of entries that differ", `${quoted(name)} is there twice`);
    entries.set(name, { name, crc, size, start, end });
  }
  return entries;
}

/**
 * The bytes of an entry from `from` to `to`; all of them are read, in pieces, to check their sum.
 * @throws RubricateError ERR_FILE, ERR_TORCH_FILE
 */
export async function readEntry(archive: Archive, entry: ZipEntry, from = 0, to = entry.size): Promise<Buffer> {
  const { path } = archive;
  const { name, size, start, end } = entry;
  const header = await readAt(archive, start, sizes.local);
  const dataAt = start + sizes.local + header.readUInt16LE(26) + header.readUInt16LE(28);
  if (header.readUInt32LE(0) !== signatures.local || dataAt + size > end)
    throw torchFault(path, `${size} bytes of ${quoted(name)} at ${start}`, "its header is damaged");
  const wanted = Buffer.alloc(to - from);
  let sum = 0;
  for (let at = 0; at < size; at += pieceBytes) {
    const piece = await readAt(archive, dataAt + at, Math.min(pieceBytes, size - at));
    sum = crc32(piece, sum);
    const [first, last] = [Math.max(from, at), Math.min(to, at + piece.length)];
    if (first < last) piece.copy(wanted, first - from, first - at, last - at);
  }
  if (sum !== entry.crc)
    throw torchFault(path, `the sum (CRC-32) ${hex(entry.crc)} of ${quoted(name)}`, `its bytes have ${hex(sum)}`);
  return wanted;
}

const hex = (sum: number) => sum.toString(16).padStart(8, "0");

/** Like `readEntry`, for an entry that must be small. */
export function readSmallEntry(archive: Archive, entry: ZipEntry, most: number): Promise<Buffer> {
  if (entry.size > most)
    throw torchFault(archive.path, `at most ${most} bytes of ${quoted(entry.name)}`, `it has ${entry.size}`);
  return readEntry(archive, entry);
}

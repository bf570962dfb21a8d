/**
 * Keeps the indexes of large files on disk, so that a run does not tokenise a file that an earlier one has indexed. An entry is
 * found by the SHA-256 of the file's bytes and of all that decides how rows are encoded: it is never one of other contents.
 * Whatever goes wrong with the cache, the file is indexed as if there were none.
 */
import { createHash, randomBytes } from "node:crypto";
import {
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { endianness, homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { invalid, systemCode } from "../errors";
import { openRegularSync } from "../files/read";
import { limits } from "../limits";
import { packageRoot } from "../package_root";
import type { Tokenizer } from "../tokenizer/tokenizer";
import type { EncodingOptions } from "./encode_row";
import { RowColumns, rowBytes } from "./row_columns";
import type { IndexFacts } from "./types";

/** Raise this whenever the same row may be encoded, counted or reported in another way than before. */
const cacheFormat = 3;
/** Smaller files are indexed within a second. */
export const smallestCached = 1 << 20;

const digestBytes = 32;
const prefixBytes = digestBytes + 8;
const entryName = /^[0-9a-f]{64}\.index$/;
const stagedName = /^\.[0-9a-f]{64}\.[0-9a-f]{12}\.new$/;
const abandonedAfterMs = 3600_000;

/**
 * The folder of the cache: $RUBRICATE_CACHE, $XDG_CACHE_HOME/rubricate or ~/.cache/rubricate.
 * @returns undefined where there is to be none
 * @throws RubricateError ERR_ARGUMENT
 */
export function cacheFolder(): string | undefined {
  const given = process.env.RUBRICATE_CACHE;
  if (given === "none") return undefined;
  if (given) {
    if (!isAbsolute(given)) throw invalid("RUBRICATE_CACHE", 'an absolute path or "none"', given);
    return given;
  }
  const caches = process.env.XDG_CACHE_HOME;
  if (caches && isAbsolute(caches)) return join(caches, "rubricate"); // a relative one is to be ignored, by its specification
  try {
    return join(homedir(), ".cache", "rubricate");
  } catch {
    return undefined; // a user without a home
  }
}

/**
 * The name of the index of a file.
 * @param contents SHA-256 of the file's bytes, and how it is cut into rows
 * @returns undefined where the same rows may be encoded differently another day
 */
export function indexKey(
  contents: readonly string[],
  tokenizer: Tokenizer,
  options: EncodingOptions,
): string | undefined {
  if (JSON.stringify(tokenizer.parts.chatTemplates ?? "").includes("strftime_now")) return undefined;
  const { format, maxLength, loss, vocabularySize = null } = options;
  const code = [cacheFormat, packageRoot().version, process.versions.unicode, endianness()];
  const encoding = [tokenizer.hash, tokenizer.eosTokenIds, format, maxLength, loss, vocabularySize];
  return createHash("sha256")
    .update(JSON.stringify([code, encoding, contents]))
    .digest("hex");
}

/** An index as it is kept. */
export interface StoredIndex {
  readonly facts: IndexFacts;
  readonly columns: RowColumns;
}

/** Entries are files of one folder. Processes may share it: a file appears whole and is never changed. */
export class IndexCache {
  private readonly folder: string;

  /** @param root as `cacheFolder` returns it */
  constructor(root: string) {
    this.folder = join(root, "indexes");
  }

  /** @returns undefined where there is no entry, or none that can be used */
  read(key: string): StoredIndex | undefined {
    const path = this.pathOf(key);
    try {
      const bytes = ownFile(path);
      const stored = bytes && parsed(bytes, key);
      if (stored) utimesSync(path, new Date(), new Date()); // the oldest go first
      return stored;
    } catch {
      return undefined;
    }
  }

  /** Adds an entry, and removes the oldest ones where all together are too large. */
  write(key: string, stored: StoredIndex): void {
    const staged = join(this.folder, `.${key}.${randomBytes(6).toString("hex")}.new`);
    try {
      const pieces = serialized(key, stored);
      if (pieces.reduce((sum, { length }) => sum + length, 0) > limits.indexCacheBytes) return;
      makeFolders(this.folder);
      writeOwnFile(staged, pieces);
      renameSync(staged, this.pathOf(key));
      this.prune(key);
    } catch {
      removeQuietly(staged);
    }
  }

  remove(key: string): void {
    removeQuietly(this.pathOf(key));
  }

  private pathOf(key: string): string {
    return join(this.folder, `${key}.index`);
  }

  /** @param newest the entry that stays */
  private prune(newest: string): void {
    const files = readdirSync(this.folder).flatMap((name) => {
      const path = join(this.folder, name);
      const status = statSync(path, { throwIfNoEntry: false });
      return status?.isFile() ? [{ name, path, size: status.size, time: status.mtimeMs }] : [];
    });
    for (const { name, path, time } of files)
      if (stagedName.test(name) && time < Date.now() - abandonedAfterMs) rmSync(path, { force: true });
    const entries = files.filter(({ name }) => entryName.test(name)).sort((a, b) => a.time - b.time);
    let total = entries.reduce((sum, { size }) => sum + size, 0);
    for (const { name, path, size } of entries) {
      if (total <= limits.indexCacheBytes) return;
      if (name === `${newest}.index`) continue;
      rmSync(path, { force: true });
      total -= size;
    }
  }
}

function removeQuietly(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // a folder that cannot be written, or is none
  }
}

/** Like `mkdirSync` with `recursive`, which never returns where a file system reports an existing parent as missing. */
function makeFolders(path: string): void {
  const make = () => mkdirSync(path, { mode: 0o700 });
  try {
    make();
  } catch (error) {
    if (systemCode(error) === "EEXIST") return;
    if (systemCode(error) !== "ENOENT" || dirname(path) === path) throw error;
    makeFolders(dirname(path));
    make();
  }
}

/** @returns undefined where others could have written the file, or it is larger than any entry */
function ownFile(path: string): ArrayBuffer | undefined {
  const { descriptor, size } = openRegularSync(path);
  try {
    const { uid, mode } = fstatSync(descriptor);
    const isOwn = process.getuid === undefined || (uid === process.getuid() && (mode & 0o022) === 0);
    if (!isOwn || size > limits.indexCacheBytes || size < prefixBytes) return undefined;
    const bytes = Buffer.from(new ArrayBuffer(size));
    for (let filled = 0; filled < size; ) {
      const read = readSync(descriptor, bytes, filled, size - filled, filled);
      if (read === 0) return undefined;
      filled += read;
    }
    return bytes.buffer as ArrayBuffer;
  } finally {
    closeSync(descriptor);
  }
}

function writeOwnFile(path: string, pieces: readonly Uint8Array[]): void {
  const descriptor = openSync(path, "wx", 0o600);
  try {
    for (const piece of pieces)
      for (let written = 0; written < piece.length; )
        written += writeSync(descriptor, piece, written, piece.length - written);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** SHA-256 of the rest, length of the facts as a number of 8 bytes, the facts as JSON, the columns. */
function serialized(key: string, { facts, columns }: StoredIndex): Uint8Array[] {
  const text = JSON.stringify({ key, rows: columns.count, facts });
  const header = Buffer.from(text + " ".repeat((8 - (Buffer.byteLength(text) % 8)) % 8));
  const length = Buffer.alloc(8);
  length.writeUInt32LE(header.length);
  const rest = [length, header, ...columns.pieces()];
  const hash = createHash("sha256");
  for (const piece of rest) hash.update(piece);
  return [hash.digest(), ...rest];
}

function parsed(buffer: ArrayBuffer, key: string): StoredIndex | undefined {
  const bytes = Buffer.from(buffer);
  const rest = bytes.subarray(digestBytes);
  if (!createHash("sha256").update(rest).digest().equals(bytes.subarray(0, digestBytes))) return undefined;
  const start = prefixBytes + rest.readUInt32LE();
  if (start > bytes.length) return undefined;
  const header: { key: string; rows: number; facts: IndexFacts } = JSON.parse(
    bytes.toString("utf8", prefixBytes, start),
  );
  if (header.key !== key || header.rows * rowBytes !== bytes.length - start) return undefined;
  return { facts: header.facts, columns: new RowColumns(buffer, start, header.rows) };
}

import { createHash } from "node:crypto";
import { closeSync, readSync } from "node:fs";
import { crc32 } from "node:zlib";
import { type ErrorCode, RubricateError } from "../errors";
import { cannotRead, openRegularSync } from "../files/read";
import { limits } from "../limits";
import { atOnce, type Steps } from "../steps";
import type { Tokenizer } from "../tokenizer/tokenizer";
import { type EncodedRow, type EncodingOptions, encodeValue } from "./encode_row";
import { type IndexCache, indexKey, smallestCached } from "./index_cache";
import { isBlank } from "./line_scanner";
import { RowColumns } from "./row_columns";
import { type RowFormat, type RowFormatName, rowFormatOf } from "./row_format";
import { RowReports } from "./row_reports";
import { UnusableRow } from "./rows";
import type { Example, IndexFacts, IndexProgress, IndexSummary } from "./types";
import { UnknownTokens } from "./unknown_tokens";

/** What is remembered of tokenised rows: 4 bytes a token and about 64 tokens' worth of bookkeeping a row, 20 MiB. */
const remembered = 2 ** 22;
const bookkeeping = 64;
/** Rows that exceed the template's limits before any row can be used, at most. */
const hopelessRows = 16;

/** Where lines come from. */
export interface RowSource {
  readonly name: string;
  readonly size: number;
  /** @returns the number of bytes read, 0 at the end */
  read(into: Buffer, offset: number): number;
  close(): void;
  /** Better reasons than the text gives, by line. */
  readonly reasons?: ReadonlyMap<number, string>;
}

/** A file, kept open. */
export function fileSource(path: string): RowSource {
  const { descriptor, size } = openRegularSync(path);
  if (size === 0 && readSync(descriptor, Buffer.alloc(1), 0, 1, 0) > 0) {
    closeSync(descriptor); // such as in /proc
    throw new RubricateError("ERR_FILE", `Expected a file of known size at ${path}: save its contents as a file`);
  }
  return {
    name: path,
    size,
    read(into, offset) {
      try {
        return readSync(descriptor, into, 0, into.length, offset);
      } catch (error) {
        throw cannotRead(path, error);
      }
    },
    close: () => closeSync(descriptor),
  };
}

/** Rows in memory, one JSON document a line. */
export function memorySource(bytes: Buffer, reasons: ReadonlyMap<number, string> = new Map()): RowSource {
  return {
    reasons,
    name: "the rows",
    size: bytes.length,
    read: (into, offset) => bytes.copy(into, 0, offset),
    close: () => {},
  };
}

/**
 * Rows of a source by number. One pass keeps 32 bytes a row (place, size, checksum, line, counts, largest id); a row is read and
 * tokenised again at each request, unless it is among the first, which are kept.
 */
export class RowIndex {
  private readonly format: RowFormat;
  private readonly unknown: UnknownTokens;
  private columns = new RowColumns();
  private readonly known = new Map<number, EncodedRow>();
  private knownTokens = 0;
  private tokenCount = 0;
  private supervisedTokenCount = 0;
  private chatRows = 0;
  private readonly reports = new RowReports();
  /** Removes the cache's entry, where the index is from one. */
  private forget: (() => void) | undefined;
  /** The first error of a template. */
  private templateError: RubricateError | undefined;
  private rowsOverLimit = 0;
  /** Rows that have a field which the template does not write, by its name. */
  private readonly ignored = new Map<string, number>();

  constructor(
    private readonly source: RowSource,
    private readonly tokenizer: Tokenizer,
    private readonly options: EncodingOptions,
    private readonly layout: RowFormatName = "jsonl",
    private readonly strict = false,
  ) {
    this.unknown = new UnknownTokens(tokenizer);
    this.format = rowFormatOf(layout, source);
  }

  /**
   * Reads and tokenises everything once, or takes the index of the same contents from the cache.
   * @throws {RubricateError} ERR_DATA where no row can be used or the file changes meanwhile; ERR_FILE; ERR_TEMPLATE
   */
  build(onProgress: (progress: IndexProgress) => void, cache?: IndexCache): IndexSummary {
    return atOnce(this.steps(onProgress, cache));
  }

  /** The same, row by row. */
  *steps(onProgress: (progress: IndexProgress) => void, cache?: IndexCache): Steps<IndexSummary> {
    const { source, tokenizer, options } = this;
    if (!cache || source.size < smallestCached) return this.summary(yield* this.scan(onProgress));
    const contentHash = yield* hashOf(source);
    const key = indexKey([contentHash, this.layout], tokenizer, options);
    if (key === undefined) return this.summary(yield* this.scan(onProgress));
    const stored = cache.read(key);
    if (stored) {
      if (this.strict) requireNoSkipped(source, stored.facts);
      this.columns = stored.columns;
      this.forget = () => cache.remove(key);
      return this.summary(stored.facts);
    }
    const facts = yield* this.scan(onProgress);
    if (facts.contentHash !== contentHash) throw changed(source);
    cache.write(key, { facts, columns: this.columns });
    return this.summary(facts);
  }

  private summary(facts: IndexFacts): IndexSummary {
    const { lengths, supervisedCounts, highestIds } = this.columns;
    return {
      ...facts,
      lengths: lengths.copy(),
      supervisedCounts: supervisedCounts.copy(),
      highestIds: highestIds.copy(),
    };
  }

  private *scan(onProgress: (progress: IndexProgress) => void): Steps<IndexFacts> {
    const { source } = this;
    const hash = createHash("sha256");
    const { reports } = this;
    let bytes = 0;
    const onChunk = (chunk: Buffer) => {
      hash.update(chunk);
      bytes += chunk.length;
    };
    for (const line of this.format.scan(onChunk)) {
      if (!line.bytes) this.skip(line.number, `the line is longer than ${limits.lineBytes} bytes`);
      else if (!isBlank(line.bytes)) this.add(line.offset, line.bytes, line.number);
      onProgress({ bytes, totalBytes: source.size, rows: this.columns.count });
      yield;
    }
    if (bytes !== source.size) throw changed(source);
    if (this.columns.count === 0) throw unusable(source, reports, this.templateError?.code ?? "ERR_DATA");
    return {
      tokenCount: this.tokenCount,
      supervisedTokenCount: this.supervisedTokenCount,
      reports: reports.first,
      reportCounts: reports.counts,
      reportReasons: reports.reasons,
      notices: this.notices(),
      chatRows: this.chatRows,
      contentHash: hash.digest("hex"),
      layout: this.layout,
    };
  }

  /** @throws {RubricateError} ERR_DATA where every row has to be usable */
  private skip(line: number, reason: string): void {
    if (this.strict) throw unusableRow(this.source, line, reason);
    this.reports.add(line, "skipped", reason);
  }

  private notices(): string[] {
    const ignored = [...this.ignored].map(
      ([name, rows]) =>
        `${rows} ${rows === 1 ? "row has" : "rows have"} "${name}", which the chat template does not write`,
    );
    return [...ignored, ...this.unknown.notices()];
  }

  /** Rows of a template that never ends take long each: the first few decide whether that concerns every row. */
  private checkTemplate({ cause, exceedsLimit }: UnusableRow, line: number): void {
    if (!(cause instanceof RubricateError)) return;
    this.templateError ??= cause;
    if (exceedsLimit && this.columns.count === 0 && ++this.rowsOverLimit === hopelessRows)
      throw new RubricateError(cause.code, `line ${line} and all lines before it: ${cause.message}`, { cause });
  }

  private add(offset: number, bytes: Buffer, number: number): void {
    let row: EncodedRow;
    let value: unknown;
    try {
      value = this.format.value(bytes);
      row = encodeValue(value, this.tokenizer, this.options);
    } catch (error) {
      if (!(error instanceof UnusableRow)) {
        if (!(error instanceof RubricateError)) throw error;
        throw new RubricateError(error.code, `line ${number}: ${error.message}`, { cause: error }); // concerns every row
      }
      this.checkTemplate(error, number);
      const reason = this.source.reasons?.get(number) ?? error.message;
      this.skip(number, reason);
      return;
    }
    const length = row.tokenIds.length;
    this.unknown.add(number, row, value);
    if (row.truncated) this.reports.add(number, "truncated", `it was truncated to its first ${length} tokens`);
    for (const name of row.ignored) this.ignored.set(name, (this.ignored.get(name) ?? 0) + 1);
    const { supervisedCount, highestId } = row;
    const checksum = crc32(bytes);
    this.columns.push({ offset, size: bytes.length, checksum, line: number, length, supervisedCount, highestId });
    this.tokenCount += length;
    this.supervisedTokenCount += supervisedCount;
    if (row.isChat) this.chatRows++;
    this.remember(this.columns.count - 1, row);
  }

  /** @throws {RubricateError} ERR_DATA where the row is no longer what was indexed */
  example(index: number): Example {
    const row = this.known.get(index) ?? this.readAgain(index);
    return { tokenIds: row.tokenIds, supervised: row.supervised, line: this.columns.lines.at(index) };
  }

  private encode(bytes: Buffer): EncodedRow {
    return encodeValue(this.format.value(bytes), this.tokenizer, this.options);
  }

  private readAgain(index: number): EncodedRow {
    const bytes = Buffer.allocUnsafe(this.columns.sizes.at(index));
    let filled = 0;
    while (filled < bytes.length) {
      const read = this.source.read(bytes.subarray(filled), this.columns.offsets.at(index) + filled);
      if (read === 0) throw changed(this.source);
      filled += read;
    }
    if (crc32(bytes) !== this.columns.checksums.at(index)) throw changed(this.source);
    const row = this.encode(bytes);
    if (this.forget) this.checkCached(index, row);
    return row;
  }

  /** An index of the cache has to be that of this row, or the plan of the run would be one of other rows. */
  private checkCached(index: number, row: EncodedRow): void {
    const { lengths, supervisedCounts, lines } = this.columns;
    if (row.tokenIds.length === lengths.at(index) && row.supervisedCount === supervisedCounts.at(index)) {
      this.remember(index, row);
      return;
    }
    this.forget!();
    throw new RubricateError(
      "ERR_DATA",
      `${this.source.name}: line ${lines.at(index)} has other tokens than in the index that was kept of it, which is now ` +
        "removed; load the data again",
    );
  }

  /** Epochs visit every row once, so that keeping the first is better than keeping the latest. */
  private remember(index: number, row: EncodedRow): void {
    const cost = row.tokenIds.length + bookkeeping;
    if (this.knownTokens + cost > remembered) return;
    this.knownTokens += cost;
    this.known.set(index, row);
  }
}

function unusableRow(source: RowSource, line: number, reason: string): RubricateError {
  return new RubricateError("ERR_DATA", `${source.name}: line ${line} cannot be used: ${reason}`);
}

/** For an index from the cache, whose rows may have been skipped when it was made. */
function requireNoSkipped(source: RowSource, { reportReasons }: IndexFacts): void {
  const [first] = reportReasons.filter(({ kind }) => kind === "skipped").sort((a, b) => a.lines[0]! - b.lines[0]!);
  if (first) throw unusableRow(source, first.lines[0]!, first.reason);
}

/** SHA-256 of all bytes, in hexadecimal. */
function* hashOf(source: RowSource): Steps<string> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(1 << 20);
  let position = 0;
  for (let read = source.read(buffer, 0); read > 0; read = source.read(buffer, position)) {
    hash.update(buffer.subarray(0, read));
    position += read;
    yield;
  }
  if (position !== source.size) throw changed(source);
  return hash.digest("hex");
}

function changed(source: RowSource): RubricateError {
  return new RubricateError("ERR_DATA", `${source.name} changed while it was in use; load it again`);
}

function unusable(source: RowSource, reports: RowReports, code: ErrorCode): RubricateError {
  const { skipped } = reports.counts;
  if (skipped === 0) return new RubricateError("ERR_DATA", `${source.name} holds no rows`);
  const first = reports.first.slice(0, 3).map(({ line, reason }) => `line ${line}: ${reason}`);
  return new RubricateError(code, `${source.name}: none of ${skipped} rows can be used; ${first.join("; ")}`);
}

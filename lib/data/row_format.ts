/** How a source is cut into rows, and what a row's bytes say. */
import { limits } from "../limits";
import { columnsOf, rowOf, scanRecords } from "./csv";
import { parsedRow } from "./encode_row";
import { scanElements } from "./json_elements";
import { type Line, scanLines } from "./line_scanner";

/** JSON Lines; one JSON array; comma-separated values with a header. */
export type RowFormatName = "jsonl" | "array" | "csv";

interface Source {
  readonly name: string;
  read(into: Buffer, offset: number): number;
}

export interface RowFormat {
  /** All rows, whose bytes are undefined where they are too many. @throws {RubricateError} ERR_DATA */
  scan(onChunk: (chunk: Buffer) => void): Iterable<Line>;
  /** @throws {UnusableRow} */
  value(bytes: Uint8Array): unknown;
}

/** @throws {RubricateError} ERR_FILE, ERR_DATA */
export function rowFormatOf(name: RowFormatName, source: Source): RowFormat {
  const read = (into: Buffer, offset: number) => source.read(into, offset);
  const most = limits.lineBytes;
  switch (name) {
    case "jsonl":
      return { scan: (onChunk) => scanLines(read, most, onChunk), value: parsedRow };
    case "array":
      return { scan: (onChunk) => scanElements(source.name, read, most, onChunk), value: parsedRow };
    case "csv": {
      let columns: readonly string[] | undefined; // read at the first row, so that a source without any says so
      const header = () => {
        const [first] = firstOf(scanRecords(source.name, read, most));
        return columnsOf(source.name, first?.bytes);
      };
      return {
        *scan(onChunk) {
          for (const record of scanRecords(source.name, read, most, onChunk)) {
            if (columns === undefined) columns = columnsOf(source.name, record.bytes);
            else yield record;
          }
        },
        value(bytes) {
          columns ??= header();
          return rowOf(bytes, columns);
        },
      };
    }
  }
}

function firstOf<T>(all: Iterable<T>): T[] {
  for (const one of all) return [one];
  return [];
}

/** The format of a file by its name, and of a .json file by what it begins with: it may have rows in lines, too. */
export function formatOfFile(path: string, source: Source): RowFormatName {
  if (/\.csv$/i.test(path)) return "csv";
  if (!/\.json$/i.test(path)) return "jsonl";
  const bytes = Buffer.alloc(1 << 12);
  const text = bytes.toString("utf8", 0, source.read(bytes, 0));
  return /^\ufeff?\s*\[/.test(text) ? "array" : "jsonl";
}

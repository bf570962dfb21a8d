/** Comma-separated values with a header, by RFC 4180: CRLF or LF, fields in quotation marks may have commas and newlines. */
import { quoted, RubricateError } from "../errors";
import { setField } from "../files/exact_values";
import { type Line, PartialLine, readChunks } from "./line_scanner";
import { UnusableRow } from "./rows";

const newline = 0x0a;
const quote = 0x22;
const comma = 0x2c;

/** Columns that make a row, see docs/data-formats.md. */
const shapes = [["prompt", "completion"], ["text"], ["instruction", "output"]];

/**
 * Records of a file, the header first. `number` is the line that a record begins at.
 * @param name the file's, for messages
 * @param maxLength bytes of a record that are kept
 * @throws {RubricateError} ERR_DATA where a quotation mark is never closed: what follows it is one record
 */
export function* scanRecords(
  name: string,
  read: (into: Buffer, offset: number) => number,
  maxLength: number,
  onChunk: (chunk: Buffer) => void = () => {},
): Generator<Line> {
  const record = new PartialLine(maxLength);
  let line = 1;
  let number = 1;
  /** Only where a field begins does a quotation mark open one; after one that closes it, it opens it again. */
  let state: "begins" | "plain" | "quoted" | "closed" = "begins";
  let openedAt = 0;
  for (const { chunk, start: first, position } of readChunks(read, onChunk)) {
    let start = first;
    if (position === 0) record.offset = first;
    for (let at = first; at < chunk.length; at++) {
      const byte = chunk[at]!;
      if (byte === newline) line++;
      if (state === "quoted") {
        if (byte === quote) state = "closed";
        continue;
      }
      if (byte === quote && state !== "plain") {
        if (state === "begins") openedAt = line;
        state = "quoted";
        continue;
      }
      state = byte === comma || byte === newline ? "begins" : "plain";
      if (byte !== newline) continue;
      record.add(chunk.subarray(start, at));
      yield { offset: record.offset, bytes: record.take(), number };
      number = line;
      start = at + 1;
      record.offset = position + start;
    }
    record.add(Buffer.from(chunk.subarray(start)));
  }
  if (state === "quoted")
    throw new RubricateError(
      "ERR_DATA",
      `Expected a quotation mark that closes the one at line ${openedAt} of ${name}`,
    );
  if (record.length > 0) yield { offset: record.offset, bytes: record.take(), number };
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The fields of a record. @throws {UnusableRow} */
export function fieldsOf(record: Uint8Array): string[] {
  let text: string;
  try {
    text = utf8.decode(record);
  } catch {
    throw new UnusableRow("not valid UTF-8");
  }
  const fields: string[] = [];
  for (let at = 0; ; ) {
    let field = "";
    let end: number;
    if (text.charCodeAt(at) === quote) {
      [field, end] = quotedField(text, at, fields.length + 1);
    } else {
      end = text.indexOf(",", at);
      if (end < 0) end = text.length;
      field = text.slice(at, end);
      if (field.includes('"'))
        throw new UnusableRow(`field ${fields.length + 1} has a quotation mark but does not begin with one`);
    }
    fields.push(field);
    if (end >= text.length) return fields;
    at = end + 1;
  }
}

/** @returns the field that begins with a quotation mark, and the place behind it */
function quotedField(text: string, start: number, number: number): [field: string, end: number] {
  let field = "";
  for (let at = start + 1; ; ) {
    const end = text.indexOf('"', at);
    if (end < 0) throw new UnusableRow(`field ${number} has no closing quotation mark`);
    field += text.slice(at, end);
    if (text.charCodeAt(end + 1) !== quote) {
      if (end + 1 < text.length && text.charCodeAt(end + 1) !== comma)
        throw new UnusableRow(`field ${number} has text after its closing quotation mark`);
      return [field, end + 1];
    }
    field += '"';
    at = end + 2;
  }
}

/** @throws {RubricateError} ERR_DATA where the header does not name the columns of a row */
export function columnsOf(name: string, header: Uint8Array | undefined): readonly string[] {
  const fail = (reason: string) => new RubricateError("ERR_DATA", `${name}: line 1, the header: ${reason}`);
  let columns: string[];
  try {
    if (!header) throw new UnusableRow("it is too long");
    columns = fieldsOf(header);
  } catch (error) {
    throw error instanceof UnusableRow ? fail(error.message) : error;
  }
  const twice = columns.find((column, at) => columns.indexOf(column) < at);
  if (twice !== undefined) throw fail(`it has the column ${quoted(twice)} twice`);
  if (!shapes.some((shape) => shape.every((column) => columns.includes(column))))
    throw fail(
      "expected the columns prompt and completion, or text, or instruction, input and output, separated by commas, but found " +
        columns.slice(0, 20).map(quoted).join(", "),
    );
  return columns;
}

/** A record as a row. @throws {UnusableRow} */
export function rowOf(record: Uint8Array, columns: readonly string[]): object {
  const fields = fieldsOf(record);
  if (fields.length !== columns.length)
    throw new UnusableRow(`it has ${fields.length} fields, but the header has ${columns.length}`);
  const row: Record<string, unknown> = {};
  for (const [at, column] of columns.entries()) setField(row, column, fields[at]!);
  return row;
}

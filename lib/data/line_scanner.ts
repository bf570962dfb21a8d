/** A line of a file, or what else is one row. */
export interface Line {
  /** Place of its first byte in the file. */
  readonly offset: number;
  /** Its bytes without the end of line; undefined where it is longer than allowed. Valid until the next line is read. */
  readonly bytes: Buffer | undefined;
  /** 1-based. */
  readonly number: number;
}

const chunkLength = 1 << 20;

/** A part of a file. Valid until the next one is read. */
interface Chunk {
  readonly chunk: Buffer;
  /** Place of its first byte in the file. */
  readonly position: number;
  /** Where its text begins: behind a UTF-8 byte-order mark. */
  readonly start: number;
}

/** A file in chunks of 1 MiB. */
export function* readChunks(
  read: (into: Buffer, offset: number) => number,
  onChunk: (chunk: Buffer) => void,
): Generator<Chunk> {
  const buffer = Buffer.allocUnsafe(chunkLength);
  for (let position = 0; ; ) {
    const length = read(buffer, position);
    if (length === 0) return;
    const chunk = buffer.subarray(0, length);
    onChunk(chunk);
    // A mark that is split over two reads would need a file that gives less than three bytes in one read.
    const marked = position === 0 && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf;
    yield { chunk, position, start: marked ? 3 : 0 };
    position += length;
  }
}
const newline = 0x0a;
const carriageReturn = 0x0d;

/**
 * Lines of a file, read in chunks of 1 MiB; a line may be longer than a chunk. A UTF-8 byte-order mark at the beginning
 * belongs to no line. Blank lines are given as well, so that numbers stay right.
 * @param read fills a buffer with what is at an offset and returns the number of bytes, 0 at the end
 * @param onChunk called with every chunk, in order
 * @param maxLength bytes of a line that are kept
 */
export function* scanLines(
  read: (into: Buffer, offset: number) => number,
  maxLength: number,
  onChunk: (chunk: Buffer) => void = () => {},
): Generator<Line> {
  let number = 1;
  const line = new PartialLine(maxLength);
  for (const { chunk, position, start: first } of readChunks(read, onChunk)) {
    let start = first;
    if (position === 0) line.offset = first;
    for (let end = chunk.indexOf(newline, start); end >= 0; end = chunk.indexOf(newline, start)) {
      line.add(chunk.subarray(start, end));
      yield { offset: line.offset, bytes: line.take(), number: number++ };
      start = end + 1;
      line.offset = position + start;
    }
    line.add(Buffer.from(chunk.subarray(start)));
  }
  if (line.length > 0) yield { offset: line.offset, bytes: line.take(), number };
}

/** A row that may go on in the next chunk. */
export class PartialLine {
  private parts: Buffer[] = [];
  length = 0;
  offset = 0;

  constructor(private readonly maxLength: number) {}

  add(part: Buffer): void {
    this.length += part.length;
    if (this.length > this.maxLength) this.parts = [];
    else if (part.length > 0) this.parts.push(part);
  }

  take(): Buffer | undefined {
    const { parts, length } = this;
    this.parts = [];
    this.length = 0;
    if (length > this.maxLength) return undefined;
    const bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    return bytes.at(-1) === carriageReturn ? bytes.subarray(0, -1) : bytes;
  }
}

/** Whether a line holds nothing but blanks and tabs. */
export function isBlank(line: Buffer): boolean {
  for (const byte of line) if (byte !== 0x20 && byte !== 0x09) return false;
  return true;
}

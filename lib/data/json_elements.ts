/** The elements of a file that is one JSON array, as rows. */
import { RubricateError } from "../errors";
import { type Line, PartialLine, readChunks } from "./line_scanner";

const newline = 0x0a;
const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const [openArray, closeArray, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];
const isSpace = (byte: number) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d && byte !== 0x0b && byte !== 0x0c);

/** Where in the array the scanner is. */
type State = "start" | "first" | "value" | "within" | "scalar" | "after" | "end";

/** What is open at a place within an element: arrays and objects, or a string. */
class Nesting {
  private depth = 0;
  private inString = false;
  private escaped = false;

  /** Takes an element's first byte. @returns whether a bracket or a quotation mark ends the element */
  begin(byte: number): boolean {
    this.inString = byte === quote;
    this.depth = byte === openArray || byte === openObject ? 1 : 0;
    return this.depth > 0 || this.inString;
  }

  /** Takes a later byte. @returns whether it ends the element */
  endsWith(byte: number): boolean {
    if (this.inString) {
      if (this.escaped) this.escaped = false;
      else if (byte === backslash) this.escaped = true;
      else if (byte === quote) this.inString = false;
    } else if (byte === quote) this.inString = true;
    else if (byte === openArray || byte === openObject) this.depth++;
    else if (byte === closeArray || byte === closeObject) this.depth--;
    return this.depth <= 0 && !this.inString;
  }
}

/**
 * Elements of an array. `number` is an element's place in the array, from 1. An element is cut out by its brackets and quotation
 * marks; whether it is JSON is seen when it is parsed.
 * @param name the file's, for messages
 * @param maxLength bytes of an element that are kept
 * @throws {RubricateError} ERR_DATA where the file is not one array
 */
export function* scanElements(
  name: string,
  read: (into: Buffer, offset: number) => number,
  maxLength: number,
  onChunk: (chunk: Buffer) => void,
): Generator<Line> {
  const element = new PartialLine(maxLength);
  const nesting = new Nesting();
  let state = "start" as State;
  let number = 1;
  let line = 1;
  const fault = (expected: string) =>
    new RubricateError(
      "ERR_DATA",
      `Expected ${expected} in the array of ${name} at line ${line}, after ${number - 1} rows`,
    );
  for (const { chunk, start: first, position } of readChunks(read, onChunk)) {
    let start = first;
    for (let at = first; at < chunk.length; at++) {
      const byte = chunk[at]!;
      if (byte === newline) line++;
      if (state === "within") {
        if (!nesting.endsWith(byte)) continue;
        element.add(chunk.subarray(start, at + 1));
        yield { offset: element.offset, bytes: element.take(), number: number++ };
        state = "after";
        continue;
      }
      if (state === "scalar") {
        if (!isSpace(byte) && byte !== comma && byte !== closeArray) continue;
        element.add(chunk.subarray(start, at));
        yield { offset: element.offset, bytes: element.take(), number: number++ };
        state = "after";
      }
      if (isSpace(byte)) continue;
      if (state === "start") {
        if (byte !== openArray) throw fault('"["');
        state = "first";
      } else if (state === "end") throw fault("nothing more");
      else if (state === "after") {
        if (byte === comma) state = "value";
        else if (byte === closeArray) state = "end";
        else throw fault('"," or "]"');
      } else if (byte === closeArray && state === "first") state = "end";
      else if (byte === comma || byte === closeArray || byte === closeObject) throw fault("a row");
      else {
        start = at;
        element.offset = position + at;
        state = nesting.begin(byte) ? "within" : "scalar";
      }
    }
    if (state === "within" || state === "scalar") element.add(Buffer.from(chunk.subarray(start)));
  }
  if (state !== "end") throw fault('"]"');
}

/**
 * JSON texts too long to parse at one go: found out where the members of an object or array lie, and parsed some at a time
 * by `JSON.parse`, which decides what is valid. Texts are UTF-8.
 */
import { checkShape, JsonLimit } from "../files/json_shape";
import { limits } from "../limits";
import { atOnce } from "../steps";

/** A value, or members of one, within a text. */
export interface Extent {
  readonly start: number;
  readonly end: number;
}

/** The members of an object or array, in runs. */
export interface Members {
  readonly runs: readonly Extent[];
  /** Members in all. */
  readonly count: number;
}

const space = 0x20;
const quote = 0x22;
const comma = 0x2c;
const colon = 0x3a;
const backslash = 0x5c;
const [openArray, closeArray, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];
/** Bytes of a run of members that are parsed together. */
export const runBytes = 1 << 13;
/** A run of short members ends soon after `runBytes`; a longer one holds a long member, and is not parsed at one go. */
const longRun = limits.tokenizerMemberBytes;

const isBlank = (byte: number | undefined) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

/** First place from `start` on that is no whitespace. @throws JsonLimit where that is far away: it is looked for at one go */
export function afterBlanks(bytes: Uint8Array, start: number): number {
  let at = start;
  while (isBlank(bytes[at]))
    if (++at - start > longRun) throw new JsonLimit(`it has more than ${longRun} characters of whitespace in a row`);
  return at;
}

/** Place of the quotation mark that ends the string beginning at `start`, a name. @throws JsonLimit where it is long */
function stringEnd(bytes: Uint8Array, start: number): number {
  let at = start + 1;
  for (; at < bytes.length && bytes[at] !== quote; at++) {
    if (bytes[at] === backslash) at++;
    if (at - start > longRun) throw new JsonLimit(`it has a name of more than ${longRun} bytes`);
  }
  return at;
}

/** Whether a value is an object or an array, by its first character. */
export function kindOf(bytes: Uint8Array, { start }: Extent): "object" | "array" | "other" {
  return bytes[start] === openObject ? "object" : bytes[start] === openArray ? "array" : "other";
}

/**
 * Finds the members of an object or array.
 * @param value begins with its bracket, and ends with it but for white space
 * @param least bytes of a run, the last one aside; with 1, each member is a run
 * @param visit called with each run
 * @returns number of members
 * @throws SyntaxError where brackets or commas are wrong; the members themselves are not checked
 */
export function eachRun(bytes: Uint8Array, value: Extent, least: number, visit: (run: Extent) => void): number {
  const close = bytes[value.start] === openObject ? closeObject : closeArray;
  let count = 0;
  let start = value.start + 1;
  let depth = 0;
  const add = (end: number) => {
    if (afterBlanks(bytes, start) >= end && (count > 0 || bytes[end] === comma))
      throw new SyntaxError("a comma too many");
    visit({ start, end });
    start = end + 1;
  };
  const { end } = value;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte <= space) continue; // most of an indented file
    if (byte === quote) {
      // Most of the rest: a loop of its own, with two comparisons for each byte.
      for (at++; at < end && bytes[at] !== quote; at++) if (bytes[at] === backslash) at++;
    } else if (byte === openObject || byte === openArray) depth++;
    else if (byte === comma && depth === 0) {
      if (at - start >= least) add(at);
      count++;
    } else if ((byte === closeObject || byte === closeArray) && depth-- === 0) {
      if (byte !== close || afterBlanks(bytes, at + 1) < end) break;
      if (count > 0 || afterBlanks(bytes, start) < at) {
        add(at);
        count++;
      }
      return count;
    }
  }
  throw new SyntaxError("a bracket too many or too few");
}

/**
 * Where the members of an object or array are.
 * @param most runs that there may be
 * @throws as `eachRun`, and JsonLimit where there are more
 */
export function membersOf(
  bytes: Uint8Array,
  value: Extent,
  least: number,
  most: number = limits.tokenizerValues,
): Members {
  const runs: Extent[] = [];
  const count = eachRun(bytes, value, least, (run) => {
    if (runs.length === most) throw new JsonLimit(`it has an object of more than ${most} members`);
    runs.push(run);
  });
  return { runs, count };
}

/** Name and value of an object's member. @throws SyntaxError */
export function memberOf(bytes: Buffer, member: Extent): { name: string; value: Extent } {
  const start = afterBlanks(bytes, member.start);
  const end = bytes[start] === quote ? stringEnd(bytes, start) + 1 : start;
  const between = afterBlanks(bytes, end);
  if (end === start || between >= member.end || bytes[between] !== colon) throw new SyntaxError("a name is missing");
  const name = JSON.parse(bytes.toString("utf8", start, end)) as string;
  return { name, value: { start: afterBlanks(bytes, between + 1), end: member.end } };
}

/** The value itself. @throws SyntaxError */
export function valueAt(bytes: Buffer, { start, end }: Extent): unknown {
  return JSON.parse(bytes.toString("utf8", start, end));
}

/** Names and values of a run of an object's members. @throws SyntaxError */
export function namedIn(bytes: Buffer, { start, end }: Extent): [string, unknown][] {
  return Object.entries(JSON.parse(`{${bytes.toString("utf8", start, end)}}`) as object);
}

/** Values of a run of an array's members. @throws SyntaxError */
export function valuesIn(bytes: Buffer, { start, end }: Extent): unknown[] {
  return JSON.parse(`[${bytes.toString("utf8", start, end)}]`) as unknown[];
}

/** Levels down to which long values are taken apart: each level is one more look at all of them. */
const longLevels = 8;

/**
 * Parses a value of any length: what `JSON.parse` makes of it. A long one is parsed in pieces, so that its text is never
 * copied whole.
 * @param values how many it may hold
 * @throws SyntaxError, and JsonLimit where it has too many values or levels
 */
export function parseInPieces(
  bytes: Buffer,
  extent: Extent = { start: 0, end: bytes.length },
  values: number = limits.tokenizerValues,
): unknown {
  const value = { start: afterBlanks(bytes, extent.start), end: extent.end };
  atOnce(checkShape(bytes, values, value.start, value.end));
  return partsOf(bytes, value, 1, true);
}

/** Checks an unused value as `parseInPieces` does. A list of empty lists would take 14 times its bytes. */
export function checkInPieces(bytes: Buffer, extent: Extent): void {
  const value = { start: afterBlanks(bytes, extent.start), end: extent.end };
  atOnce(checkShape(bytes, limits.tokenizerValues, value.start, value.end));
  partsOf(bytes, value, 1, false);
}

/** @param keep whether the value is wanted */
function partsOf(bytes: Buffer, value: Extent, level: number, keep: boolean): unknown {
  const kind = kindOf(bytes, value);
  const length = value.end - value.start;
  if (length <= longRun || (kind === "other" && length <= limits.documentBytes)) return valueAt(bytes, value);
  if (kind === "other") throw new JsonLimit(`it has a string of more than ${limits.documentBytes} bytes`);
  if (level > longLevels) throw new JsonLimit(`it has ${longRun} bytes more than ${longLevels} levels deep`);
  let apart = false;
  eachRun(bytes, value, runBytes, ({ start, end }) => {
    if (end - start > longRun) apart = true;
  });
  const list: unknown[] = [];
  const object = {};
  eachRun(bytes, value, apart ? 1 : runBytes, (run) => {
    if (kind === "array") {
      const part = { start: afterBlanks(bytes, run.start), end: run.end };
      const values = apart ? [partsOf(bytes, part, level + 1, keep)] : valuesIn(bytes, run);
      if (keep) list.push(...values);
      return;
    }
    for (const [name, part] of apart ? [memberIn(bytes, run, level, keep)] : namedIn(bytes, run))
      if (keep)
        Object.defineProperty(object, name, { value: part, writable: true, enumerable: true, configurable: true });
  });
  return kind === "array" ? list : object;
}

function memberIn(bytes: Buffer, run: Extent, level: number, keep: boolean): [string, unknown] {
  const { name, value } = memberOf(bytes, run);
  return [name, partsOf(bytes, value, level + 1, keep)];
}

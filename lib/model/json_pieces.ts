/**
 * JSON texts too long to parse at one go: found out where the members of an object or array lie, and parsed some at a time
 * by `JSON.parse`, which alone decides what is valid. Texts are UTF-8.
 */
import type { Steps } from "../steps";

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

const quote = 0x22;
const comma = 0x2c;
const colon = 0x3a;
const backslash = 0x5c;
const [openArray, closeArray, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];
/** Bytes that are looked at in one step, and bytes of a run: each some tens of microseconds. */
const stepBytes = 1 << 15;
export const runBytes = 1 << 13;

const isBlank = (byte: number | undefined) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

/** First place from `at` on that is no white space. */
export function afterBlanks(bytes: Uint8Array, at: number): number {
  while (isBlank(bytes[at])) at++;
  return at;
}

/** Place of the quotation mark that ends the string beginning at `at`. */
function stringEnd(bytes: Uint8Array, at: number): number {
  for (at++; at < bytes.length && bytes[at] !== quote; at++) if (bytes[at] === backslash) at++;
  return at;
}

/** Whether a value is an object or an array, by its first character. */
export function kindOf(bytes: Uint8Array, { start }: Extent): "object" | "array" | "other" {
  return bytes[start] === openObject ? "object" : bytes[start] === openArray ? "array" : "other";
}

/**
 * Where the members of an object or array are.
 * @param value begins with its bracket, and ends with it but for white space
 * @param least bytes of a run, the last one aside; with 1, each member is a run
 * @throws SyntaxError where brackets or commas are wrong; what the members are is not looked at
 */
export function* membersOf(bytes: Uint8Array, value: Extent, least: number): Steps<Members> {
  const close = bytes[value.start] === openObject ? closeObject : closeArray;
  const runs: Extent[] = [];
  let count = 0;
  let start = value.start + 1;
  let depth = 0;
  let pause = start + stepBytes;
  const add = (end: number) => {
    if (afterBlanks(bytes, start) >= end && (count > 0 || bytes[end] === comma))
      throw new SyntaxError("a comma too many");
    runs.push({ start, end });
    start = end + 1;
  };
  for (let at = start; at < value.end; at++) {
    if (at >= pause) {
      yield;
      pause = at + stepBytes;
    }
    const byte = bytes[at];
    if (byte === quote) at = stringEnd(bytes, at);
    else if (byte === openObject || byte === openArray) depth++;
    else if (byte === comma && depth === 0) {
      if (at - start >= least) add(at);
      count++;
    } else if ((byte === closeObject || byte === closeArray) && depth-- === 0) {
      if (byte !== close || afterBlanks(bytes, at + 1) < value.end) break;
      if (count > 0 || afterBlanks(bytes, start) < at) {
        add(at);
        count++;
      }
      return { runs, count };
    }
  }
  throw new SyntaxError("a bracket too many or too few");
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

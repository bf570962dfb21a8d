/**
 * Measures a JSON text before it is parsed. `JSON.parse` accepts any depth and any number of values, but code that walks
 * the result would overflow the stack, and an object of two bytes, or a new property name, takes thirty times that in
 * memory.
 */
import { limits } from "../limits";
import type { Steps } from "../steps";

/** The document exceeds a limit of its kind. */
export class JsonLimit extends SyntaxError {}

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const [openArray, closeArray, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];
/** Bytes scanned in one step. */
const stepBytes = 1 << 15;

/**
 * Bytes that V8 needs: for an element or a member, for an array or an object without them, and in addition for an empty
 * object.
 */
const memory = { value: 8, array: 40, object: 24, empty: 32, newShape: 256, dictionaryMember: 96 };
/** Members of an object that V8 gives a shape (a hidden class); with more, it becomes a dictionary. */
const shapedMembers = 1020;
/** Exceeds the possible number of names; a shape's number times this, plus a name's, fits into 53 bits. */
const mostNames = 2 ** 22;
/** Names of at most this many bytes, and at most this many names, are looked up without making a string. */
const shortName = 32;
const recentNames = 1 << 10;

/** Numbers from 1, one for each key. */
function numberOf<K>(numbers: Map<K, number>, key: K): number {
  let number = numbers.get(key);
  if (number === undefined) {
    number = numbers.size + 1;
    numbers.set(key, number);
  }
  return number;
}

/** Shapes of objects. Those with the same names in the same order share one, so only names in a new order cost much. */
class Shapes {
  private readonly names = new Map<string, number>();
  /** The shape that results from a shape and a name. */
  private readonly next = new Map<number, number>();
  /** Cache in front of the maps: where the last name after a shape was, and the resulting shape. */
  private readonly recent = new Int32Array(4 * recentNames);

  constructor(private readonly text: Buffer) {}

  get count(): number {
    return this.next.size;
  }

  /** @param start, end of the name, without its quotation marks and not decoded */
  after(shape: number, start: number, end: number): number {
    const { text, recent } = this;
    const length = end - start;
    if (length > shortName) return this.lookUp(shape, start, end);
    let hash = shape + 31 * length;
    for (let at = start; at < end; at++) hash = (Math.imul(hash, 31) + text[at]!) | 0;
    const slot = 4 * ((hash ^ (hash >>> 15)) & (recentNames - 1));
    if (recent[slot + 3]! > 0 && recent[slot] === shape && recent[slot + 2] === length) {
      const known = recent[slot + 1]!;
      let same = 0;
      while (same < length && text[known + same] === text[start + same]) same++;
      if (same === length) return recent[slot + 3]!;
    }
    const next = this.lookUp(shape, start, end);
    recent.set([shape, start, length, next], slot);
    return next;
  }

  private lookUp(shape: number, start: number, end: number): number {
    const name = numberOf(this.names, this.text.toString("latin1", start, end));
    return numberOf(this.next, shape * mostNames + name);
  }
}

/** State of the scan. */
class ShapeCounter {
  private count = 1;
  private bytes = 0;
  private inString = false;
  /** Of the previous string. */
  private stringStart = 0;
  private stringEnd = 0;
  /** For each enclosing array and object: number of members, and shape (-1 for an array). */
  private depth = 0;
  private readonly members: number[] = [0];
  private readonly shape: number[] = [-1];
  private readonly shapes: Shapes;

  constructor(
    private readonly text: Buffer,
    private readonly values: number,
    private readonly mostBytes: number,
    private readonly nesting: number,
  ) {
    this.shapes = new Shapes(text);
  }

  /** Scans the bytes from `start` to `end`. @returns where to continue */
  scan(start: number, end: number): number {
    const { text } = this;
    let at = start;
    let { inString } = this;
    for (; at < end; at++) {
      const byte = text[at];
      if (inString) {
        if (byte === backslash) at++;
        else if (byte === quote) {
          inString = false;
          this.stringEnd = at;
        }
      } else if (byte === quote) {
        inString = true;
        this.stringStart = at + 1;
      } else if (byte === comma) this.add(memory.value);
      else if (byte === colon) this.member();
      else if (byte === openArray || byte === openObject) this.begin(byte === openObject);
      else if (byte === closeArray || byte === closeObject) this.end();
    }
    this.inString = inString;
    return at;
  }

  /** Counts a value of an array or an object. */
  private add(bytes: number): void {
    if (++this.count > this.values) throw new JsonLimit(`it has more than ${this.values} values`);
    this.take(bytes);
  }

  private take(bytes: number): void {
    this.bytes += bytes;
    if (this.bytes > this.mostBytes)
      throw new JsonLimit(`its objects and the names in them need more than ${this.mostBytes} bytes of memory`);
  }

  private begin(isObject: boolean): void {
    if (++this.depth > this.nesting) throw new JsonLimit(`it is nested more than ${this.nesting} levels deep`);
    this.members[this.depth] = 0;
    this.shape[this.depth] = isObject ? 0 : -1;
    this.add(memory.value + (isObject ? memory.object : memory.array));
  }

  private end(): void {
    if (this.shape[this.depth] === 0) this.take(memory.empty);
    if (this.depth > 0) this.depth--;
  }

  private member(): void {
    const shape = this.shape[this.depth]!;
    if (shape < 0) return;
    this.members[this.depth]!++;
    if (this.members[this.depth]! > shapedMembers) {
      this.take(memory.dictionaryMember);
      return;
    }
    const known = this.shapes.count;
    this.shape[this.depth] = this.shapes.after(shape, this.stringStart, this.stringEnd);
    if (this.shapes.count > known) this.take(memory.newShape);
  }
}

/**
 * Counts values, levels and memory of a JSON text. Text that is not JSON passes; `JSON.parse` reports the reason.
 * @param bytes UTF-8
 * @param values the limit of their number
 * @throws JsonLimit
 */
export function* checkShape(
  bytes: Uint8Array,
  values: number,
  start = 0,
  end = bytes.length,
  nesting: number = limits.jsonNesting,
): Steps<void> {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const counter = new ShapeCounter(text, values, limits.jsonGrowth * (end - start) + limits.jsonSpareBytes, nesting);
  for (let at = start; at < end; ) {
    at = counter.scan(at, Math.min(at + stepBytes, end));
    if (at < end) yield;
  }
}

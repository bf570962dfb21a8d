/** Token ids by text and texts by id, in shared memory: every thread that gets a table's columns has the same table. */
import { grown } from "../columns";
import { limits } from "../limits";

const hashSeed = 0x811c9dc5;

/** FNV-1a over UTF-16 code units. */
function hashed(text: string, hash: number): number {
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

/** The hash of two texts put together. */
export function hashOf(text: string, rest = ""): number {
  const hash = hashed(rest, hashed(text, hashSeed));
  return hash ^ (hash >>> 15);
}

/** Numbers that several threads can read. */
export function sharedInts(length: number): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(4 * length));
}

/** Slots of a hash table of so many entries: a power of two, at most half of them in use. */
export function slotCount(entries: number): number {
  return 1 << (33 - Math.clz32(Math.max(entries, 8)));
}

/**
 * One more than the largest id that is accepted: tables are as long as the largest id.
 * @param tokens how many there are
 */
export function idLimit(tokens: number): number {
  return Math.min(limits.tokenId + 1, limits.unusedTokenIds + 8 * tokens);
}

/** A table as it is posted to another thread, without a copy. */
export interface TokenColumns {
  /** One more than the entry, by the hash of its text; 0 where a slot is free. */
  readonly slots: Int32Array<SharedArrayBuffer>;
  /** UTF-16 units of all texts, end to end. */
  readonly characters: Uint16Array<SharedArrayBuffer>;
  /** First unit of each entry, and the number of units, [entries + 1]. */
  readonly starts: Int32Array<SharedArrayBuffer>;
  /** [entries] */
  readonly ids: Int32Array<SharedArrayBuffer>;
  /** One more than the entry of each id; 0 where the id is not in use. */
  readonly entryOfId: Int32Array<SharedArrayBuffer>;
  readonly entries: number;
  readonly idCount: number;
}

/**
 * Typed arrays: of a hundred thousand tokens, objects of JavaScript's own would take the garbage collector many
 * milliseconds at a time, and each thread would have its own. A text that is given twice has its last id, an id that is
 * given twice its last text.
 */
export class TokenTable {
  private readonly slots: Int32Array<SharedArrayBuffer>;
  private characters: Uint16Array<SharedArrayBuffer>;
  private readonly starts: Int32Array<SharedArrayBuffer>;
  private readonly ids: Int32Array<SharedArrayBuffer>;
  private entryOfId: Int32Array<SharedArrayBuffer>;
  private entries = 0;
  /** One more than the largest id. */
  idCount = 0;

  /**
   * Memory that is not written to takes none, so that sizes may be bounds; what turns out to be more gets more.
   * @param capacity how many tokens will be added at most, or the columns of a table that is complete
   * @param units UTF-16 units of all texts together
   * @param ids one more than the largest id
   */
  constructor(capacity: number | TokenColumns, units = 1 << 10, ids = 1 << 8) {
    if (typeof capacity === "number") {
      this.slots = sharedInts(slotCount(capacity));
      this.characters = new Uint16Array(new SharedArrayBuffer(2 * units));
      this.starts = sharedInts(capacity + 1);
      this.ids = sharedInts(capacity);
      this.entryOfId = sharedInts(ids);
      return;
    }
    this.slots = capacity.slots;
    this.characters = capacity.characters;
    this.starts = capacity.starts;
    this.ids = capacity.ids;
    this.entryOfId = capacity.entryOfId;
    this.entries = capacity.entries;
    this.idCount = capacity.idCount;
  }

  /** The table for another thread. Nothing may be added to it any more. */
  get columns(): TokenColumns {
    const { slots, characters, starts, ids, entryOfId, entries, idCount } = this;
    return { slots, characters, starts, ids, entryOfId, entries, idCount };
  }

  /** Texts that were added. */
  get size(): number {
    return this.entries;
  }

  /** @param id an integer from 0 to 2^24 - 1 */
  add(text: string, id: number): void {
    this.reserve(text.length, id);
    const slot = this.slot(text, "");
    let entry = this.slots[slot]! - 1;
    if (entry < 0) {
      entry = this.entries++;
      this.slots[slot] = entry + 1;
      const start = this.starts[entry]!;
      for (let at = 0; at < text.length; at++) this.characters[start + at] = text.charCodeAt(at);
      this.starts[entry + 1] = start + text.length;
    } else if (this.entryOf(this.ids[entry]!) === entry) this.entryOfId[this.ids[entry]!] = 0;
    this.ids[entry] = id;
    this.entryOfId[id] = entry + 1;
    this.idCount = Math.max(this.idCount, id + 1);
  }

  /** @returns the id of the two texts put together, or -1 */
  id(text: string, rest = ""): number {
    const entry = this.slots[this.slot(text, rest)]! - 1;
    return entry < 0 ? -1 : this.ids[entry]!;
  }

  text(id: number): string | undefined {
    const entry = this.entryOf(id);
    return entry < 0 ? undefined : this.textAt(entry);
  }

  /** The entry of an id, its place in the order in which texts were added, or -1. */
  entryOf(id: number): number {
    return (this.entryOfId[id] ?? 0) - 1;
  }

  idAt(entry: number): number {
    return this.ids[entry]!;
  }

  textAt(entry: number): string {
    const start = this.starts[entry]!;
    const end = this.starts[entry + 1]!;
    return Buffer.from(this.characters.buffer, 2 * start, 2 * (end - start)).toString("utf16le");
  }

  lengthAt(entry: number): number {
    return this.starts[entry + 1]! - this.starts[entry]!;
  }

  /** A UTF-16 unit of an entry's text. */
  unitAt(entry: number, index: number): number {
    return this.characters[this.starts[entry]! + index]!;
  }

  /** Compares two entries' texts by their UTF-16 units. */
  compare(left: number, right: number): number {
    const { characters } = this;
    const [lengthOfLeft, lengthOfRight] = [this.lengthAt(left), this.lengthAt(right)];
    const [a, b] = [this.starts[left]!, this.starts[right]!];
    for (let at = 0; at < lengthOfLeft && at < lengthOfRight; at++) {
      const difference = characters[a + at]! - characters[b + at]!;
      if (difference !== 0) return difference;
    }
    return lengthOfLeft - lengthOfRight;
  }

  /** First UTF-16 unit of a token, or -1 where the id is not in use. */
  firstUnit(id: number): number {
    const entry = this.entryOf(id);
    return entry < 0 ? -1 : this.unitAt(entry, 0);
  }

  /** Whether no two tokens have the same id, and none is empty. */
  isUnambiguous(): boolean {
    for (let entry = 0; entry < this.entries; entry++)
      if (this.entryOf(this.ids[entry]!) !== entry || this.lengthAt(entry) === 0) return false;
    return true;
  }

  private slot(text: string, rest: string): number {
    const mask = this.slots.length - 1;
    let at = hashOf(text, rest) & mask;
    while (this.slots[at]! > 0 && !this.holds(this.slots[at]! - 1, text, rest)) at = (at + 1) & mask;
    return at;
  }

  private holds(entry: number, text: string, rest: string): boolean {
    const { characters } = this;
    let place = this.starts[entry]!;
    if (this.starts[entry + 1]! - place !== text.length + rest.length) return false;
    for (let at = 0; at < text.length; at++) if (characters[place++] !== text.charCodeAt(at)) return false;
    for (let at = 0; at < rest.length; at++) if (characters[place++] !== rest.charCodeAt(at)) return false;
    return true;
  }

  private reserve(length: number, id: number): void {
    const needed = this.starts[this.entries]! + length;
    if (needed > this.characters.length)
      this.characters = grown(this.characters, Math.max(needed, Math.ceil(1.5 * this.characters.length)));
    if (id >= this.entryOfId.length)
      this.entryOfId = grown(this.entryOfId, Math.max(id + 1, Math.ceil(1.5 * this.entryOfId.length)));
  }
}

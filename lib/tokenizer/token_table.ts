const hashSeed = 0x811c9dc5;

/** FNV-1a over UTF-16 code units. */
function hashed(text: string, hash: number): number {
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

/**
 * Token ids by text and texts by id, in typed arrays: of a hundred thousand tokens, objects of JavaScript's own would take
 * the garbage collector many milliseconds at a time. A text that is given twice has its last id, an id that is given twice
 * its last text.
 */
export class TokenTable {
  private readonly slots: Int32Array;
  private characters = new Uint16Array(1 << 10);
  private readonly starts: Int32Array;
  private readonly ids: Int32Array;
  private entryOfId = new Int32Array(1 << 10).fill(-1);
  private entries = 0;
  /** One more than the largest id. */
  idCount = 0;

  /** @param capacity how many tokens will be added at most */
  constructor(capacity: number) {
    this.slots = new Int32Array(1 << (33 - Math.clz32(Math.max(capacity, 8)))).fill(-1);
    this.starts = new Int32Array(capacity + 1);
    this.ids = new Int32Array(capacity);
  }

  /** Texts that were added. */
  get size(): number {
    return this.entries;
  }

  /** @param id an integer from 0 to 2^24 - 1 */
  add(text: string, id: number): void {
    this.reserve(text.length, id);
    const slot = this.slot(text, "");
    let entry = this.slots[slot]!;
    if (entry < 0) {
      entry = this.entries++;
      this.slots[slot] = entry;
      const start = this.starts[entry]!;
      for (let at = 0; at < text.length; at++) this.characters[start + at] = text.charCodeAt(at);
      this.starts[entry + 1] = start + text.length;
    } else if (this.entryOfId[this.ids[entry]!] === entry) this.entryOfId[this.ids[entry]!] = -1;
    this.ids[entry] = id;
    this.entryOfId[id] = entry;
    this.idCount = Math.max(this.idCount, id + 1);
  }

  /** @returns the id of the two texts put together, or -1 */
  id(text: string, rest = ""): number {
    const entry = this.slots[this.slot(text, rest)]!;
    return entry < 0 ? -1 : this.ids[entry]!;
  }

  text(id: number): string | undefined {
    const entry = this.entryOfId[id] ?? -1;
    if (entry < 0) return undefined;
    const start = this.starts[entry]!;
    const { buffer } = this.characters;
    return Buffer.from(buffer, 2 * start, 2 * (this.starts[entry + 1]! - start)).toString("utf16le");
  }

  /** First UTF-16 unit of a token, or -1 where the id is not in use. */
  firstUnit(id: number): number {
    const entry = this.entryOfId[id] ?? -1;
    return entry < 0 ? -1 : this.characters[this.starts[entry]!]!;
  }

  /** Whether each token has an id of its own, and none is empty. */
  isUnambiguous(): boolean {
    for (let entry = 0; entry < this.entries; entry++)
      if (this.entryOfId[this.ids[entry]!] !== entry || this.starts[entry + 1] === this.starts[entry]) return false;
    return true;
  }

  private slot(text: string, rest: string): number {
    let hash = hashed(rest, hashed(text, hashSeed));
    hash ^= hash >>> 15;
    const mask = this.slots.length - 1;
    let at = hash & mask;
    while (this.slots[at]! >= 0 && !this.holds(this.slots[at]!, text, rest)) at = (at + 1) & mask;
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
    if (needed > this.characters.length) {
      const larger = new Uint16Array(Math.max(needed, 2 * this.characters.length));
      larger.set(this.characters);
      this.characters = larger;
    }
    if (id >= this.entryOfId.length) {
      const larger = new Int32Array(Math.max(id + 1, 2 * this.entryOfId.length)).fill(-1, this.entryOfId.length);
      larger.set(this.entryOfId);
      this.entryOfId = larger;
    }
  }
}

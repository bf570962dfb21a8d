/** Random documents, each a function of its seed: JSON whose values are replaced, moved, copied or damaged. */

/** mulberry32: small, and the same everywhere. */
export class Random {
  constructor(seed) {
    this.state = seed | 0;
  }

  /** In [0, 1). */
  next() {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** An integer in [0, count). */
  below(count) {
    return Math.floor(this.next() * count);
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  chance(probability) {
    return this.next() < probability;
  }
}

const numbers = [
  0,
  -0,
  -1,
  1,
  2,
  3,
  0.5,
  -0.5,
  1e-320,
  1e308,
  255,
  256,
  1e6,
  2 ** 24 - 1,
  2 ** 24,
  2 ** 31 - 1,
  2 ** 31,
];
numbers.push(2 ** 32, 2 ** 53, -(2 ** 53), 99_999_999, 1e9);
const names = ["__proto__", "constructor", "toString", "hasOwnProperty", "length", "type", "x"];
const strings = ["", "a", "x", "▁", "Ġ", "\u0000", "\ud800", "😀", "\u202e", "<s>", "</s>", "<0x41>", "x".repeat(2000)];
strings.push("../../etc/passwd", "/dev/zero", "$&", "a b", "1", "-1", ...names);
const patterns = [
  "(a|aa)+$",
  "(.*)*x",
  "\\p{L}+",
  "[",
  "(",
  "\\",
  ".*",
  "\\s+(?!\\S)|\\s+",
  "\\p{L}{1,3}",
  "a{9999}",
  "(?<n>a)",
];
const kinds =
  "BPE WordPiece Unigram WordLevel Sequence ByteLevel Metaspace Split Digits Punctuation Whitespace NFC NFKC Strip Prepend Replace Lowercase Precompiled BertNormalizer TemplateProcessing RobertaProcessing ByteFallback Fuse CTC Isolated Removed MergedWithPrevious llama llama3 linear default yarn";
const scalars = [null, true, false, ...numbers, ...strings, ...patterns, ...kinds.split(" ")];

function nested(random, depth) {
  let value = 1;
  for (let at = 0; at < depth; at++) value = random.chance(0.5) ? [value] : { a: value };
  return value;
}

export function anything(random) {
  const scalar = () => random.pick(scalars);
  switch (random.below(12)) {
    case 0:
      return random.pick([[], {}]);
    case 1:
      return [scalar(), scalar()];
    case 2:
      return { [String(scalar())]: scalar(), type: scalar() };
    case 3:
      return nested(random, random.pick([3, 40, 800]));
    default:
      return scalar();
  }
}

/** Paths in a document as lists of keys; of long lists and objects only some. */
function placesIn(random, value, path = [], found = []) {
  found.push(path);
  if (typeof value !== "object" || value === null || path.length > 60) return found;
  const keys = Object.keys(value);
  const some = keys.length > 40 ? Array.from({ length: 40 }, () => random.pick(keys)) : keys;
  for (const key of some) placesIn(random, value[key], [...path, key], found);
  return found;
}

const at = (document, path) => path.reduce((value, key) => value?.[key], document);

function changed(random, old) {
  if (typeof old === "number")
    return random.pick([old + 1, old - 1, 2 * old, -old, old / 2, old * 1e6, old + 0.5, 2 ** 40, 1e15]);
  if (typeof old === "string")
    return random.pick([`${old}x`, old.slice(1), old.slice(0, -1), old + old, old.toUpperCase(), old.repeat(50)]);
  if (Array.isArray(old))
    return random.pick([old.slice(0, random.below(old.length + 1)), [...old, ...old.slice(0, 3)], {}]);
  if (typeof old === "object" && old !== null) return Object.fromEntries(Object.entries(old).slice(0, random.below(5)));
  return anything(random);
}

function mutateOnce(random, document) {
  const places = placesIn(random, document);
  const path = random.pick(places);
  if (path.length === 0) return random.chance(0.02) ? anything(random) : document;
  const owner = at(document, path.slice(0, -1));
  const key = path.at(-1);
  const set = (name, value) =>
    Object.defineProperty(owner, name, { value, enumerable: true, configurable: true, writable: true });
  switch (random.below(7)) {
    case 0:
      if (Array.isArray(owner)) owner.splice(Number(key), 1);
      else delete owner[key];
      break;
    case 1:
    case 2:
      set(key, anything(random));
      break;
    case 3:
      if (Array.isArray(owner)) owner.push(anything(random));
      else set(random.pick([...names, "fresh"]), anything(random));
      break;
    case 4: {
      const other = at(document, random.pick(places)) ?? null;
      if (Object.keys(Object(other)).length < 200) set(key, structuredClone(other));
      break;
    }
    default:
      set(key, changed(random, owner[key]));
  }
  return document;
}

/** A copy with one to three changes; the original stays. */
export function mutated(random, document) {
  let copy = structuredClone(document);
  for (let left = 1 + random.below(3); left > 0 && typeof copy === "object" && copy !== null; left--)
    copy = mutateOnce(random, copy);
  return copy;
}

/** Nested too deeply for recursion. */
const deepArray = "[".repeat(20_000) + "]".repeat(20_000);

const interesting = [0, 0xff, 0x22, 0x5c, 0x7b, 0x7d, 0x2c, 0x5b, 0x5d, 0x30, 0x0a];

/** JSON text, sometimes with changed bytes or truncated. */
export function asBytes(random, document) {
  const text = JSON.stringify(document) ?? "null";
  if (random.chance(0.02)) return Buffer.from(text.replace(/:(?:null|true|false|-?\d+|"[^"]*")/, `:${deepArray}`));
  const bytes = Buffer.from(text);
  if (bytes.length === 0 || !random.chance(0.1)) return bytes;
  if (random.chance(0.3)) return bytes.subarray(0, random.below(bytes.length));
  for (let left = 1 + random.below(4); left > 0; left--)
    bytes[random.below(bytes.length)] = random.chance(0.8) ? random.pick(interesting) : random.below(256);
  return bytes;
}

/** A text of some of the pieces, sometimes with characters removed, doubled or inserted. */
export function assembled(random, pieces, insertions) {
  const text = Array.from({ length: 1 + random.below(8) }, () => random.pick(pieces)).join(
    random.pick(["", "\n", " "]),
  );
  const characters = [...text];
  if (random.chance(0.5))
    for (let left = 1 + random.below(4); left > 0; left--) {
      const place = random.below(characters.length + 1);
      const change = random.below(3);
      if (change === 0) characters.splice(place, 1 + random.below(3));
      if (change === 1) characters.splice(place, 0, ...characters.slice(random.below(characters.length), place));
      if (change === 2) characters.splice(place, 0, random.pick(insertions));
    }
  return characters.join("");
}

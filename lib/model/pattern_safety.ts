/**
 * Which patterns of tokenizer.json are linear. V8's engine backtracks, so that most patterns can be made to take time that
 * grows with the square of the text, or for ever, while nothing else of the process runs. Only patterns that this file
 * proves linear are accepted. They are also small: V8 compiles a pattern at once, with its repetitions written out.
 */

/** What a part of a pattern may cost: ways to match it, each of bounded length; Infinity where there is no bound. */
interface Part {
  readonly ways: number;
  /** Whether it can match nothing, so that the match does not fail there. */
  readonly nullable: boolean;
  /** A single character, or a class. */
  readonly single: boolean;
}

class Unproven extends Error {}

/** Ways to match the bounded parts of an alternative, at most. */
const maxWays = 24;
/** The same for repeated characters and classes: V8 writes out every combination. */
const maxRepetitions = 6;
/** Characters of a pattern, repetitions written out; a class counts as several, for its many ranges. */
const maxAtoms = 160;
const atomsOfClass = 3;

/**
 * Pairs of alternatives that are linear together: the first fails only after a run of characters that the second then takes
 * as a whole, but for one character.
 */
const letters = ["[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"] as const;
const linearPairs = new Set([
  ...["\\s*[\\r\\n]+", "\\s*[\\r\\n]"].flatMap((lines) => [`${lines}|\\s+(?!\\S)`, `${lines}|\\s+`]),
  // o200k and Tekken.
  ...["", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"].map(
    (ending) =>
      `[^\\r\\n\\p{L}\\p{N}]?${letters[0]}*${letters[1]}+${ending}|[^\\r\\n\\p{L}\\p{N}]?${letters[0]}+${letters[1]}*${ending}`,
  ),
]);

/** BLOOM's, whose brackets the library reads as the Rust library does. */
const linearWholes = new Set([" ?[^(\\s|[.,!?…。，、।۔،])]+"]);

/**
 * Whether the time to find all matches is known to grow with the length of the text only. Patterns of GPT-2, LLaMA 3, Qwen,
 * DeepSeek, o200k and Tekken are linear, and any of whose alternatives only the last quantifier that can fail is unbounded.
 * @param source in the Rust library's syntax
 */
export function isLinear(source: string): boolean {
  if (linearWholes.has(source)) return true;
  try {
    const parser = new Parser(source);
    const alternatives = parser.alternatives();
    if (!parser.atEnd) return false;
    for (let at = 0; at < alternatives.length; at++) {
      const { text, linear } = alternatives[at]!;
      if (linear || text === "\\s+(?!\\S)") continue;
      const next = alternatives[at + 1]?.text;
      if (next === undefined || !linearPairs.has(`${text}|${next}`)) return false;
    }
    return true;
  } catch (error) {
    if (error instanceof Unproven) return false;
    throw error;
  }
}

interface Alternative {
  readonly text: string;
  readonly linear: boolean;
  readonly ways: number;
  readonly nullable: boolean;
}

class Parser {
  private at = 0;
  private depth = 0;
  private atoms = 0;

  constructor(private readonly source: string) {}

  get atEnd(): boolean {
    return this.at === this.source.length;
  }

  alternatives(): Alternative[] {
    if (++this.depth > 16) throw new Unproven();
    const found = [this.alternative()];
    while (this.take("|")) found.push(this.alternative());
    this.depth--;
    return found;
  }

  private alternative(): Alternative {
    const start = this.at;
    let ways = 1;
    let repetitions = 1;
    let nullable = true;
    let unbounded = false;
    let linear = true;
    while (!this.atEnd && this.source[this.at] !== "|" && this.source[this.at] !== ")") {
      const part = this.quantified();
      // What follows an unbounded part must not fail, or that part is tried again with every shorter length.
      if (unbounded && !part.nullable) linear = false;
      if (part.ways === Number.POSITIVE_INFINITY) {
        if (!part.single) linear = false;
        unbounded = true;
      } else ways *= part.ways;
      if (part.single && part.ways !== Number.POSITIVE_INFINITY) repetitions *= part.ways;
      nullable &&= part.nullable;
    }
    if (ways > maxWays || repetitions > maxRepetitions) linear = false;
    return {
      text: this.source.slice(start, this.at),
      linear,
      ways: unbounded ? Number.POSITIVE_INFINITY : ways,
      nullable,
    };
  }

  private quantified(): Part {
    const before = this.atoms;
    const atom = this.atom();
    const [least, most] = this.quantifier();
    const repetitions = most === Number.POSITIVE_INFINITY ? Math.max(1, least) : most;
    this.atoms = before + (this.atoms - before) * Math.max(1, repetitions);
    if (this.atoms > maxAtoms) throw new Unproven();
    if (/^[?+*{]/.test(this.source.slice(this.at, this.at + 1))) throw new Unproven(); // lazy, possessive or repeated
    if (least === 1 && most === 1) return atom;
    const nullable = atom.nullable || least === 0;
    if (most === Number.POSITIVE_INFINITY) {
      if (least > 64) throw new Unproven();
      return { ways: most, nullable, single: atom.single };
    }
    if (most > 64) throw new Unproven();
    let ways = 0;
    for (let count = least; count <= most; count++) ways += atom.single ? 1 : Math.min(atom.ways ** count, 1e9);
    return { ways, nullable, single: atom.single };
  }

  private quantifier(): [least: number, most: number] {
    if (this.take("?")) return [0, 1];
    if (this.take("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.take("+")) return [1, Number.POSITIVE_INFINITY];
    const braces = /^\{(\d{1,4})(?:(,)(\d{1,4})?)?\}/.exec(this.source.slice(this.at, this.at + 16));
    if (!braces) return [1, 1];
    this.at += braces[0].length;
    const least = Number(braces[1]);
    if (!braces[2]) return [least, least];
    return [least, braces[3] === undefined ? Number.POSITIVE_INFINITY : Number(braces[3])];
  }

  private atom(): Part {
    const one: Part = { ways: 1, nullable: false, single: true };
    const character = this.source[this.at]!;
    if (character !== "(") this.atoms += character === "[" || character === "\\" ? atomsOfClass : 1;
    if (character === "[") return this.characterClass();
    if (character === "\\") return this.escape();
    if (character === "(") return this.group();
    if (character === "^" || character === "$") {
      this.at++;
      return { ways: 1, nullable: false, single: false };
    }
    if ("]{}*+?".includes(character)) throw new Unproven();
    this.at += String.fromCodePoint(this.source.codePointAt(this.at)!).length;
    return one;
  }

  private escape(): Part {
    const found =
      /^\\(?:[pP]\{\^?[A-Za-z_=]{1,64}\}|[sSwWdDhHnrtfvae]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[^A-Za-z0-9])/u.exec(
        this.source.slice(this.at, this.at + 72),
      );
    if (!found) throw new Unproven();
    this.at += found[0].length;
    return { ways: 1, nullable: false, single: true };
  }

  /** Classes without classes within; a bracket in them must be escaped. */
  private characterClass(): Part {
    this.at++;
    this.take("^");
    if (this.source[this.at] === "]") throw new Unproven();
    while (!this.take("]")) {
      if (this.atEnd || this.source[this.at] === "[" || this.source.startsWith("&&", this.at)) throw new Unproven();
      if (this.source[this.at] === "\\") this.escape();
      else this.at++;
    }
    return { ways: 1, nullable: false, single: true };
  }

  private group(): Part {
    const opening = /^\((?:\?(?:i?:|[=!]|<[=!]))?/.exec(this.source.slice(this.at, this.at + 4))![0];
    if (opening === "(" && this.source[this.at + 1] === "?") throw new Unproven();
    this.at += opening.length;
    const inner = this.alternatives();
    if (!this.take(")")) throw new Unproven();
    let ways = 0;
    for (const one of inner) ways += one.ways;
    if (ways > maxWays) throw new Unproven(); // unbounded parts, or too many
    return { ways, nullable: inner.some((one) => one.nullable) && !/[=!]$/.test(opening), single: false };
  }

  private take(text: string): boolean {
    if (!this.source.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }
}

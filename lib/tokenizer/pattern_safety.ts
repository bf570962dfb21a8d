/**
 * Which patterns of tokenizer.json are linear. V8's engine backtracks, so that most patterns can be made to take time that
 * grows with the square of the text, or endlessly, while nothing else of the process runs. Only patterns that this file
 * proves linear are accepted. They are also small: V8 compiles a pattern in one go, with its repetitions expanded.
 */

/** What a part of a pattern may cost: ways to match it, each of bounded length; Infinity where there is no bound. */
interface Part {
  readonly ways: number;
  /** Whether it can match nothing, so that the match does not fail there. */
  readonly nullable: boolean;
  /** A single character, or a class. */
  readonly single: boolean;
  /** Characters that are compared at one place at most, what unbounded parts match aside. */
  readonly cost: number;
}

class Unproven extends Error {}

/** Ways to match the bounded parts of an alternative, at most. */
const maxWays = 24;
/** The same for repeated characters and classes: V8 writes out every combination. */
const maxRepetitions = 8;
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

/** What takes all whitespace but, perhaps, what a lookahead at the end of the run refuses. */
const endOfText = "\\s+(?![\\s\\S])";
const afterEndOfText = /^\\s\*\[\\r\\n\]\+?\|\\s\+\(\?!\\S\)\|\\s\+?$/;

/** BLOOM's, whose brackets the library reads as the Rust library does; and those of `linearForm`. */
const linearWholes = new Set([" ?[^(\\s|[.,!?…。，、।۔،])]+", ...["\\s+$", endOfText].map((end) => `(?<!\\s)${end}`)]);

/**
 * A pattern that finds the same in time that grows with the length of the text only, if there is one for it. Whitespace at
 * an end is then searched only at the beginning of a run: every later place of the run would search the rest of it.
 * Newlines are written as escapes, and a possessive whitespace before an end as what it means: an end of the text.
 */
export function linearForm(source: string): string {
  const form = source
    .replace(/\\[\s\S]|[\r\n]/g, (part) => (part.endsWith("\r") ? "\\r" : part.endsWith("\n") ? "\\n" : part))
    .replace(/(^|\|)\\s\+\+\$(?=\||$)/g, (_, before: string) => before + endOfText);
  return form === "\\s+$" || form === endOfText ? `(?<!\\s)${form}` : form;
}

/** Of a linear pattern. */
export interface Linear {
  /** Characters that are compared at one place of a text at most, what unbounded parts match aside. */
  readonly cost: number;
  /** Whether it may match nothing. */
  readonly nullable: boolean;
}

/**
 * What a pattern costs at one place of a text at most, or undefined where the time to find all matches is not known to grow
 * with the length of the text only. Patterns of GPT-2, LLaMA 3, Qwen, DeepSeek, o200k and Tekken are linear, and any of whose
 * alternatives only the last quantifier that can fail is unbounded.
 * @param source in the Rust library's syntax
 */
export function linear(source: string): Linear | undefined {
  if (linearWholes.has(source)) return { cost: source.length, nullable: false };
  try {
    const parser = new Parser(source);
    const alternatives = parser.alternatives();
    if (!parser.atEnd) return undefined;
    let cost = 0;
    for (let at = 0; at < alternatives.length; at++) {
      cost += alternatives[at]!.cost;
      if (!alternatives[at]!.linear && !isLinearWithNext(alternatives, at)) return undefined;
    }
    return { cost, nullable: alternatives.some(({ nullable }) => nullable) };
  } catch (error) {
    if (error instanceof Unproven) return undefined;
    throw error;
  }
}

function isLinearWithNext(alternatives: readonly Alternative[], at: number): boolean {
  const texts = alternatives.slice(at).map(({ text }) => text);
  if (texts[0] === "\\s+(?!\\S)") return true;
  if (texts[0] === endOfText) return afterEndOfText.test(texts.slice(1).join("|"));
  return texts.length > 1 && linearPairs.has(`${texts[0]}|${texts[1]}`);
}

interface Alternative {
  /** Without possessive marks that change nothing. */
  readonly text: string;
  readonly linear: boolean;
  readonly ways: number;
  readonly nullable: boolean;
  readonly cost: number;
}

/** Whether a possessive part, `[^...]`, excludes what the next one takes: then a greedy one would give back in vain. */
function excludes(possessive: string, next: string): boolean {
  const taken = /^\\(?:[pP]\{\w+\}|[sdw])/.exec(next)?.[0];
  const excluded = /^\[\^((?:\\.|[^\]\\])*)\]/.exec(possessive)?.[1]?.match(/\\[pP]\{[^}]*\}|\\.|[^\\]/g);
  return taken !== undefined && excluded?.includes(taken) === true;
}

class Parser {
  private at = 0;
  private depth = 0;
  private atoms = 0;
  /** Places of possessive marks. */
  private readonly marks: number[] = [];
  /** Whether what was read last is a quantifier. */
  private quantifierEnded = false;

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
    let cost = 0;
    let possessive = "";
    let followed = false; // the possessive part, by one that may match nothing
    while (!this.atEnd && this.source[this.at] !== "|" && this.source[this.at] !== ")") {
      const began = this.at;
      const part = this.quantified();
      const own = this.source.slice(began, this.at);
      if (possessive !== "" && !part.nullable) {
        if (followed || !excludes(possessive, own)) throw new Unproven();
        possessive = "";
      }
      followed ||= possessive !== "";
      if (this.marks.at(-1) === this.at - 1 && possessive === "") {
        possessive = own;
        followed = false;
      }
      cost += ways * part.cost;
      // What follows an unbounded part must not fail, or that part is tried again with every shorter length.
      if (unbounded && !part.nullable) linear = false;
      if (part.ways === Number.POSITIVE_INFINITY) {
        unbounded = true;
      } else ways *= part.ways;
      if (part.single && part.ways !== Number.POSITIVE_INFINITY) repetitions *= part.ways;
      nullable &&= part.nullable;
    }
    if (ways > maxWays || repetitions > maxRepetitions) linear = false;
    return {
      text: this.unmarked(start),
      linear,
      ways: unbounded ? Number.POSITIVE_INFINITY : ways,
      nullable,
      cost,
    };
  }

  /** The source from a place to the current one, without possessive marks. */
  private unmarked(start: number): string {
    let text = "";
    let from = start;
    for (const mark of this.marks) {
      if (mark < start) continue;
      text += this.source.slice(from, mark);
      from = mark + 1;
    }
    return text + this.source.slice(from, this.at);
  }

  private quantified(): Part {
    const before = this.atoms;
    const atom = this.atom();
    const [least, most] = this.quantifier();
    const repetitions = most === Number.POSITIVE_INFINITY ? Math.max(1, least) : most;
    this.atoms = before + (this.atoms - before) * Math.max(1, repetitions);
    if (this.atoms > maxAtoms) throw new Unproven();
    const repeated = this.possessive(atom, least);
    if (/^[?+*{]/.test(this.source.slice(this.at, this.at + 1))) throw new Unproven(); // lazy, or repeated
    if (repeated) return { ...atom, ways: Number.POSITIVE_INFINITY, single: false, cost: repetitions };
    if (least === 1 && most === 1) return atom;
    const nullable = atom.nullable || least === 0;
    if (atom.ways === Number.POSITIVE_INFINITY) {
      if (most > 1) throw new Unproven();
      return { ...atom, nullable };
    }
    if (most === Number.POSITIVE_INFINITY) {
      if (least > 64 || (!atom.single && (least > 1 || atom.nullable))) throw new Unproven();
      return { ways: most, nullable, single: atom.single, cost: atom.cost * Math.max(1, least) };
    }
    if (most > 64) throw new Unproven();
    const waysOf = (count: number) => (atom.single ? 1 : Math.min(atom.ways ** count, 1e9));
    let ways = 0;
    let cost = 0;
    for (let count = least; count <= most; count++) ways += waysOf(count);
    for (let count = 0; count < most; count++) cost += atom.cost * waysOf(count);
    return { ways, nullable, single: atom.single, cost };
  }

  /**
   * Takes a possessive mark, which the library drops: `alternative` makes sure that it changes nothing.
   * @returns whether it is none: after braces, a plus repeats
   */
  private possessive(atom: Part, least: number): boolean {
    const before = this.source[this.at - 1]!;
    if (this.source[this.at] !== "+" || !this.quantifierEnded) return false;
    if (!atom.single || this.depth > 1) throw new Unproven();
    if (before === "}" && least === 0) throw new Unproven();
    if (before !== "}") this.marks.push(this.at);
    this.at++;
    return before === "}";
  }

  private quantifier(): [least: number, most: number] {
    const start = this.at;
    const found = this.readQuantifier();
    this.quantifierEnded = this.at > start;
    return found;
  }

  private readQuantifier(): [least: number, most: number] {
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
    const one: Part = { ways: 1, nullable: false, single: true, cost: 1 };
    const character = this.source[this.at]!;
    if (character !== "(") this.atoms += character === "[" || character === "\\" ? atomsOfClass : 1;
    if (character === "[") return this.characterClass();
    if (character === "\\") return this.escape();
    if (character === "(") return this.group();
    if (character === "^" || character === "$") {
      this.at++;
      return { ways: 1, nullable: false, single: false, cost: 1 };
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
    return { ways: 1, nullable: false, single: true, cost: 1 };
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
    return { ways: 1, nullable: false, single: true, cost: 1 };
  }

  private group(): Part {
    const opening = /^\((?:\?(?:i?:|[=!]|<[=!]))?/.exec(this.source.slice(this.at, this.at + 4))![0];
    if (opening === "(" && this.source[this.at + 1] === "?") throw new Unproven();
    this.at += opening.length;
    const inner = this.alternatives();
    if (!this.take(")")) throw new Unproven();
    let [ways, cost] = [0, 0];
    for (const one of inner) {
      ways += one.ways;
      cost += one.cost;
    }
    const looksAround = /[=!]$/.test(opening);
    const unbounded = ways === Number.POSITIVE_INFINITY;
    if (unbounded ? looksAround || !inner.every((one) => one.linear) : ways > maxWays) throw new Unproven();
    return { ways, nullable: inner.some((one) => one.nullable) && !looksAround, single: false, cost };
  }

  private take(text: string): boolean {
    if (!this.source.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }
}

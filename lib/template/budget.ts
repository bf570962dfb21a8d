/**
 * What a template may use up. Every node that is evaluated, and every operation whose cost depends on sizes, is charged
 * before it runs, so that a template that loops endlessly or grows without bound ends with an error after the same number of
 * steps on every machine, without a thread or a clock.
 */

/** What jinja2 would raise: the template's own error. */
export class TemplateFault extends Error {}

/** Thrown where a budget is used up. */
export class TemplateLimit extends Error {}

export interface TemplateBudget {
  /** Charges in all, of at most a microsecond each. */
  readonly steps: number;
  /** Longest list. */
  readonly elements: number;
  /** Longest string. */
  readonly characters: number;
}

/** Integers of more bits are refused; Python refuses to write those of more than 4300 digits. */
const integerBits = 16_384;
const small = 1n << 64n;

export class Budget {
  private left: number;
  private depth = 0;

  constructor(private readonly given: TemplateBudget) {
    this.left = given.steps;
  }

  charge(steps: number): void {
    this.left -= steps;
    if (!(this.left >= 0)) throw new TemplateLimit(`it did not end within ${this.given.steps} steps`);
  }

  /** Charges for a string of so many UTF-16 units that is read or made, and refuses one that is too long. */
  text(length: number, perStep = 1024): void {
    if (!(length <= this.given.characters)) throw new TemplateLimit("it makes text that grows without bound");
    this.charge(length / perStep);
  }

  /** The same for a list. */
  list(length: number): void {
    if (!(length <= this.given.elements)) throw new TemplateLimit("it makes a list that grows without bound");
    this.charge(length / 8);
  }

  /** Charges for looking for a string in another: V8 compares every character with every other at worst. */
  search(text: number, sought: number): void {
    const worst = (Math.max(0, text - sought) * Math.min(sought, text)) / 1024;
    this.charge(text / 256 + (sought > text ? 0 : worst));
  }

  integer(value: bigint): bigint {
    if (value > -small && value < small) return value;
    if (value.toString(16).length * 4 > integerBits)
      throw new TemplateLimit("it makes a number that grows without bound");
    this.charge(4);
    return value;
  }

  /** Refuses a product or power of so many bits before it is computed. */
  bits(bits: number): void {
    if (!(bits <= integerBits)) throw new TemplateLimit("it makes a number that grows without bound");
    this.charge(bits / 64);
  }

  /** Runs what may call itself through macros, loops or values that hold values. */
  nested<T>(work: () => T): T {
    if (++this.depth > 200) throw new TemplateLimit("it calls itself without end");
    try {
      return work();
    } finally {
      this.depth--;
    }
  }
}

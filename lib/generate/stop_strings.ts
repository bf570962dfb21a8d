import { invalid, RubricateError } from "../errors";
import { limits } from "../limits";
import { listOf } from "../options";

const wanted = "a string or a list of strings, none of them empty";

/**
 * The stop strings of a call.
 * @throws RubricateError ERR_ARGUMENT
 */
export function stopStrings(stop: string | readonly string[] | undefined): readonly string[] {
  if (stop === undefined) return [];
  const list = typeof stop === "string" ? [stop] : listOf("stop", wanted, stop, limits.stopStrings);
  for (const text of list) {
    if (typeof text !== "string" || text === "") throw invalid("stop", wanted, typeof stop === "string" ? stop : text);
    if (text.length > limits.stopStringLength)
      throw new RubricateError(
        "ERR_ARGUMENT",
        `Expected at most ${limits.stopStringLength} characters in a stop string but received ${text.length}`,
      );
  }
  return list;
}

/**
 * How much of a stop string a growing text ends with, by Knuth, Morris and Pratt: each character is looked at once, whatever
 * the text and the string are.
 */
class Matcher {
  /** Characters of the string that the text ends with. */
  length = 0;
  /** Of the first n + 1 characters: how many at their end also begin the string. */
  private readonly borders: Int32Array;

  constructor(private readonly wanted: string) {
    const borders = new Int32Array(wanted.length);
    for (let at = 1, border = 0; at < wanted.length; at++) {
      const unit = wanted.charCodeAt(at);
      while (border > 0 && unit !== wanted.charCodeAt(border)) border = borders[border - 1]!;
      if (unit === wanted.charCodeAt(border)) border++;
      borders[at] = border;
    }
    this.borders = borders;
  }

  /** @returns the place in `text` that is behind the string's first occurrence, or -1; the text before it has none */
  push(text: string): number {
    const { wanted, borders } = this;
    for (let at = 0; at < text.length; at++) {
      const unit = text.charCodeAt(at);
      while (this.length > 0 && unit !== wanted.charCodeAt(this.length)) this.length = borders[this.length - 1]!;
      if (unit === wanted.charCodeAt(this.length)) this.length++;
      if (this.length === wanted.length) return at + 1;
    }
    return -1;
  }
}

/** Holds text back while it could still become a stop string. */
export class StopFilter {
  stopped = false;
  private held = "";
  private readonly matchers: readonly { readonly length: number; readonly matcher: Matcher }[];

  constructor(stops: readonly string[]) {
    this.matchers = stops.map((stop) => ({ length: stop.length, matcher: new Matcher(stop) }));
  }

  /** @returns the text that is certain now: up to the first stop string, if there is one */
  push(text: string, last: boolean): string {
    const before = this.held.length;
    this.held += text;
    let cut = -1;
    let possible = 0;
    for (const { length, matcher } of this.matchers) {
      const end = matcher.push(text);
      const start = before + end - length;
      if (end >= 0 && (cut < 0 || start < cut)) cut = start;
      possible = Math.max(possible, matcher.length);
    }
    if (cut >= 0) {
      this.stopped = true;
      return this.take(cut);
    }
    return this.take(last ? this.held.length : this.held.length - possible);
  }

  private take(length: number): string {
    const text = this.held.slice(0, length);
    this.held = this.stopped ? "" : this.held.slice(length);
    return text;
  }
}

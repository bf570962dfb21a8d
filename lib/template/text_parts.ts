/** Cutting texts as Python's str does it. */
import { type Budget, TemplateFault } from "./budget";
import { whitespace } from "./lexer";

const isBlank = new RegExp(`^[${whitespace}]$`);
const words = new RegExp(`[^${whitespace}]+`, "g");

/** `strip` and its one-sided forms; without characters, of whitespace. */
export function stripped(
  text: string,
  characters: string | null,
  sides: "both" | "left" | "right",
  budget: Budget,
): string {
  budget.text(text.length, 128);
  budget.text(characters?.length ?? 0, 16);
  const set = characters === null ? null : new Set(characters);
  const drops = (one: string) => (set ? set.has(one) : isBlank.test(one));
  let start = 0;
  let end = text.length;
  while (sides !== "right" && start < end) {
    const first = String.fromCodePoint(text.codePointAt(start)!);
    if (!drops(first)) break;
    start += first.length;
  }
  while (sides !== "left" && start < end) {
    const pair = end - start > 1 && text.codePointAt(end - 2)! > 0xffff;
    const last = text.slice(pair ? end - 2 : end - 1, end);
    if (!drops(last)) break;
    end -= last.length;
  }
  budget.charge((start + text.length - end) / 16);
  return text.slice(start, end);
}

/** At most `most` cuts. */
export function split(text: string, separator: string | null, most: number, budget: Budget): string[] {
  if (separator === "") throw new TemplateFault("empty separator");
  budget.search(text.length, separator?.length ?? 1);
  const parts: string[] = [];
  let at = 0;
  if (separator === null) {
    words.lastIndex = 0;
    for (const found of text.matchAll(words)) {
      if (parts.length === most) return [...parts, text.slice(found.index)];
      budget.charge(1 / 4);
      parts.push(found[0]);
    }
    return parts;
  }
  for (let end = text.indexOf(separator); end >= 0 && parts.length < most; end = text.indexOf(separator, at)) {
    budget.charge(1 / 4);
    parts.push(text.slice(at, end));
    at = end + separator.length;
  }
  parts.push(text.slice(at));
  return parts;
}

export function splitRight(text: string, separator: string | null, most: number, budget: Budget): string[] {
  if (most === Number.POSITIVE_INFINITY) return split(text, separator, most, budget);
  if (separator === null) {
    const found = [...split(text, null, Number.POSITIVE_INFINITY, budget)];
    if (found.length <= most) return found;
    const places = [...text.matchAll(words)];
    const last = places[places.length - most - 1]!;
    return [text.slice(0, last.index + last[0].length), ...found.slice(found.length - most)];
  }
  const all = split(text, separator, Number.POSITIVE_INFINITY, budget);
  if (all.length - 1 <= most) return all;
  const kept = all.length - most;
  return [all.slice(0, kept).join(separator), ...all.slice(kept)];
}

/** Counts before it replaces, since V8 ends the process where the result is too long. */
export function replaced(text: string, old: string, by: string, most: number, budget: Budget): string {
  budget.search(text.length, old.length);
  if (old === "") {
    const points = [...text];
    budget.charge(points.length / 8);
    const places = Math.min(points.length + 1, most);
    budget.text(text.length + places * by.length);
    let result = "";
    for (const [at, point] of points.entries()) result += (at < places ? by : "") + point;
    return points.length < places ? result + by : result;
  }
  let count = 0;
  for (let at = text.indexOf(old); at >= 0 && count < most; at = text.indexOf(old, at + old.length)) count++;
  budget.charge(count / 4);
  budget.text(text.length + count * (by.length - old.length));
  if (count === 0) return text;
  if (most >= text.length) return text.replaceAll(old, () => by);
  const parts = split(text, old, most, budget);
  return parts.join(by);
}

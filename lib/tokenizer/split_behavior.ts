import { digitGrouper } from "./digit_groups";

/** A piece of a text, and whether it matches the pattern. */
type Segment = readonly [text: string, match: boolean];
interface SplitConfig {
  readonly behavior?: string;
  readonly invert?: boolean;
  readonly pattern?: { readonly Regex?: string };
}

/**
 * How a Split divides a text that needs the whole text: where it merges, or groups digits from the right.
 * @param pattern the library's translation
 * @returns undefined where one match after another will do
 */
export function dividerOf(config: SplitConfig, pattern: RegExp): ((text: string) => string[]) | undefined {
  const { behavior, invert = false } = config;
  if (behavior === "Isolated") return invert ? undefined : digitGrouper(config.pattern?.Regex ?? "");
  if (behavior === "Removed") return undefined;
  return (text) => {
    const segments = segmentsOf(text, pattern, invert);
    return behavior === "MergedWithNext" ? mergedWithNext(segments) : merged(segments, behavior === "Contiguous");
  };
}

function segmentsOf(text: string, pattern: RegExp, invert: boolean): Segment[] {
  const segments: Segment[] = [];
  let start = 0;
  for (const { index, 0: match } of text.matchAll(pattern)) {
    if (index > start) segments.push([text.slice(start, index), invert]);
    segments.push([match, !invert]);
    start = index + match.length;
  }
  if (start < text.length) segments.push([text.slice(start), invert]);
  return segments;
}

/** Each match joins the piece before it unless that ends with a match; or all neighbors join that are alike. */
function merged(segments: readonly Segment[], contiguous: boolean): string[] {
  const pieces: string[] = [];
  let before = false;
  for (const [text, match] of segments) {
    const joins = contiguous ? match === before : match && !before;
    if (joins && pieces.length > 0) pieces.push(pieces.pop()! + text);
    else pieces.push(text);
    before = match;
  }
  return pieces.filter((piece) => piece !== "");
}

function mergedWithNext(segments: readonly Segment[]): string[] {
  const pieces: string[] = [];
  let after = false;
  for (const [text, match] of [...segments].reverse()) {
    if (match && !after && pieces.length > 0) pieces.push(text + pieces.pop()!);
    else pieces.push(text);
    after = match;
  }
  return pieces.filter((piece) => piece !== "").reverse();
}

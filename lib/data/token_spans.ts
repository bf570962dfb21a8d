/** From spans of a text to its tokens. */
import type { Tokenizer } from "../tokenizer/tokenizer";
import type { ChatText } from "./chat_spans";
import { IrregularChat } from "./chat_turns";
import type { Span } from "./types";

/**
 * Tokens that have a part in one of the spans; a token over the border of a span belongs to it.
 * @param ids the tokens of `text`, or the first of them, [tokens]
 * @returns 1 for tokens in a span, [tokens]
 */
export function tokensInSpans(
  tokenizer: Tokenizer,
  ids: Int32Array,
  { text, spans, exactSpans }: ChatText,
): Uint8Array<ArrayBuffer> {
  try {
    return marked(new Borders(tokenizer, ids, text), spans);
  } catch (error) {
    if (!(error instanceof IrregularChat)) throw error;
    return marked(new Borders(tokenizer, ids, text), exactSpans);
  }
}

function marked(borders: Borders, spans: Iterable<Span>): Uint8Array<ArrayBuffer> {
  const { length } = borders.ids;
  const marks = new Uint8Array(length);
  for (const [start, end] of spans) {
    const first = borders.find(start).tokens;
    if (first === length) break; // this and all later spans are in what was truncated
    const last = borders.find(end);
    marks.fill(1, first, last.exact ? last.tokens : last.tokens + 1);
  }
  return marks;
}

interface Border {
  /** Tokens that the text up to it has in common with the whole. */
  readonly tokens: number;
  /** Whether these are all tokens of the text up to it. */
  readonly exact: boolean;
}

/** A border between two tokens. */
interface Anchor {
  readonly at: number;
  /** Tokens of the text up to it. */
  readonly tokens: number;
}

/** Borders that encoding begins from: behind the nearest may be too few tokens to see that they are those of the whole. */
const triedAnchors = 3;
/** Tokens at a beginning that may be others than those of the whole. */
const mostSkipped = 3;
/** So many tokens in a row are the same only where the rest is, too. */
const surelyCommon = 8;

/**
 * Finds the token at a place of a text by encoding the text up to it: as many tokens as that has in common with the whole.
 * Not from the start, but from a border before, where that gives the same tokens: so that the time of all borders
 * together grows with the length of the text.
 */
class Borders {
  private readonly anchors: Anchor[] = [];

  constructor(
    private readonly tokenizer: Tokenizer,
    readonly ids: Int32Array,
    private readonly text: string,
  ) {}

  /** @param at not before that of an earlier call */
  find(at: number): Border {
    const { ids, text } = this;
    if (at === text.length) return { tokens: ids.length, exact: true };
    const found = this.fromAnchors(at) ?? this.from(0, 0, at)!;
    if (found.exact && found.tokens < ids.length && this.anchors.at(-1)?.at !== at)
      this.anchors.push({ at, tokens: found.tokens });
    return found;
  }

  private fromAnchors(at: number): Border | undefined {
    for (const anchor of this.anchors.slice(-triedAnchors).reverse()) {
      const [start, first] = this.beginning(anchor);
      const found = this.from(start, first, at);
      if (found) return found;
    }
    return undefined;
  }

  /** An added token before the border is where the tokenizer splits every text. */
  private beginning({ at, tokens }: Anchor): [number, number] {
    const before = this.ids[tokens - 1];
    const name =
      before !== undefined && this.tokenizer.isSpecial(before) ? this.tokenizer.tokenText(before) : undefined;
    const begins = name !== undefined && this.text.endsWith(name, at);
    return begins ? [at - name.length, tokens - 1] : [at, tokens];
  }

  /**
   * Encodes the text between two places, the first of which is before a token.
   * @returns undefined where its tokens are not those of the whole: where a tokenizer puts a space before a text, say, the first
   * word has others, and the text may be too short for more
   */
  private from(start: number, first: number, at: number): Border | undefined {
    const most = this.ids.length - first + mostSkipped; // enough to see whether it has all of them
    const part = this.tokenizer.encodeStart(this.text.slice(start, at), most);
    for (let skipped = 0; skipped <= mostSkipped; skipped++)
      for (let instead = 0; instead <= (skipped === 0 ? 0 : mostSkipped); instead++) {
        const common = this.commonTokens(part, skipped, first + instead);
        const enough = start === 0 || (skipped === 0 ? common > 0 || part.length === 0 : common >= surelyCommon);
        if (enough) return { tokens: first + instead + common, exact: skipped + common === part.length };
      }
    return undefined;
  }

  private commonTokens(part: Int32Array, from: number, first: number): number {
    let common = 0;
    while (from + common < part.length && part[from + common] === this.ids[first + common]) common++;
    return common;
  }
}

/**
 * Text to token ids in the Rust library's order: added tokens that are not normalized, the normalizer, those that are, the
 * pre-tokenizer, the model. Each step hands on one piece after another, and all stop when enough ids are found.
 */
import type { JsonObject } from "../files/json";
import type { AddedTokens, SoughtColumns } from "./added_list";
import { AddedTokenSplitter } from "./added_tokens";
import { BytePairEncoder, type BytePairModel } from "./bpe";
import { IdList } from "./id_list";
import { normalizerOf, withinText } from "./normalizers";
import { continued, type PreTokenizer, preTokenizerOf } from "./pre_tokens";
import { UnigramEncoder, type UnigramModel } from "./unigram";

/** Added tokens, and how they are looked for. */
interface AddedParts {
  readonly added: AddedTokens;
  /** Those that are looked for before the normalizer, and after it. */
  readonly raw: SoughtColumns;
  readonly normalized: SoughtColumns;
}

export class TextToIds {
  private readonly raw: AddedTokenSplitter;
  private readonly normalized: AddedTokenSplitter;
  /** As the Rust library does it with a text between added tokens, and with one that goes on with the text before. */
  readonly normalize: (text: string) => string;
  private readonly normalizeRest: (text: string) => string;
  private readonly preTokenizer: PreTokenizer;
  private readonly encoder: BytePairEncoder | UnigramEncoder;
  /** Where the ids of the text in work go. */
  private ids = new IdList(0);

  /** @throws {Error} where a part cannot be built */
  constructor(tokenizer: JsonObject, model: BytePairModel | UnigramModel, { added, raw, normalized }: AddedParts) {
    this.raw = new AddedTokenSplitter(raw, added);
    this.normalized = new AddedTokenSplitter(normalized, added);
    const normalizer = tokenizer.normalizer as JsonObject | null;
    this.normalize = normalizerOf(normalizer) ?? ((text) => text);
    this.normalizeRest = normalizerOf(withinText(normalizer)) ?? ((text) => text);
    this.preTokenizer = preTokenizerOf(tokenizer.pre_tokenizer as JsonObject | null, (word) => {
      this.encoder.encode(word, this.ids);
      return !this.ids.full;
    });
    const { byteLevel } = this.preTokenizer;
    this.encoder =
      "pieces" in model
        ? new UnigramEncoder(model.pieces, model.options, byteLevel)
        : new BytePairEncoder(model, byteLevel);
  }

  /** Characters of all texts so far that became nothing. */
  get dropped(): number {
    return this.encoder instanceof BytePairEncoder ? this.encoder.dropped : 0;
  }

  /**
   * @param most ids that are wanted: the first ones, which are the same whatever follows them
   * @param continues whether the text goes on with one before: what is put before a text is then left out
   */
  encode(text: string, most = Number.POSITIVE_INFINITY, continues = false): IdList {
    const ids = new IdList(most);
    this.ids = ids;
    let section = continues ? continued : 0;
    for (const piece of this.raw.split(text)) {
      if (ids.full) break;
      if (piece.id !== undefined) ids.push(piece.id);
      else this.encodePiece(piece.text, section);
      section = Math.max(section + 1, 1);
    }
    return ids;
  }

  private encodePiece(text: string, section: number): void {
    let part = section;
    const normalize = section === continued ? this.normalizeRest : this.normalize;
    for (const piece of this.normalized.split(normalize(text))) {
      if (this.ids.full) return;
      if (piece.id !== undefined) this.ids.push(piece.id);
      else this.preTokenizer.split(piece.text, part);
      part = Math.max(part + 1, 1);
    }
  }
}

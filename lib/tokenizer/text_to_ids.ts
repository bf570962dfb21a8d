/**
 * Text to token ids in the Rust library's order: added tokens that are not normalized, the normalizer, those that are, the
 * pre-tokenizer, the model. Each step hands on one piece after another, and all stop when enough ids are found.
 */
import type { JsonObject } from "../files/json";
import type { AddedTokens, SoughtColumns } from "./added_list";
import { AddedTokenSplitter } from "./added_tokens";
import { BytePairEncoder, type BytePairModel } from "./bpe";
import { IdList } from "./id_list";
import { normalizerOf } from "./normalizers";
import { type PreTokenizer, preTokenizerOf } from "./pre_tokens";

/** Added tokens, and how they are looked for. */
export interface AddedParts {
  readonly added: AddedTokens;
  /** Those that are looked for before the normalizer, and after it. */
  readonly raw: SoughtColumns;
  readonly normalized: SoughtColumns;
}

export class TextToIds {
  private readonly raw: AddedTokenSplitter;
  private readonly normalized: AddedTokenSplitter;
  private readonly normalize: (text: string) => string;
  private readonly preTokenizer: PreTokenizer;
  private readonly encoder: BytePairEncoder;
  /** Where the ids of the text in work go. */
  private ids = new IdList(0);

  /** @throws {Error} where a part cannot be built */
  constructor(tokenizer: JsonObject, model: BytePairModel, { added, raw, normalized }: AddedParts) {
    this.raw = new AddedTokenSplitter(raw, added);
    this.normalized = new AddedTokenSplitter(normalized, added);
    this.normalize = normalizerOf(tokenizer.normalizer as JsonObject | null) ?? ((text) => text);
    this.preTokenizer = preTokenizerOf(tokenizer.pre_tokenizer as JsonObject | null, (word) => {
      this.encoder.encode(word, this.ids);
      return !this.ids.full;
    });
    this.encoder = new BytePairEncoder(model, this.preTokenizer.byteLevel);
  }

  /** @param most ids that are wanted: the first ones, which are the same whatever follows them */
  encode(text: string, most = Number.POSITIVE_INFINITY): IdList {
    const ids = new IdList(most);
    this.ids = ids;
    let section = 0;
    for (const piece of this.raw.split(text)) {
      if (ids.full) break;
      if (piece.id !== undefined) ids.push(piece.id);
      else this.encodePiece(piece.text, section);
      section++;
    }
    return ids;
  }

  private encodePiece(text: string, section: number): void {
    let part = section;
    for (const piece of this.normalized.split(this.normalize(text))) {
      if (this.ids.full) return;
      if (piece.id !== undefined) this.ids.push(piece.id);
      else this.preTokenizer.split(piece.text, part);
      part++;
    }
  }
}

/**
 * Text to token ids in the Rust library's order: added tokens that are not normalized, the normalizer, those that are, the
 * pre-tokenizer, the model. Each step hands on one piece after another, and all stop when enough ids are found.
 */

import type { JsonObject } from "../files/json";
import { AddedTokenSplitter } from "./added_tokens";
import { BytePairEncoder, type BytePairModel } from "./bpe";
import { normalizerOf } from "./hub_splits";
import { IdList } from "./id_list";
import { type PreTokenizer, preTokenizerOf } from "./pre_tokens";
import type { AddedToken } from "./tokenizer_files";

export class TextToIds {
  private readonly added: readonly AddedToken[];
  private readonly normalize: (text: string) => string;
  private readonly raw: AddedTokenSplitter;
  private normalized: AddedTokenSplitter | undefined;
  private readonly preTokenizer: PreTokenizer;
  private readonly encoder: BytePairEncoder;
  /** Where the ids of the text in work go. */
  private ids = new IdList(0);

  /** @throws {Error} where a part cannot be built */
  constructor(tokenizer: JsonObject, model: BytePairModel) {
    this.added = tokenizer.added_tokens as readonly AddedToken[];
    this.normalize = normalizerOf(tokenizer.normalizer as JsonObject | null) ?? ((text) => text);
    this.raw = new AddedTokenSplitter(
      this.added.flatMap((token) => (token.normalized ? [] : [{ token, text: token.content }])),
    );
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
    // Made when it is first used, and so under the time limit of encoding: the normalizer may hold any pattern.
    this.normalized ??= new AddedTokenSplitter(
      this.added.flatMap((token) => (token.normalized ? [{ token, text: this.normalize(token.content) }] : [])),
    );
    let section = 0;
    for (const piece of this.raw.split(text)) {
      if (ids.full) break;
      if (piece.token) ids.push(piece.token.id);
      else this.encodePiece(piece.text, section, this.normalized);
      section++;
    }
    return ids;
  }

  private encodePiece(text: string, section: number, splitter: AddedTokenSplitter): void {
    let part = section;
    for (const piece of splitter.split(this.normalize(text))) {
      if (this.ids.full) return;
      if (piece.token) this.ids.push(piece.token.id);
      else this.preTokenizer.split(piece.text, part);
      part++;
    }
  }
}

/**
 * Text to token ids in the Rust library's order: added tokens that are not normalized, the normalizer, those that are, the
 * pre-tokenizer, the model. Each step hands on one piece after another, and all stop when enough ids are found.
 */

import type { JsonObject } from "../files/json";
import { atOnce, type Steps } from "../steps";
import { AddedTokenSplitter, type SoughtToken } from "./added_tokens";
import { BytePairEncoder, type BytePairModel } from "./bpe";
import type { AddedToken } from "./files";
import { normalizerOf } from "./hub_splits";
import { IdList } from "./id_list";
import { type PreTokenizer, preTokenizerOf } from "./pre_tokens";

/** The added tokens that are looked for after the normalizer, or before it, and how they stand in the text there. */
function* soughtIn(
  added: readonly AddedToken[],
  normalized: boolean,
  textOf: (content: string) => string,
): Generator<SoughtToken, void, void> {
  for (const token of added) if (token.normalized === normalized) yield { token, text: textOf(token.content) };
}

export class TextToIds {
  private readonly added: readonly AddedToken[];
  private readonly normalize: (text: string) => string;
  private normalized: AddedTokenSplitter | undefined;
  private readonly preTokenizer: PreTokenizer;
  private readonly encoder: BytePairEncoder;
  /** Where the ids of the text in work go. */
  private ids = new IdList(0);

  /** @throws {Error} where a part cannot be built */
  static *of(tokenizer: JsonObject, model: BytePairModel): Steps<TextToIds> {
    const added = tokenizer.added_tokens as readonly AddedToken[];
    const raw = yield* AddedTokenSplitter.of(soughtIn(added, false, (text) => text));
    return new TextToIds(tokenizer, model, raw);
  }

  private constructor(
    tokenizer: JsonObject,
    model: BytePairModel,
    /** Added tokens that are looked for before the normalizer. */
    private readonly raw: AddedTokenSplitter,
  ) {
    this.added = tokenizer.added_tokens as readonly AddedToken[];
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
    // Made when it is first used, and so under the time limit of encoding: the normalizer may hold any pattern.
    this.normalized ??= atOnce(AddedTokenSplitter.of(soughtIn(this.added, true, this.normalize)));
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

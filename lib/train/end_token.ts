/** What a run says of the token that ends a text: a model that does not learn one writes until it is stopped. */
import { quoted } from "../errors";
import type { Tokenizer } from "../tokenizer/tokenizer";

/**
 * @param endTokenId the token that is put behind each text of the data; null where there is none, undefined where that is not
 * known
 * @param model whose generation stops at `eosTokenIds`
 */
export function endTokenNotices(
  endTokenId: number | null | undefined,
  model: { readonly eosTokenIds: readonly number[]; readonly tokenizer: Tokenizer | undefined },
): string[] {
  if (endTokenId === undefined) return [];
  if (endTokenId === null)
    return [
      "The tokenizer's folder names no token that ends a text (eos_token, eos_token_id): none is put behind texts and completions, so that the model does not learn where to stop",
    ];
  if (model.eosTokenIds.includes(endTokenId)) return [];
  const text = model.tokenizer?.tokenText(endTokenId);
  const name = text === undefined ? `${endTokenId}` : `${endTokenId}, ${quoted(text)},`;
  return [
    `The data's tokenizer ends texts with token ${name} at which the model's generation does not stop; read the data with the model's tokenizer`,
  ];
}

/** A small tokenizer.json, for tests of what may be changed in it. */
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const letters = [..."abcxyz019 .,!-▁Ġé²Σσς\u0085\ufeff"];
export const vocab = Object.fromEntries([...letters, "ab"].map((token, id) => [token, id]));
/** The id that the first token beside the vocabulary has. */
export const next = letters.length + 1;
export const model = { type: "BPE", vocab, merges: ["a b"] };

/** The tokenizer with other fields. */
export const built = (change: object) =>
  new Tokenizer({ directory: "/folder", tokenizerJson: JSON.stringify({ added_tokens: [], model, ...change }) });

export const split = (change: object) => ({
  pre_tokenizer: { type: "Split", pattern: { String: "," }, behavior: "Isolated", invert: false, ...change },
});
export const added = (...tokens: object[]) => ({ added_tokens: tokens });

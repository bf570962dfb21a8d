/** That a tokenizer.json which is accepted splits texts as the Rust library does (tokenizers 0.23). */
import { added, built, model, next, split } from "./tokenizer_schema_support";

const pieces = (change: object, text: string) => {
  const tokenizer = built(change);
  return [...tokenizer.encode(text)].map((id) => tokenizer.tokenText(id)).join("|");
};

// Expected pieces are those of the Rust library.
test.each<[string, object, string, string]>([
  ["digits beyond ASCII", { pre_tokenizer: { type: "Digits", individual_digits: true } }, "ab²ab", "ab|²|ab"],
  ["punctuation one by one", { pre_tokenizer: { type: "Punctuation", behavior: "Removed" } }, "a!!b", "a|b"],
  ["removed text", split({ behavior: "Removed" }), "a,b", "a|b"],
  ["removed groups", split({ pattern: { Regex: "(,)(!)?" }, behavior: "Removed" }), "a,b", "a|b"],
  ["matches alone", split({ pattern: { Regex: "[ab]+" }, behavior: "Removed", invert: true }), "ab,ab", "ab|ab"],
  ["words beyond ASCII", { pre_tokenizer: { type: "Whitespace" } }, "é ab", "é|ab"],
  ["white space", { pre_tokenizer: { type: "WhitespaceSplit" } }, "a\u0085b\ufeffa", "a|b|\ufeff|a"],
  [
    "Metaspace within a sequence",
    { pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Metaspace" }] } },
    "ab ab",
    "▁|ab|▁|ab",
  ],
  [
    "a dollar sign in what replaces",
    { normalizer: { type: "Replace", pattern: { String: "x" }, content: "$&" } },
    "xa",
    "a",
  ],
  [
    "nothing to prepend to",
    {
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "Strip", strip_left: true, strip_right: true },
          { type: "Prepend", prepend: "▁" },
        ],
      },
    },
    " \u0085",
    "",
  ],
  [
    "characters that Nmt removes or makes spaces",
    { normalizer: { type: "Nmt" }, pre_tokenizer: { type: "WhitespaceSplit" } },
    "a\u0001b\u200ba\tb\u000bb",
    "ab|a|b|b",
  ],
  ["lower case letter by letter", { normalizer: { type: "Lowercase" } }, "ΣΣ", "σ|σ"],
  [
    "accents",
    {
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "NFD" },
          { type: "StripAccents" },
          { type: "Replace", pattern: { String: "e" }, content: "a" },
        ],
      },
    },
    "éb",
    "ab",
  ],
  [
    "a token with its spaces",
    added({ id: next, content: "<x>", lstrip: true, rstrip: true }),
    "a\u0085 <x>  b",
    "a|<x>|b",
  ],
  [
    "a token that is a whole word",
    added({ id: next, content: "<x>", single_word: true }),
    "<x>a <x> a<x> <x>",
    "x|a| |<x>| |a|x| |<x>",
  ],
  [
    "the longest of two tokens",
    added({ id: next, content: "<x" }, { id: next + 1, content: "<x>y" }),
    "<x>y<xa",
    "<x>y|<x|a",
  ],
  [
    "a token that is normalized",
    { ...added({ id: next, content: "AB", normalized: true }), normalizer: { type: "Lowercase" } },
    "xab",
    "x|ab", // it shows as the normalizer spells it
  ],
  [
    "one that is not",
    { ...added({ id: next, content: "AB", normalized: false }), normalizer: { type: "Lowercase" } },
    "ABab",
    "AB|ab",
  ],
  [
    "the first piece alone has a prefix",
    {
      ...added({ id: next, content: "<x>", normalized: true }),
      pre_tokenizer: { type: "Metaspace", prepend_scheme: "first", split: false },
    },
    "x<x>y",
    "▁|x|<x>|y",
  ],
  ["a model of no type", { model: { ...model, type: undefined } }, "ab", "ab"],
  [
    "truncation and padding, which transformers overrides",
    { truncation: { max_length: 1 }, padding: {} },
    "aab",
    "a|ab",
  ],
])("as the Rust library has it: %s", (_, change, text, expected) => {
  // biome-ignore format: one line a case
  expect(pieces(change, text)).toBe(expected);
});

/** Which tokenizer.json is accepted. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { limits } from "../../lib/limits";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";
import { added, built, model, next, split, vocab } from "./tokenizer_schema_support";

const unigram = {
  type: "Unigram",
  unk_id: 0,
  vocab: [
    ["<unk>", 0],
    ["a", -1],
  ],
};
const ofLength = (length: number) => ({
  model: {
    ...unigram,
    vocab: [
      ["a".repeat(length), 0],
      ["b", -1],
    ],
  },
});
const sequence = (count: number, inner: object): object => ({
  type: "Sequence",
  normalizers: Array(count).fill(inner),
});
const decoders = (count: number, inner: object) => ({ type: "Sequence", decoders: Array(count).fill(inner) });
const grow = (content: string, pattern: object = { String: "a" }) => ({ type: "Replace", pattern, content });
const template = (...single: object[]) => ({ post_processor: { type: "TemplateProcessing", single } });
const textItem = { Sequence: { id: "A", type_id: 0 } };

test.each<[string, object, RegExp]>([
  [
    "a prefix of continuing subwords",
    { model: { ...model, continuing_subword_prefix: "##" } },
    /null or "" for model\.continuing_subword_prefix .* "##"/,
  ],
  ["a suffix of words", { model: { ...model, end_of_word_suffix: "</w>" } }, /model\.end_of_word_suffix/],
  [
    "a suffix of continuing subwords",
    { model: { ...model, continuing_subword_suffix: "@@" } },
    /continuing_subword_suffix/,
  ],
  ["dropout", { model: { ...model, dropout: 0.1 } }, /null or 0 for model\.dropout/],
  ["an unknown field of the model", { model: { ...model, fresh: 1 } }, /Unsupported field "model\.fresh"/],
  [
    "a flag that is none",
    { model: { ...model, byte_fallback: "yes" } },
    /true, false or null for model\.byte_fallback/,
  ],
  ["a unigram model that samples", { model: { ...unigram, nbest_size: 2 } }, /Unsupported field "model\.nbest_size"/],
  ["a unigram model with an object of pieces", { model: { ...unigram, vocab } }, /no list `model\.vocab`/],
  ["an unknown piece beyond the vocabulary", { model: { ...unigram, unk_id: 2 } }, /\[0, 2\) for model\.unk_id .* 2/],
  ["an unknown piece that is no id", { model: { ...unigram, unk_id: "a" } }, /model\.unk_id/],
  ["a score that is no number", { model: { ...unigram, vocab: [["a", "0"]] } }, /\[piece, score\]/],
  ["a piece without score", { model: { ...unigram, vocab: ["a"] } }, /\[piece, score\]/],
  [
    "a piece that is there twice",
    {
      model: {
        ...unigram,
        vocab: [
          ["a", 0],
          ["a", 1],
        ],
      },
    },
    /each once .* "a"/,
  ],
  ["a WordPiece model", { model: { type: "WordPiece", vocab } }, /"Unigram" or "BPE" for model\.type/],
  ["a WordLevel model", { model: { type: "WordLevel", vocab } }, /"Unigram" or "BPE" for model\.type/],
  ["a model without type or merges", { model: { vocab } }, /"Unigram" or "BPE" for model\.type/],
  ["another version", { version: "2.0" }, /"1\.0" for version/],
  ["an unknown field", { fresh: null }, /Unsupported field "fresh"/],
  [
    "a precompiled normalizer",
    { normalizer: { type: "Precompiled", precompiled_charsmap: "AAAA" } },
    /normalizer\.type .* "Precompiled"/,
  ],
  ["an unknown normalizer", { normalizer: { type: "toString" } }, /normalizer\.type/],
  [
    "one within a sequence",
    { normalizer: sequence(1, { type: "BertNormalizer" }) },
    /normalizer\.normalizers\[0\]\.type/,
  ],
  ["a Replace without content", { normalizer: { type: "Replace", pattern: { String: "a" } } }, /normalizer\.content/],
  [
    "a Replace of nothing",
    { normalizer: { type: "Replace", pattern: { String: "" }, content: "a" } },
    /normalizer\.pattern/,
  ],
  [
    "an unknown Split",
    split({ behavior: "Merged" }),
    /"MergedWithNext" or "Contiguous" for pre_tokenizer\.behavior .* received "Merged"/,
  ],
  [
    "normalizers that multiply a text",
    { normalizer: sequence(3, { type: "Replace", pattern: { String: "a" }, content: "a".repeat(64) }) },
    /at most 64 times as long but received one that may make it 262144 times as long/,
  ],
  [
    "patterns that compare much together",
    {
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: Array(32).fill(
          split({ pattern: { Regex: "(?:a|a)(?:a|a)(?:a|a)(?:a|a|a)a{64}b" } }).pre_tokenizer,
        ),
      },
    },
    /compare at most 1024 characters at each place of a text in .* compare up to \d{5}/,
  ],
  ["a Split without invert", split({ invert: undefined }), /pre_tokenizer\.invert/],
  ["a Split with another field", split({ max_splits: 1 }), /Unsupported field "pre_tokenizer\.max_splits"/],
  ["an unknown pre-tokenizer", { pre_tokenizer: { type: "UnicodeScripts" } }, /pre_tokenizer\.type/],
  [
    "another replacement",
    { pre_tokenizer: { type: "Metaspace", replacement: "_" } },
    /"▁" for pre_tokenizer\.replacement/,
  ],
  [
    "two kinds of prefix",
    { pre_tokenizer: { type: "Metaspace", add_prefix_space: false, prepend_scheme: "first" } },
    /"never" with add_prefix_space false/,
  ],
  [
    "ByteLevel twice",
    { pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "ByteLevel" }, { type: "ByteLevel" }] } },
    /one ByteLevel at most/,
  ],
  [
    "Metaspace after another",
    { pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Digits" }, { type: "Metaspace" }] } },
    /one Metaspace at most, in its usual place/,
  ],
  ["a decoder for WordPiece", { decoder: { type: "WordPiece", prefix: "##" } }, /decoder\.type/],
  [
    "a decoder that strips two characters",
    { decoder: { type: "Strip", content: "ab", start: 1, stop: 0 } },
    /one character/,
  ],
  ["an unknown flag of a token", added({ id: next, content: "<x>", fresh: true }), /added_tokens\[0\]\.fresh/],
  [
    "a token with another id than the vocabulary's",
    added({ id: next, content: "a" }),
    /0, as elsewhere, for the id of "a"/,
  ],
  [
    "a token with two ids",
    added({ id: next, content: "<x>" }, { id: next + 1, content: "<x>" }),
    new RegExp(`${next}, as elsewhere,`),
  ],
  [
    "an id for two tokens",
    added({ id: next, content: "<x>" }, { id: next, content: "<y>" }),
    new RegExp(`${next + 1}, as elsewhere, for the id of "<y>"`),
  ],
  [
    "a post-processor with a token of no vocabulary",
    template({ SpecialToken: { id: "<s>" } }, textItem),
    /a token of the vocabulary .* "<s>"/,
  ],
  ["a post-processor that leaves the text out", template({ SpecialToken: { id: "a" } }), /Sequence A once/],
  ["a post-processor for pairs", template(textItem, { Sequence: { id: "B" } }), /SpecialToken or Sequence A/],
  [
    "a special token of several ids",
    {
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: { id: "a" } }, textItem],
        special_tokens: { a: { id: "a", ids: [0, 1], tokens: ["a", "b"] } },
      },
    },
    /a list of one id/,
  ],
  [
    "a special token of another id",
    { post_processor: { type: "RobertaProcessing", cls: ["a", 5], sep: ["b", 1] } },
    /the id of "a" in post_processor/,
  ],
])("refused: %s", (_, change, message) => {
  // biome-ignore format: one line a case
  expect(() => built(change)).toThrow(
    expect.objectContaining({ code: "ERR_TOKENIZER", message: expect.stringMatching(message) }),
  );
});

test.each<[string, object, boolean]>([
  ["a billion", added({ id: 1e9, content: "<x>" }), false],
  ["2^31", added({ id: 2 ** 31, content: "<x>" }), false],
  [
    "the largest id of the vocabulary",
    { model: { ...model, vocab: { a: 0, b: 1, ab: limits.unusedTokenIds + 23 } } },
    true,
  ],
  ["one past that", { model: { ...model, vocab: { a: 0, b: 1, ab: limits.unusedTokenIds + 24 } } }, false],
  ["a long token", { model: { ...model, vocab: { ...vocab, ["a".repeat(limits.tokenCharacters)]: 50 } } }, true],
  ["a longer one", { model: { ...model, vocab: { ...vocab, ["a".repeat(limits.tokenCharacters + 1)]: 50 } } }, false],
  ["a long piece", ofLength(limits.pieceCharacters), true],
  ["a longer piece", ofLength(limits.pieceCharacters + 1), false],
  ["a long added token", added({ id: next, content: "x".repeat(limits.addedTokenCharacters) }), true],
  ["a longer added token", added({ id: next, content: "x".repeat(limits.addedTokenCharacters + 1) }), false],
  [
    "many added tokens",
    { added_tokens: Array.from({ length: limits.addedTokens }, (_, at) => ({ id: next + at, content: `<${at}>` })) },
    true,
  ],
  [
    "one added token more",
    {
      added_tokens: Array.from({ length: limits.addedTokens + 1 }, (_, at) => ({ id: next + at, content: `<${at}>` })),
    },
    false,
  ],
  ["many components", { normalizer: sequence(limits.components, { type: "StripAccents" }) }, true],
  ["one more component", { normalizer: sequence(limits.components + 1, { type: "StripAccents" }) }, false],
  [
    "many components in two sequences",
    { normalizer: sequence(2, sequence(limits.components, { type: "StripAccents" })) },
    false,
  ],
  [
    "sequences in sequences (componentDepth)",
    { normalizer: sequence(1, sequence(1, sequence(1, sequence(1, { type: "NFC" })))) },
    true,
  ],
  [
    "one level more",
    { normalizer: sequence(1, sequence(1, sequence(1, sequence(1, sequence(1, { type: "NFC" }))))) },
    false,
  ],
  ["a long pattern", split({ pattern: { Regex: `[${",".repeat(limits.patternCharacters - 2)}]` } }), true],
  ["a longer pattern", split({ pattern: { Regex: `[${",".repeat(limits.patternCharacters - 1)}]` } }), false],
  ["patterns that compare much", split({ pattern: { String: ",".repeat(limits.patternCost) } }), true],
  ["patterns that compare more", split({ pattern: { String: ",".repeat(limits.patternCost + 1) } }), false],
  ["great growth", { normalizer: sequence(6, grow("a".repeat(2))) }, true],
  ["greater growth", { normalizer: sequence(7, grow("a".repeat(2))) }, false],
  ["great growth by decoders", { decoder: decoders(6, grow("a".repeat(2))) }, true],
  ["greater growth by decoders", { decoder: decoders(7, grow("a".repeat(2))) }, false],
  ["growth by a pattern", { normalizer: grow("a".repeat(limits.normalizerGrowth), { Regex: "a" }) }, true],
  ["growth by a pattern of nothing", { normalizer: grow("a".repeat(32), { Regex: "a?" }) }, false],
  ["a long replacement", { normalizer: { type: "Prepend", prepend: "x".repeat(limits.replacementCharacters) } }, true],
  [
    "a longer replacement",
    { normalizer: { type: "Prepend", prepend: "x".repeat(limits.replacementCharacters + 1) } },
    false,
  ],
])("limits: %s", (_, change, accepted) => {
  // biome-ignore format: one line a case
  if (accepted) expect([...built(change).encode("b")].at(-1)).toBe(1);
  else expect(() => built(change)).toThrow(expect.objectContaining({ code: "ERR_TOKENIZER" }));
});

const lines = { Regex: "(?:\\r?\\n)+" };
test.each([
  ["pre-tokenizer", split({ pattern: lines })],
  ["normalizer", { normalizer: { type: "Replace", pattern: lines, content: " " } }],
])("a match of a %s that the engine cannot hold is an error", (_, change) => {
  const tokenizer = built(change);
  expect(() => tokenizer.encode("\n".repeat(limits.textCharacters))).toThrow(
    expect.objectContaining({
      code: "ERR_TOKENIZER",
      message: expect.stringMatching(/words of at most about 4 million characters/),
    }),
  );
});

test("many added tokens with long beginnings in common are looked for quickly", () => {
  const long = "a".repeat(limits.addedTokenCharacters - 2);
  const contents = new Set(Array.from("bcxyz019".repeat(8), (one, at) => `${long}${one}${at % 10}`));
  const tokenizer = built(added(...Array.from(contents, (content, at) => ({ id: next + at, content }))));
  const started = process.cpuUsage();
  const ids = tokenizer.encode(`${"a".repeat(1 << 16)}b0`);
  expect(tokenizer.tokenText(ids.at(-1)!)).toBe(`${long}b0`);
  const { user, system } = process.cpuUsage(started);
  expect((user + system) / 1000).toBeLessThan(2000);
});

test.each(["[1,1,1,1,1,1,1,1]", `["a"${",".repeat(1)}"b c d"]`, "[[1,2]]", '["a"]', '[["a"]]'])(
  "merges %s are refused",
  (merges) => {
    const text = JSON.stringify({ added_tokens: [], model: { ...model, merges: "HERE" } }).replace('"HERE"', merges);
    expect(() => new Tokenizer({ directory: "/folder", tokenizerJson: text })).toThrow(
      expect.objectContaining({ code: "ERR_TOKENIZER" }),
    );
  },
);

test("the libraries whose insides are replaced have the versions that this was written for", () => {
  const root = path.join(__dirname, "..", "..");
  const { dependencies } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
  for (const [name, version] of [["@huggingface/tokenizers", "0.2.0"]] as const) {
    // biome-ignore format: one line
    const installed = path.join(root, "node_modules", name, "package.json");
    expect([name, dependencies[name], JSON.parse(readFileSync(installed, "utf8")).version]).toEqual([
      name,
      version,
      version,
    ]);
  }
});

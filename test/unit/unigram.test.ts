import { IdList } from "../../lib/tokenizer/id_list";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";
import { UnigramEncoder } from "../../lib/tokenizer/unigram";
import { PieceTable } from "../../lib/tokenizer/unigram_pieces";

type Vocabulary = [piece: string, score: number][];

function tableOf(vocabulary: Vocabulary): PieceTable {
  const table = new PieceTable(vocabulary.length);
  for (const [id, [piece, score]] of vocabulary.entries()) expect(table.add(piece, id, score)).toBe(true);
  return new PieceTable(table.columns);
}

function idsOf(encoder: UnigramEncoder, text: string, most = Number.POSITIVE_INFINITY): number[] {
  const ids = new IdList(most);
  encoder.encode(text, ids);
  return [...ids.between([], [])];
}

/** Of all ways to split a text the best; of equal ones the one whose last piece is longest. Unknown characters in a row are one. */
function best(vocabulary: Vocabulary, text: string): number[] {
  const lowest = Math.min(...vocabulary.map(([, score]) => score));
  const ways: { score: number; ids: number[] }[] = [{ score: 0, ids: [] }];
  const at = Array.from(text);
  for (let end = 1; end <= at.length; end++)
    for (let start = 0; start < end; start++) {
      const piece = at.slice(start, end).join("");
      const id = vocabulary.findIndex(([one]) => one === piece);
      if (id < 0 && end - start > 1) continue;
      const score = ways[start]!.score + (id < 0 ? lowest - 10 : vocabulary[id]![1]);
      const known = ways[end];
      if (known && !(score > known.score)) continue;
      const before = ways[start]!.ids;
      ways[end] = { score, ids: id < 0 && before.at(-1) === 0 ? before : [...before, Math.max(id, 0)] };
    }
  return ways[at.length]!.ids;
}

/** The same numbers each time. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

test("texts are split in the best way, however little of them is held", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = numbers(seed);
    const alphabet = ["ab", "abé", "a😀b▁"][seed % 3]!;
    const letters = Array.from(alphabet);
    const piece = (length: number) => Array.from({ length }, () => letters[random(letters.length)]).join("");
    const pieces = new Set(["<unk>"]);
    for (let count = 0; count < 12; count++) pieces.add(piece(1 + random(6)));
    const vocabulary: Vocabulary = [...pieces].map((one) => [one, one === "<unk>" ? 0 : -random(8) / 4]);
    const text = Array.from({ length: 90 }, () => (random(9) === 0 ? "Zß" : piece(1))).join("");
    const expected = best(vocabulary, text);
    const table = tableOf(vocabulary);
    for (const stretch of [1, 5, 4096]) {
      const encoder = new UnigramEncoder(table, { unk_id: 0 }, false, stretch);
      expect({ seed, stretch, ids: idsOf(encoder, text) }).toEqual({ seed, stretch, ids: expected });
      expect(idsOf(encoder, text, 4)).toEqual(expected.slice(0, 4));
      expect(idsOf(encoder, text)).toEqual(expected); // nothing is left of the word before
    }
  }
});

const bytes: Vocabulary = Array.from({ length: 256 }, (_, byte) => [
  `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  -9,
]);

test("unknown characters are bytes where there are all of them, else one token in a row", () => {
  const vocabulary: Vocabulary = [["<unk>", 0], ["a", -1], ...bytes];
  const byteIds = (text: string) => [...Buffer.from(text)].map((byte) => byte + 2);
  const whole = new UnigramEncoder(tableOf(vocabulary), { unk_id: 0, byte_fallback: true }, false);
  expect(idsOf(whole, "aé日a")).toEqual([1, ...byteIds("é日"), 1]);
  const lacking = vocabulary.filter(([piece]) => piece !== "<0xE6>");
  const part = new UnigramEncoder(tableOf(lacking), { unk_id: 0, byte_fallback: true }, false);
  expect(idsOf(part, "aé日a日")).toEqual([1, 0, 1, 0]);
  const without = new UnigramEncoder(tableOf(vocabulary), { unk_id: 0, byte_fallback: false }, false);
  expect(idsOf(without, "éé")).toEqual([0]);
});

test("a vocabulary without an unknown token refuses unknown characters", () => {
  const encoder = new UnigramEncoder(tableOf([["a", -1]]), {}, false);
  expect(idsOf(encoder, "aa")).toEqual([0, 0]);
  expect(() => idsOf(encoder, "ab")).toThrow(
    expect.objectContaining({ code: "ERR_TOKENIZER", message: expect.stringMatching(/no unknown token, .* "b"/) }),
  );
});

test("a long text without any certain place is encoded at once, in memory for its pieces", () => {
  // Every place is inside of a piece that is the best so far: the end decides what the beginning is.
  const encoder = new UnigramEncoder(
    tableOf([
      ["<unk>", 0],
      ["aa", -1],
      ["a", -3],
    ]),
    { unk_id: 0 },
    false,
    16,
  );
  expect(idsOf(encoder, "a".repeat(100_001))).toEqual([2, ...Array(50_000).fill(1)]);
  expect(idsOf(encoder, "a".repeat(100_000))).toEqual(Array(50_000).fill(1));
});

const document = {
  version: "1.0",
  model: {
    type: "Unigram",
    unk_id: 0,
    vocab: [
      ["<unk>", 0],
      ["▁", -2],
      ["▁a", -2],
      ["b", -3],
    ],
  },
  added_tokens: [],
  pre_tokenizer: { type: "Metaspace", prepend_scheme: "always", split: true },
  decoder: { type: "Metaspace", prepend_scheme: "always" },
};
const built = (tokenizerConfig = {}) =>
  new Tokenizer({
    directory: "folder",
    tokenizerJson: JSON.stringify(document),
    tokenizerConfig: JSON.stringify(tokenizerConfig),
  });

test("a tokenizer.json with a unigram model", () => {
  const tokenizer = built();
  expect([...tokenizer.encode("a b")]).toEqual([2, 1, 3]);
  expect(tokenizer.decode([2, 1, 3])).toBe("a b");
  expect(tokenizer.vocabSize).toBe(4);
  expect(tokenizer.tokenText(2)).toBe("▁a");
});

test("transformers makes a byte-pair encoding of LlamaTokenizer's vocabulary, so that a unigram model is refused", () => {
  expect(() => built({ tokenizer_class: "LlamaTokenizer" })).toThrow(
    expect.objectContaining({ code: "ERR_TOKENIZER", message: expect.stringMatching(/"BPE" for model.type beside/) }),
  );
});

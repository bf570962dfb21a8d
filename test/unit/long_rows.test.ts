/** Long rows and long words: the ids of the whole, at the cost of the part that is kept. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import { encodeLine } from "../../lib/data/encode_row";
import { embeddedModelDir } from "../../lib/index";
import { limits } from "../../lib/limits";
import { BytePairEncoder } from "../../lib/tokenizer/bpe";
import { MergeTable } from "../../lib/tokenizer/bpe_tables";
import { IdList } from "../../lib/tokenizer/id_list";
import { TokenTable } from "../../lib/tokenizer/token_table";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";
import { peakSource } from "./peak_memory";

const fixtures = path.join(__dirname, "../parity/fixtures/tokenizer");

/** Bytes of the rows; the memory of ten times as much is allowed for each. */
const rowBytes = 12 * 2 ** 20;
const rows = { prose: "Once upon a time ", letters: "a", spaces: " ", emoji: "🦙", newlines: "\n" };

const script = `${peakSource}
const { Tokenizer, embeddedModelDir } = require(${JSON.stringify(path.join(__dirname, "../../dist"))});
const { encodeLine } = require(${JSON.stringify(path.join(__dirname, "../../dist/data/encode_row.js"))});
(async () => {
  const tokenizer = await Tokenizer.fromPretrained(embeddedModelDir());
  const [unit] = JSON.parse(process.argv[1]);
  const line = Buffer.from(JSON.stringify({ text: unit.repeat(${rowBytes} / Buffer.byteLength(JSON.stringify(unit).slice(1, -1)) | 0) }));
  const options = { format: "auto", loss: "completion", maxLength: 256 };
  encodeLine(Buffer.from('{"text":"warm up"}'), tokenizer, options);
  const before = peak();
  const { truncated, tokenIds } = encodeLine(line, tokenizer, options);
  console.log(JSON.stringify({ truncated, length: tokenIds.length, grown: peak() - before }));
})();`;

test.each(Object.entries(rows))("a long row of %s takes at most ten times its bytes", (_, unit) => {
  const { stdout, stderr } = spawnSync(process.execPath, ["-e", script, JSON.stringify([unit])], { encoding: "utf8" });
  expect(stderr).toBe("");
  const { truncated, length, grown } = JSON.parse(stdout);
  expect([truncated, length]).toEqual([true, 256]);
  expect(grown).toBeLessThan(10 * rowBytes);
});

test.each(["llama", "byte_level"])("%s: the first ids are those of the whole", async (name) => {
  const tokenizer = await Tokenizer.fromPretrained(path.join(fixtures, name));
  for (const text of [
    "Hello, world! 日本 😀  \n\n 12345 <s> </s> é",
    "ab ".repeat(9000),
    "🦙".repeat(9000),
    " ".repeat(9000),
  ]) {
    const whole = tokenizer.encode(text, { addSpecialTokens: false });
    for (const most of [0, 1, 2, 7, 100, whole.length, whole.length + 1])
      expect([...tokenizer.encodeStart(text, most)]).toEqual([...whole.subarray(0, most)]);
  }
});

/** Byte-pair encoding by the book: the first of the lowest-ranked pairs is merged, again and again. */
function reference(word: string, merges: readonly (readonly [string, string])[]): string[] {
  const ranks = new Map(merges.map(([left, right], rank) => [`${left} ${right}`, rank]));
  const symbols = [...word];
  for (;;) {
    let best = -1;
    let lowest = Number.POSITIVE_INFINITY;
    for (let at = 0; at + 1 < symbols.length; at++) {
      const rank = ranks.get(`${symbols[at]} ${symbols[at + 1]}`) ?? Number.POSITIVE_INFINITY;
      if (rank < lowest) [best, lowest] = [at, rank];
    }
    if (best < 0) return symbols;
    symbols.splice(best, 2, symbols[best]! + symbols[best + 1]!);
  }
}

/** A vocabulary of random merges, in an order that no training would give. */
function randomVocabulary(random: (below: number) => number) {
  const tokens = [..."abc"];
  const merges: (readonly [string, string])[] = [];
  const count = 3 + random(20);
  while (merges.length < count) {
    const pair = [tokens[random(tokens.length)]!, tokens[random(tokens.length)]!] as const;
    if (merges.some(([left, right]) => left === pair[0] && right === pair[1])) continue;
    merges.splice(random(merges.length + 1), 0, pair);
    if (!tokens.includes(pair.join(""))) tokens.push(pair.join(""));
  }
  return { tokens, merges };
}

test("a word in stretches has the ids of the whole word, whatever the merges", () => {
  let seed = 5;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return (seed >>> 8) % below;
  };
  for (let round = 0; round < 400; round++) {
    const { tokens, merges } = randomVocabulary(random);
    const vocabulary = new TokenTable(tokens.length);
    for (const [id, token] of tokens.entries()) vocabulary.add(token, id);
    const table = new MergeTable(merges.length);
    for (const merge of merges) table.add(merge, vocabulary);
    const model = { options: {}, vocabulary, merges: table };
    const letters = 1 + random(3);
    const word = Array.from({ length: 60 + random(60) }, () => "abc"[random(letters)]).join("");
    const expected = reference(word, merges).map((token) => vocabulary.id(token));
    for (const most of [Number.POSITIVE_INFINITY, 5]) {
      const ids = new IdList(most);
      new BytePairEncoder(model, false, 4).encode(word, ids);
      const found = [...ids.between([], [])];
      expect({ merges, word, found }).toEqual({ merges, word, found: expected.slice(0, most) });
    }
  }
});

test("a word that is too long for the pattern makes the row unusable", async () => {
  const tokenizer = await Tokenizer.fromPretrained(embeddedModelDir());
  const text = "中".repeat(Math.floor(limits.lineBytes / 3) - 10);
  expect(() => tokenizer.encode(text)).toThrow(expect.objectContaining({ code: "ERR_TOKENIZER" }));
  const options = { format: "auto", loss: "completion", maxLength: 8 } as const;
  expect(() => encodeLine(Buffer.from(JSON.stringify({ text })), tokenizer, options)).toThrow(/has a longer one/);
  const begun = Buffer.from(JSON.stringify({ text: `a b c d e f g h i j ${text.slice(40)}` }));
  expect(encodeLine(begun, tokenizer, options).truncated).toBe(true); // the rest is not looked at
});

/** Characters of data that the tokenizer cannot spell are counted, and unusable rows can be refused. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Dataset, type DatasetOptions } from "../../lib/data/dataset";
import { smallestCached } from "../../lib/data/index_cache";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const vocabulary = Object.fromEntries(["<unk>", "a", "b", " ", "ab"].map((token, id) => [token, id]));
const tokenizerOf = (model: object) =>
  new Tokenizer({
    directory: "made",
    tokenizerJson: JSON.stringify({
      ...{ version: "1.0", truncation: null, padding: null, added_tokens: [], normalizer: null, pre_tokenizer: null },
      ...{ post_processor: null, decoder: null },
      model: { type: "BPE", vocab: vocabulary, merges: ["a b"], ...model },
    }),
  });
const optionsOf = (model: object): DatasetOptions => ({ tokenizer: tokenizerOf(model), maxLength: 9 });
const noticesOf = async (model: object, rows: unknown[]) => {
  await using data = await Dataset.fromRows(rows, optionsOf(model));
  return data.notices;
};

const rows = [
  { text: "ab ab" },
  { text: "aéb日" },
  { prompt: "é", completion: "ab" },
  { text: `ab${" a".repeat(9)}é` }, // beyond maxLength
];

test("unknown tokens are counted, with lines and characters", async () => {
  expect(await noticesOf({ unk_token: "<unk>" }, rows)).toEqual([
    '3 tokens are the unknown one (lines 2, 3): the tokenizer cannot spell some characters, such as "é", "日"',
  ]);
  expect(await noticesOf({ unk_token: "<unk>", fuse_unk: true }, [{ text: "aéé" }])).toEqual([
    '1 token is the unknown one (line 1): the tokenizer cannot spell some characters, such as "é"',
  ]);
});

test("characters that become nothing are counted by rows, the same word again too", async () => {
  const repeated = Array.from({ length: 7 }, () => ({ text: "aéb a" }));
  expect(await noticesOf({}, [{ text: "ab a" }, ...repeated])).toEqual([
    '7 rows lose characters (lines 2, 3, 4, 5, 6, ...): the tokenizer cannot spell them, and has no unknown token, such as "é"',
  ]);
});

test("there is no notice where every character can be spelled", async () => {
  expect(await noticesOf({ unk_token: "<unk>" }, rows.slice(0, 1))).toEqual([]);
  expect(await noticesOf({}, rows.slice(0, 1))).toEqual([]);
});

test("strict ends loading at the first unusable row, and allows truncated ones", async () => {
  const options = { ...optionsOf({}), strict: true };
  await (await Dataset.fromRows([rows[0], rows[3]], options)).dispose();
  await expect(Dataset.fromRows([rows[0], rows[3], { text: 5 }, {}], options)).rejects.toMatchObject({
    code: "ERR_DATA",
    message: 'the rows: line 3 cannot be used: "text" is not a string',
  });
});

test("strict refuses a file whose index was kept when rows were skipped", async () => {
  const folder = mkdtempSync(join(tmpdir(), "rubricate-strict-"));
  const before = process.env.RUBRICATE_CACHE;
  process.env.RUBRICATE_CACHE = join(folder, "cache");
  try {
    const path = join(folder, "data.jsonl");
    const long = JSON.stringify({ text: "ab ".repeat(smallestCached / 3) });
    writeFileSync(path, `${long}\n{"text": ""}\n{"text": 5}\n`);
    await (await Dataset.fromFile(path, optionsOf({}))).dispose();
    await expect(Dataset.fromFile(path, { ...optionsOf({}), strict: true })).rejects.toMatchObject({
      code: "ERR_DATA",
      message: `${path}: line 2 cannot be used: "text" is empty`,
    });
  } finally {
    process.env.RUBRICATE_CACHE = before;
    rmSync(folder, { recursive: true });
  }
});

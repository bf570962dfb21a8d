/** Special tokens that several files declare have the ids and flags that transformers gives them: bench/oracle/tokenizers/special_tokens.py. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "../../lib/index";
import { temporaryFolder } from "./failing_files";

const fixtures = join(__dirname, "..", "parity", "fixtures");
const document = JSON.parse(readFileSync(join(fixtures, "tokenizer", "llama", "tokenizer.json"), "utf8"));
const { texts, cases } = JSON.parse(readFileSync(join(fixtures, "special_tokens.json"), "utf8"));

const textOf = (value: unknown) => (value === null ? undefined : JSON.stringify(value));

const numbered: [at: number, one: (typeof cases)[number]][] = cases.map((one: object, at: number) => [at, one]);

test.each(numbered)("declaration %d", (_, { files, expected }) => {
  const { added, config, map, beside } = files;
  const tokenizer = new Tokenizer({
    directory: "here",
    tokenizerJson: JSON.stringify({ ...document, added_tokens: added }),
    tokenizerConfig: textOf(config),
    specialTokensMap: textOf(map),
    addedTokens: textOf(beside),
  });
  const ids = texts.map((text: string) => [...tokenizer.encode(text, { addSpecialTokens: false })]);
  expect(ids).toEqual(expected.ids);
  expect(ids.map((one: number[]) => tokenizer.decode(one, { skipSpecialTokens: true }))).toEqual(expected.skipped);
  expect([tokenizer.eosTokenId ?? null, tokenizer.bosTokenId ?? null]).toEqual([expected.eos, expected.bos]);
});

test("tokens that both lists have, beside few special ones", () => {
  const added = ["<a>", "<b>", "<c>", "<d>", "<e>"].map((content, at) => ({ id: 700 + at, content, special: true }));
  const declared = Object.fromEntries(added.map(({ id, ...token }) => [id, token]));
  const tokenizer = new Tokenizer({
    directory: "here",
    tokenizerJson: JSON.stringify({ ...document, added_tokens: [...document.added_tokens, ...added] }),
    tokenizerConfig: JSON.stringify({ eos_token: "<e>", added_tokens_decoder: declared }),
  });
  expect(tokenizer.eosTokenId).toBe(704);
  expect([...tokenizer.encode("<b><e>", { addSpecialTokens: false })]).toEqual([701, 704]);
});

describe("added_tokens.json", () => {
  let root: string;
  beforeEach(() => {
    root = join(temporaryFolder(), "t");
    mkdirSync(root);
    writeFileSync(join(root, "tokenizer.json"), JSON.stringify(document));
  });
  afterEach(() => rmSync(join(root, ".."), { recursive: true, force: true }));

  test("is read from the folder", async () => {
    writeFileSync(join(root, "added_tokens.json"), '{"zzz": 700}');
    const tokenizer = await Tokenizer.fromPretrained(root);
    expect([...tokenizer.encode("zzz", { addSpecialTokens: false })]).toEqual([700]);
  });

  test.each([
    ['{"zzz": "700"}', /Expected an integer from 0 .*received "700"/],
    ['["zzz"]', /added_tokens\.json does not hold a JSON object/],
    ['{"zzz": 700', /added_tokens\.json is not valid JSON/],
  ])("%s is refused", async (text, says) => {
    writeFileSync(join(root, "added_tokens.json"), text);
    await expect(Tokenizer.fromPretrained(root)).rejects.toMatchObject({
      code: "ERR_TOKENIZER",
      message: expect.stringMatching(says),
    });
  });
});

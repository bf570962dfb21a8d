import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { decodeByteLevel, decodeByteRuns } from "../../lib/tokenizer/library";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const fixtures = path.join(__dirname, "..", "parity", "fixtures", "tokenizer");

interface Cases {
  size: number;
  bos: number;
  eos: number;
  encoded: { text: string; ids: number[]; bare: number[]; decoded: string; decodedWithoutSpecial: string }[];
  decoded: { ids: number[]; text: string; textWithoutSpecial: string }[];
}

const names = ["byte_level", "llama"];
const loaded = new Map<string, { tokenizer: Tokenizer; cases: Cases }>();
beforeAll(async () => {
  for (const name of names) {
    const tokenizer = await Tokenizer.fromPretrained(path.join(fixtures, name));
    loaded.set(name, { tokenizer, cases: JSON.parse(readFileSync(path.join(fixtures, `${name}.json`), "utf8")) });
  }
});

describe.each(names)("%s as transformers has it", (name) => {
  test("ids of texts", () => {
    const { tokenizer, cases } = loaded.get(name)!;
    for (const { text, ids, bare } of cases.encoded) {
      expect({ text, ids: [...tokenizer.encode(text)] }).toEqual({ text, ids });
      expect([...tokenizer.encode(text, { addSpecialTokens: false })]).toEqual(bare);
    }
  });

  test("texts of ids", () => {
    const { tokenizer, cases } = loaded.get(name)!;
    for (const { ids, decoded, decodedWithoutSpecial } of cases.encoded) {
      expect(tokenizer.decode(ids)).toBe(decoded);
      expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(decodedWithoutSpecial);
    }
    for (const { ids, text, textWithoutSpecial } of cases.decoded) {
      expect({ ids, text: tokenizer.decode(Int32Array.from(ids)) }).toEqual({ ids, text });
      expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(textWithoutSpecial);
    }
  });

  test("streamed pieces make up the whole, and never end within a character", () => {
    const { tokenizer, cases } = loaded.get(name)!;
    const sequences = [...cases.encoded, ...cases.decoded].map((one) => one.ids);
    sequences.push(sequences.flat());
    for (const skipSpecialTokens of [false, true]) {
      const decoder = tokenizer.createDecoder({ skipSpecialTokens });
      for (const ids of sequences) {
        const whole = tokenizer.decode(ids, { skipSpecialTokens });
        let text = "";
        for (const id of ids) {
          text += decoder.push(id);
          expect(whole.startsWith(text)).toBe(true);
        }
        expect(text + decoder.end()).toBe(whole);
      }
    }
  });

  test("special ids and size", () => {
    const { tokenizer, cases } = loaded.get(name)!;
    expect(tokenizer.vocabSize).toBe(cases.size);
    expect(tokenizer.bosTokenId).toBe(cases.bos);
    expect(tokenizer.eosTokenId).toBe(cases.eos);
    expect(tokenizer.prefixIds).toEqual([cases.bos]);
    expect(tokenizer.suffixIds).toEqual([]);
    expect(tokenizer.isSpecial(cases.eos)).toBe(true);
    expect(tokenizer.isSpecial(300)).toBe(false);
  });

  test("its files cross threads unchanged", () => {
    const { tokenizer } = loaded.get(name)!;
    const copy = new Tokenizer(structuredClone(tokenizer.files));
    expect([...copy.encode("The quick 日本")]).toEqual([...tokenizer.encode("The quick 日本")]);
    expect(copy.hash).toBe(tokenizer.hash);
  });
});

test("streaming gives text as soon as it is certain", () => {
  const { tokenizer } = loaded.get("byte_level")!;
  const decoder = tokenizer.createDecoder();
  const ids = [...tokenizer.encode("a😀b", { addSpecialTokens: false })];
  const pieces = ids.map((id) => decoder.push(id));
  expect(pieces.filter((piece) => piece !== "")).toEqual(["a", "😀", "b"]);
  expect(decoder.end()).toBe("");
});

test("generation_config.json adds ends of turn", () => {
  const { tokenizer } = loaded.get("byte_level")!;
  expect(tokenizer.eosTokenIds.map((id) => tokenizer.tokenText(id))).toEqual(["<|end_of_text|>", "<|eot_id|>"]);
});

test("lone surrogates count as U+FFFD", () => {
  const { tokenizer } = loaded.get("byte_level")!;
  expect([...tokenizer.encode("a\ud800b")]).toEqual([...tokenizer.encode("a\ufffdb")]);
});

test("a word of a million characters", () => {
  const { tokenizer } = loaded.get("llama")!;
  const text = "hello world ".repeat(80_000);
  const ids = tokenizer.encode(text, { addSpecialTokens: false });
  expect(tokenizer.decode(ids)).toBe(text);
  const short = tokenizer.encode("hello world ".repeat(10), { addSpecialTokens: false });
  expect([...ids.subarray(0, short.length - 2)]).toEqual([...short.subarray(0, short.length - 2)]);
});

test.each<[number[]]>([[[]], [[1e9]]])("ids %j are no text", (ids) => {
  expect(loaded.get("llama")!.tokenizer.decode(ids)).toBe("");
  const decoder = loaded.get("llama")!.tokenizer.createDecoder();
  expect(ids.map((id) => decoder.push(id)).join("") + decoder.end()).toBe("");
});

test("decoding refuses what is no id", () => {
  expect(() => loaded.get("llama")!.tokenizer.decode([1.5])).toThrow(
    "Expected an integer from 0 to 4294967295 for ids[0]",
  );
});

const home = mkdtempSync(path.join(tmpdir(), "rubricate-tokenizer-"));
afterAll(() => rmSync(home, { recursive: true }));

function folderWith(files: Record<string, string>): string {
  const folder = mkdtempSync(path.join(home, "case-"));
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text);
  return folder;
}
const good = () => readFileSync(path.join(fixtures, "byte_level", "tokenizer.json"), "utf8");
const tinyModel = { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] };
const tiny = (change: object) => JSON.stringify({ added_tokens: [], model: tinyModel, ...change });

test.each<[string, Record<string, string>, RegExp]>([
  ["no tokenizer.json", {}, /tokenizer\.json does not exist/],
  ["not JSON", { "tokenizer.json": "{" }, /tokenizer\.json is not valid JSON/],
  ["no object", { "tokenizer.json": "[1]" }, /tokenizer\.json does not hold a JSON object/],
  ["no model", { "tokenizer.json": "{}" }, /tokenizer\.json has no `model`/],
  ["no vocabulary", { "tokenizer.json": tiny({ model: { type: "BPE" } }) }, /no `model\.vocab`/],
  ["no merges", { "tokenizer.json": tiny({ model: { ...tinyModel, merges: null } }) }, /no `model\.merges`/],
  [
    "an absurd id",
    { "tokenizer.json": tiny({ model: { ...tinyModel, vocab: { a: 2 ** 40 } } }) },
    /Expected an integer in \[0, \d+\) for an id of model\.vocab/,
  ],
  ["an unknown merge", { "tokenizer.json": tiny({ model: { ...tinyModel, merges: ["a c"] } }) }, /merge 0 names "c"/],
  [
    "an unknown model",
    { "tokenizer.json": tiny({ model: { type: "Odd", vocab: [] } }) },
    /Expected "Unigram" or "BPE" for model\.type in .*tokenizer\.json but received "Odd"/,
  ],
  ["a bad added token", { "tokenizer.json": tiny({ added_tokens: [{ id: 1 }] }) }, /added_tokens\[0\]\.content/],
  [
    "a bad configuration",
    { "tokenizer.json": good(), "tokenizer_config.json": "nope" },
    /tokenizer_config\.json is not valid/,
  ],
  [
    "a bad template",
    { "tokenizer.json": good(), "tokenizer_config.json": '{"chat_template": 5}' },
    /neither a string nor a list/,
  ],
  [
    "a bad generation file",
    { "tokenizer.json": good(), "generation_config.json": "[" },
    /generation_config\.json is not/,
  ],
])("refused: %s", async (_, files, message) => {
  const loading = Tokenizer.fromPretrained(folderWith(files));
  await expect(loading).rejects.toMatchObject({ code: "ERR_TOKENIZER", message: expect.stringMatching(message) });
});

test.each<[string, Record<string, string>, string | undefined]>([
  ["a string", { "tokenizer_config.json": '{"chat_template": "A"}' }, "A"],
  [
    "a list",
    { "tokenizer_config.json": '{"chat_template": [{"name":"rag","template":"R"},{"name":"default","template":"D"}]}' },
    "D",
  ],
  [
    "a list without default",
    { "tokenizer_config.json": '{"chat_template": [{"name":"rag","template":"R"}]}' },
    undefined,
  ],
  ["a file", { "tokenizer_config.json": '{"chat_template": "A"}', "chat_template.jinja": "F" }, "F"],
  ["none", {}, undefined],
])("chat template from %s", async (_, files, template) => {
  const tokenizer = await Tokenizer.fromPretrained(folderWith({ "tokenizer.json": good(), ...files }));
  expect(tokenizer.chatTemplate).toBe(template);
  const plain = await Tokenizer.fromPretrained(folderWith({ "tokenizer.json": good() }));
  expect(tokenizer.hash === plain.hash).toBe(Object.keys(files).length === 0);
  expect(tokenizer.hash).toMatch(/^[0-9a-f]{64}$/);
});

const bosAndEos = [{ SpecialToken: { id: "b" } }, { Sequence: { id: "A" } }, { SpecialToken: { id: "ab" } }];
test.each<[string, object | null, number[], number[]]>([
  ["neither", null, [], []],
  ["both", { type: "TemplateProcessing", single: bosAndEos }, [1], [2]],
  ["BOS", { type: "TemplateProcessing", single: bosAndEos.slice(0, 2) }, [1], []],
  ["EOS", { type: "TemplateProcessing", single: bosAndEos.slice(1) }, [], [2]],
])("what the post-processor adds: %s", async (_, post_processor, prefix, suffix) => {
  // The flags are of no account where there is a tokenizer.json.
  const files = {
    "tokenizer.json": tiny({ post_processor }),
    "tokenizer_config.json": '{"add_bos_token": true, "add_eos_token": true}',
  };
  const tokenizer = await Tokenizer.fromPretrained(folderWith(files));
  expect([tokenizer.prefixIds, tokenizer.suffixIds]).toEqual([prefix, suffix]);
  expect([...tokenizer.encode("aab")]).toEqual([...prefix, 0, 2, ...suffix]);
  expect([...tokenizer.encode("aab", { addSpecialTokens: false })]).toEqual([0, 2]);
});

describe("bytes of tokens", () => {
  test.each([
    [["Ġa", "世界", "Ã", "©", "Ġ"], " a世界é "],
    [["世".repeat(500), "a"], `${"世".repeat(500)}a`],
    [Array(9).fill("世".repeat(50)), "世".repeat(450)],
    [["a".repeat(2000), "\ud800b", "ÿ"], `${"a".repeat(2000)}\uFFFDb\uFFFD`],
    [["aÃ世", "©"], "aÃ世\uFFFD"],
    [["", "a", ""], "a"],
  ])("byte-level tokens, those with another character literally: %#", (tokens, text) => {
    expect(decodeByteLevel(tokens)).toEqual([text]);
  });

  test.each([
    [
      ["<0xC3>", "<0xA9>", "x", "<0x41>"],
      ["é", "x", "A"],
    ],
    [["<0xEF>", "<0xBF>", "<0xBD>"], ["\uFFFD"]],
    [["<0xFF>"], ["\uFFFD"]],
    [["<0xFF>", "<0x41>"], ["\uFFFD\uFFFD"]],
    [
      ["<0xG0>", "<0x410>", "<0x41"],
      ["<0xG0>", "<0x410>", "<0x41"],
    ],
  ])("runs of byte tokens: %j", (tokens, texts) => {
    expect(decodeByteRuns(tokens)).toEqual(texts);
  });
});

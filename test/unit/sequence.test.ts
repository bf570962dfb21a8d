/** One way from text to ids: what is learned begins with the ids that generation is given. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { embeddedModelDir } from "../../lib/embedded";
import { Dataset, LanguageModel, type Notice } from "../../lib/index";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";
import { endTokenNotices } from "../../lib/train/end_token";
import { runCli, writeModel } from "./cli_support";

const fixtures = path.join(__dirname, "..", "parity", "fixtures", "tokenizer");
const home = mkdtempSync(path.join(tmpdir(), "rubricate-sequence-"));
afterAll(() => rmSync(home, { recursive: true }));

let llama: Tokenizer;
let byteLevel: Tokenizer;
beforeAll(async () => {
  llama = await Tokenizer.fromPretrained(path.join(fixtures, "llama"));
  byteLevel = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
});

/** A tokenizer with parts of another kind. */
function changed(tokenizer: Tokenizer, document: object, config?: object): Tokenizer {
  const { files } = tokenizer;
  return new Tokenizer({
    ...files,
    tokenizerJson: JSON.stringify({ ...JSON.parse(files.tokenizerJson), ...document }),
    tokenizerConfig: JSON.stringify({ ...JSON.parse(files.tokenizerConfig!), ...config }),
  });
}

async function rowOf(tokenizer: Tokenizer, row: object) {
  const data = await Dataset.fromRows([row], { tokenizer, maxLength: 512 });
  try {
    const [{ tokenIds, supervised } = undefined as never] = await data.examples([0]);
    const first = supervised.indexOf(1);
    const names = (ids: Int32Array) => Array.from(ids, (id) => tokenizer.tokenText(id));
    return { given: names(tokenIds.subarray(0, first)), learned: names(tokenIds.subarray(first)) };
  } finally {
    await data.dispose();
  }
}

test.each([
  ["A:\n", "hello", ["<s>", "▁", "<0x41>", ":", "<0x0A>"], ["h", "ell", "o", "</s>"]],
  ["x=", "5", ["<s>", "▁", "x", "<0x3D>"], ["5", "</s>"]],
  ["The user ", "asks", ["<s>", "▁The", "▁user", "▁"], ["as", "k", "s", "</s>"]], // "▁asks" would span the two
  ["The user", " asks", ["<s>", "▁The", "▁user"], ["▁asks", "</s>"]],
  ["<s>The", " user", ["<s>", "T", "he"], ["▁user", "</s>"]],
  ["", "The user", ["<s>"], ["▁The", "▁user", "</s>"]],
  ["The", " user</s>", ["<s>", "▁The"], ["▁user", "</s>"]],
])("SentencePiece's space is not put before a completion: %j, %j", async (prompt, completion, given, learned) => {
  const row = await rowOf(llama, { prompt, completion });
  expect({ given: row.given.join("|"), learned: row.learned.join("") }).toEqual({
    given: given.join("|"),
    learned: learned.join(""),
  });
});

const metaspace = (prepend_scheme: string) => ({
  pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme, split: false },
  normalizer: null,
});
const prepends = (after: object[] = []) => ({
  pre_tokenizer: null,
  normalizer: {
    type: "Sequence",
    normalizers: [
      ...after,
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
    ],
  },
});
const fast = { tokenizer_class: "PreTrainedTokenizerFast" };
test.each<[string, object]>([
  ["Metaspace first", metaspace("first")],
  ["Metaspace always", metaspace("always")],
  ["Metaspace never", metaspace("never")],
  ["a normalizer that prepends", prepends()],
  ["a normalizer that strips and prepends", prepends([{ type: "Strip", strip_left: true, strip_right: false }])],
])("a completion that a token spans goes on with the prompt's text: %s", async (_, document) => {
  const tokenizer = changed(llama, document, fast);
  // "▁user" spans the two.
  const { given, learned } = await rowOf(tokenizer, { prompt: "The us", completion: "er asks" });
  expect(given.join("")).toBe(
    `<s>${[...tokenizer.encode("The us")]
      .slice(1)
      .map((id) => tokenizer.tokenText(id))
      .join("")}`,
  );
  expect(learned.join("")).toBe("er▁asks</s>");
});

test("a byte-level tokenizer that puts a space before a text puts none before a completion", async () => {
  const pre_tokenizer = { type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true };
  const tokenizer = changed(byteLevel, { pre_tokenizer, normalizer: null });
  const { given, learned } = await rowOf(tokenizer, { prompt: "The us", completion: "er asks" });
  expect(given.join("").replace("<|begin_of_text|>", "")).toBe("ĠTheĠus");
  expect(learned.join("").replace("<|end_of_text|>", "")).toBe("erĠasks");
});

test.each([
  ["Metaspace first", metaspace("first")],
  ["a normalizer that prepends", prepends()],
])("a row's prompt has the ids of the prompt alone, at every place of a text: %s", async (_, document) => {
  const tokenizer = changed(llama, document, fast);
  const text = "<s>The user asks: 12 + 30\n\n\u00e9\ud83d\ude00 </s>  Paris.";
  const rows = Array.from({ length: text.length - 1 }, (_, at) => ({
    prompt: text.slice(0, at + 1),
    completion: text.slice(at + 1),
  }));
  const data = await Dataset.fromRows(rows, { tokenizer, maxLength: 512 });
  const examples = await data.examples(rows.map((_, at) => at));
  const whole = [...tokenizer.encode(text, { addSpecialTokens: false }), tokenizer.eosTokenId];
  let asWhole = 0;
  for (const [at, { tokenIds, supervised }] of examples.entries()) {
    const bare = [...tokenizer.encode(rows[at]!.prompt, { addSpecialTokens: false })];
    const prompt = bare[0] === tokenizer.bosTokenId ? bare : [tokenizer.bosTokenId, ...bare];
    expect([...tokenIds.subarray(0, prompt.length)]).toEqual(prompt);
    expect(supervised.indexOf(1)).toBe(prompt.length);
    if (JSON.stringify([...tokenIds]) === JSON.stringify(whole)) asWhole++;
    else expect(whole.slice(0, bare.length)).not.toEqual(bare);
  }
  expect(asWhole).toBeGreaterThan(15);
  await data.dispose();
});

test("generate counts the ids of a prompt as data has them, with one BOS", async () => {
  const model = await LanguageModel.fromPretrained(embeddedModelDir());
  const tokenizer = model.requireTokenizer();
  const counted = async (prompt: string) => {
    const pieces = model.generate({ prompt, maxNewTokens: 1 });
    for (;;) {
      const next = await pieces.next();
      if (next.done) return next.value.promptTokens;
    }
  };
  for (const prompt of ["Once", "<s>Once", "<s><s>Once", "<s>", ""]) {
    const { given } = await rowOf(tokenizer, { prompt, completion: " upon a time" });
    expect({ prompt, tokens: await counted(prompt) }).toEqual({ prompt, tokens: given.length });
  }
  expect(await counted("<s>Once")).toBe(await counted("Once"));
  model.dispose();
});

/** A model of random weights that speaks by a SentencePiece-like tokenizer; every fifth of its tokens is special. */
async function sentencePieceModel(): Promise<string> {
  const folder = path.join(home, "llama");
  await writeModel(folder);
  cpSync(path.join(fixtures, "llama", "tokenizer_config.json"), path.join(folder, "tokenizer_config.json"));
  const document = JSON.parse(llama.files.tokenizerJson);
  for (const [content, id] of Object.entries<number>(document.model.vocab))
    if (id > 270 && id % 5 === 0) document.added_tokens.push({ id, content, special: true, normalized: false });
  writeFileSync(path.join(folder, "tokenizer.json"), JSON.stringify(document));
  return folder;
}

test("generate's text is what decoding prompt and answer shows behind the prompt, with or without special tokens", async () => {
  const folder = await sentencePieceModel();
  const model = await LanguageModel.fromPretrained(folder);
  const tokenizer = model.requireTokenizer();
  const prompt = "The user";
  const before = [...tokenizer.encode(prompt)];
  const texts = new Map<boolean | undefined, string[]>([
    [undefined, []],
    [true, []],
    [false, []],
  ]);
  for (let seed = 0; seed < 8; seed++)
    for (const [skipSpecialTokens, found] of texts) {
      const given = skipSpecialTokens === undefined ? {} : { skipSpecialTokens };
      const pieces = model.generate({ prompt, maxNewTokens: 40, temperature: 100, seed, ...given });
      let streamed = "";
      let next = await pieces.next();
      for (; !next.done; next = await pieces.next()) streamed += next.value.text;
      const decoded = (ids: number[]) => tokenizer.decode(ids, { skipSpecialTokens: skipSpecialTokens !== false });
      const whole = decoded([...before, ...next.value.tokenIds]);
      expect(whole.startsWith(decoded(before))).toBe(true);
      expect(next.value.text).toBe(whole.slice(decoded(before).length));
      expect(streamed).toBe(next.value.text);
      found.push(next.value.text);
    }
  expect(texts.get(undefined)).toEqual(texts.get(true));
  expect(texts.get(false)).not.toEqual(texts.get(true));
  expect(texts.get(true)!.some((text) => text.startsWith(" "))).toBe(true);
  model.dispose();
  const argv = ["generate", "--model", folder, "--prompt", prompt, "--temperature", "100", "--max-new-tokens", "40"];
  const said = async (...more: string[]) => JSON.parse((await runCli([...argv, "--json", ...more])).stdout).text;
  expect(await said("--seed", "3")).toBe(texts.get(true)![3]);
  expect(await said("--seed", "3", "--show-special-tokens")).toBe(texts.get(false)![3]);
});

test("a text that begins with a part of what is put before texts gets the rest", async () => {
  const item = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  const [one, two] = ["<|user|>", "<|begin_of_text|>"];
  const post_processor = {
    type: "TemplateProcessing",
    single: [item(one!), item(two!), { Sequence: { id: "A", type_id: 0 } }],
    special_tokens: {},
  };
  const tokenizer = changed(byteLevel, { post_processor });
  for (const text of ["hello", `${two}hello`, `${one}${two}hello`]) {
    const { given, learned } = await rowOf(tokenizer, { prompt: text, completion: " world" });
    expect([given.join(""), learned[0]]).toEqual([`${one}${two}hello`, "Ġworld"]);
  }
});

/** The embedded model, with other files. */
function modelFolder(
  name: string,
  change: (read: (file: string) => Record<string, unknown>) => Record<string, object>,
) {
  const folder = path.join(home, name);
  cpSync(embeddedModelDir(), folder, { recursive: true });
  const read = (file: string) => JSON.parse(readFileSync(path.join(folder, file), "utf8"));
  for (const [file, value] of Object.entries(change(read)))
    if (Object.keys(value).length === 0) rmSync(path.join(folder, file), { force: true });
    else writeFileSync(path.join(folder, file), JSON.stringify(value));
  return folder;
}
const without = (object: Record<string, unknown>, ...names: string[]) =>
  Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));

test("the end token of config.json alone stops generation and is learned", async () => {
  const folder = modelFolder("config-alone", (read) => ({
    "generation_config.json": {},
    "special_tokens_map.json": {},
    "tokenizer_config.json": without(read("tokenizer_config.json"), "eos_token"),
    "config.json": { ...read("config.json"), eos_token_id: 1 },
  }));
  const notices: Notice[] = [];
  const model = await LanguageModel.fromPretrained(folder, { onNotice: (notice) => notices.push(notice) });
  const { learned } = await rowOf(model.requireTokenizer(), { prompt: "Once", completion: " upon" });
  expect(learned.at(-1)).toBe("</s>");
  expect(model.eosTokenIds).toEqual([1]);
  expect(notices).toEqual([]);
  model.dispose();
});

test("where no token ends a text, the model, a run and the command line say so", async () => {
  const folder = modelFolder("no-end", (read) => ({
    "generation_config.json": {},
    "special_tokens_map.json": {},
    "tokenizer_config.json": without(read("tokenizer_config.json"), "eos_token"),
    "config.json": without(read("config.json"), "eos_token_id"),
  }));
  const notices: Notice[] = [];
  const model = await LanguageModel.fromPretrained(folder, { onNotice: (notice) => notices.push(notice) });
  expect(notices).toMatchObject([{ code: "RUBRICATE_NO_END_TOKEN" }]);
  const tokenizer = model.requireTokenizer();
  const data = await Dataset.fromRows([{ prompt: "Once", completion: " upon" }], { tokenizer, maxLength: 64 });
  expect(data.endTokenId).toBeNull();
  await data.dispose();
  model.dispose();
  const file = path.join(home, "rows.jsonl");
  writeFileSync(file, '{"prompt": "Once", "completion": " upon"}\n');
  const out = path.join(home, "out");
  const argv = ["--model", folder, "--data", file, "--out", out, "--epochs", "1", "--json"];
  const trained = await runCli(["train", ...argv]);
  expect(trained).toMatchObject({ status: 0, stderr: expect.stringMatching(/no token that ends a text/) });
  expect(trained.stdout).toMatch(/"type":"notice","message":"[^"]*no token that ends a text/);
  const inspected = await runCli(["inspect", folder]);
  expect(inspected.stdout).toMatch(/^ends with +nothing: /m);
});

test("data whose end token is none of the model's is told of", () => {
  const model = { eosTokenIds: [1, 2], tokenizer: undefined };
  expect(endTokenNotices(2, model)).toEqual([]);
  expect(endTokenNotices(undefined, model)).toEqual([]);
  expect(endTokenNotices(7, model)).toEqual([expect.stringMatching(/with token 7 at which .* does not stop/)]);
});

test.each<[string, unknown]>([
  ["no messages", []],
  ["not a list", "hello"],
  ["a role that is missing", [{ content: "a" }]],
  ["content that is missing", [{ role: "user" }]],
  [
    "content that is null",
    [
      { role: "user", content: "a" },
      { role: "assistant", content: null },
    ],
  ],
])("a call's messages are refused in the words of a row: %s", async (_, messages) => {
  const tokenizer = new Tokenizer({ ...byteLevel.files, chatTemplate: "{{ messages[0].content }}" });
  const given = messages as never;
  const data = Dataset.fromRows([{ messages }], { tokenizer, maxLength: 64 });
  const reason = await data.then(
    () => "none",
    (error: Error) => /line 1: (.*)$/m.exec(error.message)?.[1],
  );
  expect(reason).toMatch(/^Expected/);
  for (const call of [
    () => tokenizer.renderChat(given),
    () => tokenizer.applyChatTemplate(given),
    () => tokenizer.encodeChat(given),
  ])
    expect(call).toThrow(expect.objectContaining({ code: "ERR_ARGUMENT", message: reason }));
});

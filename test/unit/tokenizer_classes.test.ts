/** The class of a tokenizer replaces the rules of tokenizer.json where transformers does that: bench/oracle/tokenizers/classes.py. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LanguageModel, Tokenizer } from "../../lib/index";
import { writeModel } from "./cli_support";

const fixtures = join(__dirname, "..", "parity", "fixtures");
const documentOf = (base: string) =>
  JSON.parse(readFileSync(join(fixtures, "tokenizer", base, "tokenizer.json"), "utf8"));
const documents: Record<string, object> = { llama: documentOf("llama"), byte_level: documentOf("byte_level") };
const { texts, cases } = JSON.parse(readFileSync(join(fixtures, "tokenizer_classes.json"), "utf8"));

interface Given {
  readonly base: string;
  readonly rules?: object;
  readonly config?: object;
  readonly model?: object;
}
const tokenizerOf = ({ base, rules = {}, config = {}, model = {} }: Given) =>
  new Tokenizer({
    directory: "here",
    tokenizerJson: JSON.stringify({ ...documents[base], ...rules }),
    tokenizerConfig: JSON.stringify(config),
    modelConfig: JSON.stringify(model),
  });

const described: [name: string, one: (typeof cases)[number]][] = cases.map(
  (one: (typeof cases)[number], at: number) => [
    `${at}: ${one.base}, ${one.model.model_type}, ${one.config.tokenizer_class ?? one.model.tokenizer_class}`,
    one,
  ],
);

test.each(described)("case %s", (_, { followed, expected, ...given }) => {
  const tokenizer = tokenizerOf(given);
  const ids = texts.map((text: string) => [...tokenizer.encode(text)]);
  expect(ids).toEqual(expected.ids);
  expect(ids.map((one: number[]) => tokenizer.decode(one))).toEqual(expected.decoded);
  expect(tokenizer.eosTokenId ?? null).toBe(expected.eos);
  expect(tokenizer.vocabSize).toBe(expected.size);
  if (!followed) expect(tokenizer.parts.notices).toMatchObject([{ code: "RUBRICATE_TOKENIZER_CLASS" }]);
});

const qwen2 = cases.find((one: Given) => JSON.stringify(one.rules).includes("NFC")).rules;
const digits = cases.find((one: Given) => JSON.stringify(one.rules).includes("Digits")).rules;
const replaced =
  /As in transformers 5, the class \w+ replaces the normalizer or pre-tokenizer of tokenizer.json in here/;
const kept = /takes the class \w+ for the tokenizer in here, which replaces .*: here they are used as they are/;

test.each<[string, Given, RegExp | undefined]>([
  ["Qwen2's own rules", { base: "byte_level", rules: qwen2, model: { model_type: "qwen2" } }, undefined],
  ["other rules in Qwen2", { base: "byte_level", rules: digits, model: { model_type: "qwen2" } }, replaced],
  ["no rules in Qwen2", { base: "byte_level", rules: { normalizer: null }, model: { model_type: "qwen2" } }, replaced],
  [
    "digits of GPT2Tokenizer",
    { base: "byte_level", rules: digits, config: { tokenizer_class: "GPT2Tokenizer" } },
    replaced,
  ],
  ["another kind", { base: "llama", model: { model_type: "qwen3" } }, kept],
  ["a class that is not rebuilt here", { base: "llama", config: { tokenizer_class: "T5TokenizerFast" } }, kept],
  ["the file's rules", { base: "byte_level", rules: digits, config: { tokenizer_class: "OwnTokenizer" } }, undefined],
  [
    "a class that Mistral ignores",
    { base: "llama", config: { tokenizer_class: "T5Tokenizer" }, model: { model_type: "mistral" } },
    undefined,
  ],
  [
    "a tokenizer with code of its own",
    { base: "llama", config: { tokenizer_class: "OwnTokenizer", auto_map: {} }, model: { model_type: "qwen2" } },
    undefined,
  ],
])("the notice for %s", (_, given, says) => {
  const messages = tokenizerOf(given).parts.notices.map(({ message }) => message);
  expect(messages).toEqual(says ? [expect.stringMatching(says)] : []);
});

test("a model has its tokenizer's notices", async () => {
  const folder = mkdtempSync(join(tmpdir(), "rubricate-classes-"));
  await writeModel(folder);
  cpSync(join(fixtures, "tokenizer", "llama", "tokenizer.json"), join(folder, "tokenizer.json"));
  writeFileSync(join(folder, "tokenizer_config.json"), '{"tokenizer_class": "GemmaTokenizer", "eos_token": "</s>"}');
  const model = await LanguageModel.fromPretrained(folder, { onNotice: () => {} });
  expect(model.notices).toMatchObject([{ code: "RUBRICATE_TOKENIZER_CLASS" }]);
  model.dispose();
  rmSync(folder, { recursive: true });
});

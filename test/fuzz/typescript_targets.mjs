/** The fuzzed parsers: each target makes an input from a seed, parses it, and uses the result. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { anything, asBytes, assembled, mutated } from "./mutations.mjs";
import { rubricate } from "./package.mjs";
import { torchTarget } from "./torch_target.mjs";

const {
  Ia3Adapter,
  LanguageModel,
  LoraAdapter,
  RedAdapter,
  Dataset,
  Tokenizer,
  Trainer,
  embeddedModelDir,
  loadAdapter,
} = rubricate;
const embedded = embeddedModelDir();
const read = (name) => readFileSync(join(embedded, name));
const json = (name) => JSON.parse(read(name));

/** A model folder with one given file; the others are links. */
function folderWith(home, name, bytes) {
  const folder = join(home, "model");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  writeFileSync(join(folder, name), bytes);
  for (const other of readdirSync(embedded))
    if (!existsSync(join(folder, other))) symlinkSync(join(embedded, other), join(folder, other));
  return folder;
}

const texts = ["hello there", "", " a  b\n", "Once, 123 ▁ Ġ 😀 <s></s><unk>", "\ud800x\u0000", `${"a".repeat(60)}!`];
const chat = [
  { role: "user", content: "hi there" },
  { role: "assistant", content: "yes" },
];

async function useTokenizer(tokenizer, attempt) {
  for (const text of [...texts, "ab ".repeat(3000)]) {
    const ids = await attempt(() => tokenizer.encode(text));
    if (ids === undefined) continue;
    if (ids.some((id) => id < 0 || id >= tokenizer.vocabSize)) throw new Error("an id is not in the vocabulary");
    await attempt(() => tokenizer.decode(ids));
    await attempt(() => {
      const decoder = tokenizer.createDecoder();
      for (const id of ids.subarray(0, 200)) decoder.push(id);
      decoder.end();
    });
  }
  await attempt(() => tokenizer.decode([0, 1, 2, 600, -1, 1e6]));
  await attempt(() => tokenizer.encodeChat(chat, { addGenerationPrompt: true }));
}

const loadsTokenizer = (name, documentOf) => async (random, home, attempt) => {
  const folder = folderWith(home, name, asBytes(random, documentOf(random)));
  const tokenizer = await attempt(() => Tokenizer.fromPretrained(folder));
  if (tokenizer) await useTokenizer(tokenizer, attempt);
};

async function useModel(folder, attempt) {
  const model = await attempt(() => LanguageModel.fromPretrained(folder, { device: "cpu" }));
  if (!model) return;
  await attempt(async () => {
    for await (const _ of model.generate({ prompt: "hi", maxNewTokens: 2 }));
  });
  await attempt(() => RedAdapter.create(model));
  model.dispose();
}

const split = (Regex) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
const part = (random, list) => (random.chance(0.3) ? null : mutated(random, random.pick(list)));
const preTokenizers = [
  { type: "Sequence", pretokenizers: [split("\\p{L}+|\\s+"), { type: "ByteLevel", use_regex: false }] },
  { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, { type: "Punctuation" }] },
  { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: true },
  { type: "BertPreTokenizer" },
  { type: "Whitespace" },
  { type: "ByteLevel", add_prefix_space: true },
];
const normalizers = [
  {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
    ],
  },
  { type: "Replace", pattern: { Regex: " {2,}" }, content: " " },
  { type: "Sequence", normalizers: [{ type: "NFKD" }, { type: "StripAccents" }, { type: "Lowercase" }] },
  { type: "Strip", strip_left: true, strip_right: true },
];
const processors = [
  {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>" } }, { Sequence: { id: "A" } }],
    special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } },
  },
  { type: "RobertaProcessing", sep: ["</s>", 1], cls: ["<s>", 0] },
  { type: "Sequence", processors: [{ type: "ByteLevel" }] },
];
const decoders = [
  { type: "ByteLevel" },
  { type: "Metaspace", replacement: "▁" },
  {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  },
];

function tokenizerDocument(random) {
  const document = json("tokenizer.json");
  if (random.chance(0.3)) return mutated(random, document);
  document.pre_tokenizer = part(random, preTokenizers);
  document.normalizer = part(random, normalizers);
  document.post_processor = part(random, processors);
  document.decoder = part(random, decoders);
  return document;
}

const pieces = `{{ x }}|{% for m in messages %}{{ m.content }}{% endfor %}|{% set ns = namespace(a=1) %}|{{ messages | tojson }}|{% set ns.a = ns %}
{{ raise_exception('no') }}|{{ strftime_now('%Y %Q') }}|{% generation %}x{% endgeneration %}|{{ range(10) | join(',') }}|{{ 'a' * 5 }}
{{ messages[0]['content'] | trim | upper | title }}|{% macro f(a) %}{{ a }}{{ f(a) }}{% endmacro %}{{ f(1) }}|{{ 'abc'.split('b') }}|{{ 'abc'.replace('', messages) }}
{{ 1 / 0 }}|{{ messages[-1:] }}|{{ messages | selectattr('role', 'equalto', 'user') | list }}|{{ messages | sort(attribute='role') }}|{{ 'a' | indent(999999999) }}
{{ {'a': 1}.items() }}|{% for k, v in {'a': 1}.items() %}{{ k }}{{ loop.index }}{% endfor %}|{% filter upper %}x{% endfilter %}|{% call f() %}{% endcall %}
{{ 10 ** 400 }}|{{ messages in 5 }}|{%- break -%}|{{ messages.__proto__ }}|{{ ''.constructor.constructor('return process')() }}|{% set t = 'ab' %}
{%- set t = t ~ t ~ t ~ t -%}|{%- set t = t ~ t ~ t ~ t -%}|{%- set l = [t, l, l, l] -%}|{{ t in t }}|{{ l | tojson(indent=9) }}|{% for i in range(9999) %}{{ t.split('a') | length }}{% endfor %}`;
const insertions = [
  "{{",
  "}}",
  "{%",
  "%}",
  "(",
  ")",
  "[",
  "]",
  "'",
  "|",
  ".",
  "\n",
  "-",
  "*",
  "~",
  "1e9",
  "range(99999999)",
  "{#",
  "#}",
];

const rowKinds = [
  { messages: chat },
  { prompt: "a b", completion: "c d e" },
  { text: "once upon a time" },
  { prompt: [chat[0]], completion: "y z" },
  {
    messages: [{ role: "assistant", content: null, tool_calls: [{ name: "f", arguments: { a: 1 } }] }],
    tools: [{ type: "function" }],
  },
];

async function readRows(random, home, attempt, { tokenizer }) {
  const lines = Array.from({ length: 20 }, () => asBytes(random, mutated(random, random.pick(rowKinds))));
  const file = join(home, "rows.jsonl");
  writeFileSync(file, Buffer.concat(lines.flatMap((line) => [line, Buffer.from(random.pick(["\n", "\r\n", "\n\n"]))])));
  const maxLength = random.pick([2, 5, 64]);
  const data = await attempt(() =>
    Dataset.fromJsonl(file, { tokenizer, maxLength, loss: random.pick(["all", "completion"]) }),
  );
  if (!data) return;
  await attempt(() => data.examples(Array.from({ length: data.length }, (_, at) => at)));
  await data.dispose();
}

function splitHeader() {
  const bytes = read("model.safetensors");
  const length = Number(bytes.readBigUInt64LE());
  return { header: JSON.parse(bytes.subarray(8, 8 + length)), data: bytes.subarray(8 + length) };
}

async function readHeader(random, home, attempt, { header, data }) {
  const bytes = asBytes(random, mutated(random, header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(
    random.chance(0.95) ? BigInt(bytes.length) : BigInt(random.below(2 ** 31)) << BigInt(random.below(33)),
  );
  const rest = random.chance(0.9) ? data : data.subarray(0, random.below(data.length));
  await useModel(folderWith(home, "model.safetensors", Buffer.concat([length, bytes, rest])), attempt);
}

async function readIndex(random, home, attempt, { header }) {
  const weight_map = Object.fromEntries(Object.keys(header).map((name) => [name, "model.safetensors"]));
  delete weight_map.__metadata__;
  const bytes = asBytes(random, mutated(random, { metadata: { total_size: 5 }, weight_map }));
  await useModel(folderWith(home, "model.safetensors.index.json", bytes), attempt);
}

async function readAdapter(random, _, attempt, { model, adapters }) {
  const { folder, config } = random.pick(adapters);
  writeFileSync(join(folder, "adapter_config.json"), asBytes(random, mutated(random, config)));
  const loaded = await attempt(() => loadAdapter(folder, model));
  if (!loaded) return;
  await attempt(() => model.logits([1, 2], { adapter: loaded }));
  loaded.dispose();
}

async function resume(random, home, attempt, { options, model, kept, state }) {
  const checkpoint = join(home, "run", "checkpoint-2");
  rmSync(join(home, "run"), { recursive: true, force: true });
  cpSync(kept, checkpoint, { recursive: true });
  writeFileSync(join(checkpoint, "trainer_state.json"), asBytes(random, mutated(random, state)));
  await attempt(async () => {
    const trainer = new Trainer({ ...options, adapter: RedAdapter.create(model) });
    for await (const _ of trainer.run({ resume: random.pick([true, "auto"]) }));
  });
}

async function prepareResume(home) {
  const model = await LanguageModel.fromPretrained(embedded, { device: "cpu" });
  const rows = [{ text: "hello there world" }, { text: "another one" }, { text: "third row of text" }];
  const train = await Dataset.fromRows(rows, { tokenizer: model.tokenizer, maxLength: 32 });
  const options = { model, train, outputDir: join(home, "run"), maxSteps: 3, checkpointEverySteps: 1, batchSize: 1 };
  const kept = join(home, "kept");
  for await (const event of new Trainer({ ...options, adapter: RedAdapter.create(model) }).run())
    if (event.type === "checkpoint" && event.step === 2) cpSync(event.path, kept, { recursive: true });
  return { model, options, kept, state: JSON.parse(readFileSync(join(kept, "trainer_state.json"))) };
}

/** An adapter of each method, with the formats of their configurations. */
async function prepareAdapters(home) {
  const model = await LanguageModel.fromPretrained(embedded, { device: "cpu" });
  const adapters = [];
  for (const method of [RedAdapter, LoraAdapter, Ia3Adapter]) {
    const folder = join(home, method.name);
    await (await method.create(model)).savePretrained(folder);
    adapters.push({ folder, config: JSON.parse(readFileSync(join(folder, "adapter_config.json"))) });
  }
  return { model, adapters };
}

const prepareTokenizer = async () => ({ tokenizer: await Tokenizer.fromPretrained(embedded) });
const withTokens = (random) =>
  mutated(random, {
    ...json("tokenizer_config.json"),
    added_tokens_decoder: { 0: { content: "<s>", special: true }, 2100: { content: "<x>" } },
  });

/** By name: the set-up, and one execution. */
export const targets = {
  tokenizer: { run: loadsTokenizer("tokenizer.json", tokenizerDocument) },
  tokenizer_config: { run: loadsTokenizer("tokenizer_config.json", withTokens) },
  config: {
    run: (random, home, attempt) =>
      useModel(folderWith(home, "config.json", asBytes(random, mutated(random, json("config.json")))), attempt),
  },
  index: { prepare: splitHeader, run: readIndex },
  header: { prepare: splitHeader, run: readHeader },
  adapter: { prepare: prepareAdapters, run: readAdapter },
  torch_file: torchTarget,
  trainer_state: { prepare: prepareResume, run: resume },
  rows: { prepare: prepareTokenizer, run: readRows },
  template: {
    prepare: prepareTokenizer,
    async run(random, _, attempt, { tokenizer }) {
      const chatTemplate = assembled(random, pieces.split(/[|\n](?=\{)/), insertions);
      await attempt(() => new Tokenizer({ ...tokenizer.files, chatTemplate }).renderChat(chat));
    },
  },
  messages: {
    prepare: prepareTokenizer,
    async run(random, _, attempt, { tokenizer }) {
      const tools = random.chance(0.3) ? mutated(random, [{ name: anything(random) }]) : undefined;
      await attempt(() => tokenizer.renderChat(mutated(random, chat), { tools }));
    },
  },
};

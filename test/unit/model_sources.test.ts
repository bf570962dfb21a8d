/** Precedence of two sources of the same setting is that of transformers (5.18), or they are refused by name. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bytesOf, float32Tensor, type StoredTensor, safetensorsPieces } from "../../lib/files/safetensors";
import { LanguageModel, type Notice, Tokenizer } from "../../lib/index";
import { describeModel } from "../../lib/model/families";
import { config, hidden, rewriteHeader, writeModel } from "./cli_support";
import { ropeOf } from "./rope_support";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "rubricate-sources-"));
});
afterEach(() => rmSync(root, { recursive: true }));
const at = (...names: string[]) => join(root, ...names);

const base = { ...config, hidden_size: 16, num_attention_heads: 2, max_position_embeddings: 64 };
const describeIt = (changes: object) => describeModel({ ...base, rope_theta: undefined, ...changes }, "config.json");
const frequencies = (changes: object) => ropeOf(describeIt(changes)).inv_freq.map((value) => Number(value.toFixed(6)));

const old = (factor: number, more: object = {}) => ({ type: "linear", factor, ...more });
const current = (factor: number, more: object = {}) => ({ rope_type: "linear", factor, ...more });
const llama3 = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
const original = (value: number) => ({ original_max_position_embeddings: value });

/** Frequencies of transformers' LlamaRotaryEmbedding, head_dim 8, 64 positions. */
const rope: [what: string, changes: object, frequencies: number[]][] = [
  ["only rope_parameters", { rope_parameters: current(2, { rope_theta: 100 }) }, [0.5, 0.158114, 0.05, 0.015811]],
  ["only rope_scaling", { rope_scaling: old(4), rope_theta: 100 }, [0.25, 0.079057, 0.025, 0.007906]],
  [
    "rope_scaling, then rope_parameters",
    { rope_scaling: old(4), rope_parameters: current(2, { rope_theta: 100 }) },
    [0.25, 0.025, 0.0025, 0.00025],
  ],
  [
    "rope_parameters, then rope_scaling",
    { rope_parameters: current(2, { rope_theta: 100 }), rope_scaling: old(4) },
    [0.25, 0.025, 0.0025, 0.00025],
  ],
  [
    "both, and rope_theta",
    { rope_scaling: old(4), rope_parameters: current(2, { rope_theta: 100 }), rope_theta: 50 },
    [0.25, 0.094015, 0.035355, 0.013296],
  ],
  [
    "an empty rope_scaling",
    { rope_scaling: {}, rope_parameters: current(2, { rope_theta: 100 }), rope_theta: 50 },
    [0.5, 0.158114, 0.05, 0.015811],
  ],
  [
    "rope_theta in rope_scaling and next to it",
    { rope_scaling: old(4, { rope_theta: 100 }), rope_theta: 50 },
    [0.25, 0.079057, 0.025, 0.007906],
  ],
  [
    "rope_theta in rope_parameters and next to it",
    { rope_parameters: current(2, { rope_theta: 100 }), rope_theta: 50 },
    [0.5, 0.158114, 0.05, 0.015811],
  ],
  [
    "rope_theta next to rope_parameters",
    { rope_parameters: current(2), rope_theta: 50 },
    [0.5, 0.18803, 0.070711, 0.026591],
  ],
  ["type and rope_type", { rope_scaling: { ...old(4), rope_type: "default" } }, [1, 0.1, 0.01, 0.001]],
  ["rope_type and type", { rope_scaling: { ...current(4), type: "default" } }, [0.25, 0.025, 0.0025, 0.00025]],
  ["no original context", { rope_scaling: llama3 }, [1, 0.013042, 0.00125, 0.000125]],
  [
    "the original context inside",
    { rope_scaling: { ...llama3, ...original(16) } },
    [0.576056, 0.0125, 0.00125, 0.000125],
  ],
  ["it outside", { rope_scaling: llama3, ...original(32) }, [1, 0.0125, 0.00125, 0.000125]],
  [
    "it inside and outside",
    { rope_scaling: { ...llama3, ...original(16) }, ...original(32) },
    [1, 0.0125, 0.00125, 0.000125],
  ],
  [
    "it in rope_parameters and outside",
    { rope_parameters: { ...llama3, ...original(16) }, ...original(32) },
    [1, 0.0125, 0.00125, 0.000125],
  ],
  ["partial_rotary_factor without scaling", { partial_rotary_factor: 0.5 }, [1, 0.1, 0.01, 0.001]],
];

test.each(rope)("RoPE's settings: %s", (_, changes, expected) => {
  expect(frequencies(changes)).toEqual(expected);
});

test.each([
  [{ partial_rotary_factor: 0.5, rope_scaling: old(4) }, /Expected 1 for partial_rotary_factor in .* received 0.5/],
  [{ rope_scaling: old(4, { partial_rotary_factor: 0.5 }) }, /Expected 1 for partial_rotary_factor/],
  [
    { rope_parameters: { full_attention: { rope_type: "linear", factor: 2 } } },
    /settings for all layers, not for those of one kind, for full_attention in .*\(rope_parameters\) but received an object/,
  ],
  [{ rope_scaling: { sliding_attention: {}, rope_type: "default" } }, /for sliding_attention in .*\(rope_scaling\)/],
  [{ transformers_weights: "other.safetensors" }, /for transformers_weights in .* received "other.safetensors"/],
])("refused: %j", (changes, says) => {
  expect(() => describeIt(changes)).toThrow(
    expect.objectContaining({ code: "ERR_CONFIG", message: expect.stringMatching(says) }),
  );
});

test.each([
  [undefined, 4],
  [null, 4],
  [2, 2],
])("num_key_value_heads %p with num_attention_heads 4 gives %d", (given, expected) => {
  const { attention } = describeIt({ num_attention_heads: 4, num_key_value_heads: given }).architecture.stacks[0];
  expect(attention.kv_heads).toBe(expected);
});

async function save(path: string, tensors: StoredTensor[]): Promise<void> {
  const pieces: Uint8Array[] = [];
  for await (const piece of safetensorsPieces(tensors)) pieces.push(piece);
  writeFileSync(path, Buffer.concat(pieces));
}

async function firstLogits(folder: string): Promise<Float32Array> {
  const model = await LanguageModel.fromPretrained(folder, { onNotice: () => {} });
  try {
    return await model.logits([1, 2, 3]);
  } finally {
    model.dispose();
  }
}

test.each([
  ["the shards were there first", true],
  ["the single file was there first", false],
])("a single file takes precedence over an index with shards: %s", async (_, shardsFirst) => {
  const single = () => writeModel(at("m"), { offset: 1 });
  const shards = async () => {
    await writeModel(at("other"), { offset: 2 });
    const names: string[] = [];
    rewriteHeader(at("other", "model.safetensors"), (header) => void names.push(...Object.keys(header)));
    const file = "model-00001-of-00001.safetensors";
    mkdirSync(at("m"), { recursive: true });
    writeFileSync(at("m", file), readFileSync(at("other", "model.safetensors")));
    const map = Object.fromEntries(names.filter((name) => name !== "__metadata__").map((name) => [name, file]));
    writeFileSync(at("m", "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
  };
  for (const make of shardsFirst ? [shards, single] : [single, shards]) await make();
  await writeModel(at("one"), { offset: 1 });
  expect(await firstLogits(at("m"))).toEqual(await firstLogits(at("one")));
  rmSync(at("m", "model.safetensors"));
  expect(await firstLogits(at("m"))).toEqual(await firstLogits(at("other")));
});

/** Appends a head to a checkpoint without one: the table's numbers, changed. */
function addHead(folder: string, change: (numbers: Float32Array) => Float32Array, rows = config.vocab_size): void {
  const path = join(folder, "model.safetensors");
  let head: Float32Array = new Float32Array();
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE());
  rewriteHeader(path, (header) => {
    const [from, to] = header["model.embed_tokens.weight"]!.data_offsets;
    head = change(new Float32Array(new Uint8Array(bytes.subarray(start + from, start + to)).buffer));
    const end = Math.max(...Object.values(header).map(({ data_offsets }) => data_offsets?.[1] ?? 0));
    const data_offsets: [number, number] = [end, end + head.byteLength];
    header["lm_head.weight"] = { dtype: "F32", shape: [rows, hidden], data_offsets };
  });
  writeFileSync(path, Buffer.concat([readFileSync(path), bytesOf(head)]));
}

const heads: [what: string, change: (numbers: Float32Array) => Float32Array, differs: boolean][] = [
  ["equal", (numbers) => numbers, false],
  ["different", (numbers) => numbers.map((value) => value * 1.1), true],
  ["different in its last number", (numbers) => numbers.with(numbers.length - 1, 9), true],
];

test.each(heads)("a tied model whose own head is %s", async (_, change, differs) => {
  await writeModel(at("tied"));
  addHead(at("tied"), change);
  await writeModel(at("untied"));
  addHead(at("untied"), change);
  writeFileSync(at("untied", "config.json"), JSON.stringify({ ...config, tie_word_embeddings: false }));
  const reported: Notice[] = [];
  const model = await LanguageModel.fromPretrained(at("tied"), { onNotice: (notice) => reported.push(notice) });
  expect(model.architecture.tied_embeddings).toBe(!differs);
  expect(reported.map(({ code }) => code)).toEqual(differs ? ["RUBRICATE_HEAD_NOT_TIED"] : []);
  expect(model.notices).toEqual(reported);
  expect(await model.logits([1, 2, 3])).toEqual(await firstLogits(at("untied")));
  await model.savePretrained(at("saved"));
  model.dispose();
  expect(await firstLogits(at("saved"))).toEqual(await firstLogits(at("untied")));
});

test.each([
  ["the table", "embed_tokens.weight"],
  ["only the head", "lm_head.weight"],
])("a tied checkpoint without the prefix may have %s", async (_, name) => {
  await writeModel(at("m"));
  await writeModel(at("plain"));
  rewriteHeader(at("plain", "model.safetensors"), (header) =>
    Object.fromEntries(
      Object.entries(header).map(([key, entry]) => {
        const bare = key.replace(/^model\./, "");
        return [bare === "embed_tokens.weight" ? name : bare, entry];
      }),
    ),
  );
  expect(await firstLogits(at("plain"))).toEqual(await firstLogits(at("m")));
});

test("a tied head in another shard, of another dtype, or of another shape does not replace the table", async () => {
  await writeModel(at("m"));
  addHead(at("m"), (numbers) => numbers.subarray(hidden), config.vocab_size - 1);
  await expect(firstLogits(at("m"))).rejects.toMatchObject({
    code: "ERR_SHAPE",
    message: expect.stringMatching(/lm_head/),
  });
  await writeModel(at("m"));
  const file = "model-00002-of-00002.safetensors";
  const head = new Float32Array(config.vocab_size * hidden).fill(0.5);
  await save(at("m", file), [float32Tensor("lm_head.weight", [config.vocab_size, hidden], head)]);
  const names: string[] = [];
  rewriteHeader(at("m", "model.safetensors"), (header) => void names.push(...Object.keys(header)));
  writeFileSync(at("m", "model-00001-of-00002.safetensors"), readFileSync(at("m", "model.safetensors")));
  rmSync(at("m", "model.safetensors"));
  const map = Object.fromEntries(names.map((name) => [name, "model-00001-of-00002.safetensors"]));
  const index = { weight_map: { ...map, "lm_head.weight": file } };
  writeFileSync(at("m", "model.safetensors.index.json"), JSON.stringify(index));
  const logits = await firstLogits(at("m"));
  expect(new Set(logits.subarray(0, config.vocab_size)).size).toBe(1); // every row of the head is the same
});

test("without a listener a notice is a warning of the process", async () => {
  await writeModel(at("m"));
  addHead(at("m"), (numbers) => numbers.map((value) => -value));
  const warn = jest.spyOn(process, "emitWarning").mockImplementation(() => {});
  (await LanguageModel.fromPretrained(at("m"))).dispose();
  expect(warn.mock.calls).toEqual([
    [expect.stringMatching(/lm_head.weight differs/), { type: "RubricateNotice", code: "RUBRICATE_HEAD_NOT_TIED" }],
  ]);
  warn.mockRestore();
});

test.each([
  ["only config.json", [5, 6], undefined, [5, 6]],
  ["only generation_config.json", undefined, 7, [7]],
  ["both", [5, 6], [7], [7]],
  ["generation_config.json without ids", 5, "none", []],
  ["generation_config.json with null", 5, null, []],
])("ids that end a text, of %s", async (_, ofConfig, ofGeneration, expected) => {
  await writeModel(at("m"), { tokenizer: false });
  writeFileSync(at("m", "config.json"), JSON.stringify({ ...config, eos_token_id: ofConfig }));
  const document = ofGeneration === "none" ? {} : { eos_token_id: ofGeneration };
  if (ofGeneration !== undefined) writeFileSync(at("m", "generation_config.json"), JSON.stringify(document));
  const model = await LanguageModel.fromPretrained(at("m"));
  expect(model.eosTokenIds).toEqual(expected);
  model.dispose();
});

const decoder = { added_tokens_decoder: {} };
test.each([
  ["tokenizer_config.json with its decoder", { ...decoder, eos_token: "a" }, { eos_token: "b" }, "a"],
  ["tokenizer_config.json without its decoder", { eos_token: "a" }, { eos_token: "b" }, "b"],
  ["only the map", {}, { eos_token: "b" }, "b"],
  ["only the config", { eos_token: "a" }, {}, "a"],
  ["the decoder and the map: that of config.json", decoder, { eos_token: "b" }, "</s>"],
  ["the config, and null in the map: that of config.json", { eos_token: "a" }, { eos_token: null }, "</s>"],
])("eos_token of %s", async (_, ofConfig, map, expected) => {
  await writeModel(at("m"));
  writeFileSync(at("m", "tokenizer_config.json"), JSON.stringify(ofConfig));
  writeFileSync(at("m", "special_tokens_map.json"), JSON.stringify(map));
  const tokenizer = await Tokenizer.fromPretrained(at("m"));
  const { eosTokenId } = tokenizer;
  expect(eosTokenId === undefined ? undefined : tokenizer.tokenText(eosTokenId)).toBe(expected);
});

test.each([
  ["{{ 'jinja' }}", { chat_template: "{{ 'config' }}" }, "jinja"],
  [undefined, { chat_template: "{{ 'config' }}" }, "config"],
  ["{{ 'jinja' }}", {}, "jinja"],
])("chat_template.jinja %p with tokenizer_config.json %j", async (jinja, tokenizerConfig, expected) => {
  await writeModel(at("m"));
  writeFileSync(at("m", "tokenizer_config.json"), JSON.stringify(tokenizerConfig));
  writeFileSync(at("m", "chat_template.json"), JSON.stringify({ chat_template: "of a processor, not read" }));
  if (jinja !== undefined) writeFileSync(at("m", "chat_template.jinja"), jinja);
  const tokenizer = await Tokenizer.fromPretrained(at("m"));
  expect(tokenizer.applyChatTemplate([{ role: "user", content: "x" }])).toBe(expected);
});

/** Ids of " return 1" by transformers' AutoTokenizer. */
const rebuilt = [1, 337, 337, 337, 685, 417];
test.each([
  ["LlamaTokenizer", {}, rebuilt],
  ["CodeLlamaTokenizer", {}, rebuilt],
  ["CodeLlamaTokenizerFast", { legacy: true }, rebuilt],
  ["CodeLlamaTokenizer", { legacy: true, add_prefix_space: false }, rebuilt],
  ["PreTrainedTokenizerFast", {}, [1, 337, 337, 337, 337, 685, 417]],
])("tokenizer_class %s with %j and the rules of tokenizer.json", async (name, changes, expected) => {
  cpSync(join(__dirname, "..", "parity", "fixtures", "tokenizer", "llama"), at("t"), { recursive: true });
  const path = at("t", "tokenizer_config.json");
  const document = { ...JSON.parse(readFileSync(path, "utf8")), ...changes, tokenizer_class: name };
  writeFileSync(path, JSON.stringify(document));
  const tokenizer = await Tokenizer.fromPretrained(at("t"));
  expect([...tokenizer.encode("    return 1")]).toEqual(expected);
  expect(tokenizer.decode(tokenizer.encode("  a"), { skipSpecialTokens: true })).toBe(
    expected === rebuilt ? " a" : "  a",
  );
});

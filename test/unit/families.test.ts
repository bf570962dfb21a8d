/** What transformers (5.18) makes of a family's config.json, or that it is refused by name. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { LanguageModel, Tokenizer } from "../../lib/index";
import { describeModel } from "../../lib/model/families";
import { evaluate } from "../../lib/train/evaluate";
import { Trainer } from "../../lib/train/trainer";
import { runCli } from "./cli_support";
import { ropeOf } from "./rope_support";

const sizes = {
  hidden_size: 32,
  num_attention_heads: 4,
  intermediate_size: 40,
  num_hidden_layers: 2,
  vocab_size: 50,
};
const describeIt = (model_type: string, changes: object = {}) =>
  describeModel({ model_type, ...sizes, num_key_value_heads: 2, ...changes }, "config.json");

const refused = (says: RegExp) => expect.objectContaining({ code: "ERR_CONFIG", message: expect.stringMatching(says) });

test.each([
  ["llama", 2048, 4, [false, false, false]],
  ["mistral", 131072, 8, [false, false, false]],
  ["qwen2", 32768, 32, [true, false, false]],
  ["qwen3", 32768, 32, [false, false, false]],
])("%s: defaults and biases", (type, context, kvHeads, biases) => {
  const changes = { num_key_value_heads: undefined, num_attention_heads: kvHeads, head_dim: 8 };
  const { architecture } = describeIt(type, changes);
  const [{ attention, feed_forward, norm }] = architecture.stacks;
  const position = ropeOf({ architecture });
  expect(architecture).toMatchObject({ family: type, context, tied_embeddings: false, hidden: 32, vocabulary: 50 });
  expect(attention).toMatchObject({ kv_heads: kvHeads, head_dim: 8, scale: 8 ** -0.5, mask: "causal" });
  expect([attention.qkv_bias, attention.output_bias, feed_forward.bias]).toEqual(biases);
  expect([norm.eps, position.factor]).toEqual([1e-6, 1]);
  expect(position.inv_freq.map((value) => Number(value.toFixed(6)))).toEqual([1, 0.1, 0.01, 0.001]);
});

test.each(["llama", "mistral", "qwen2"])("%s: null num_key_value_heads means num_attention_heads", (type) => {
  const kvHeads = (value: unknown) =>
    describeIt(type, { num_key_value_heads: value }).architecture.stacks[0].attention.kv_heads;
  expect([kvHeads(null), kvHeads(1)]).toEqual([4, 1]);
});

test.each(["llama", "mistral", "qwen2"])("%s: head_dim given or derived, and both spellings of RoPE", (type) => {
  const stack = (changes: object) => describeIt(type, changes).architecture.stacks[0];
  expect(stack({}).attention.head_dim).toBe(8);
  expect(stack({ head_dim: 16 }).attention.head_dim).toBe(16);
  expect(stack({ head_dim: null }).attention.head_dim).toBe(8);
  const old = stack({ rope_theta: 1e6, rope_scaling: { type: "linear", factor: 2 } });
  const current = stack({ rope_parameters: { rope_theta: 1e6, rope_type: "linear", factor: 2 } });
  expect(old).toEqual(current);
  expect(old.position).toMatchObject({ inv_freq: expect.arrayContaining([0.5]) });
});

test("qwen3: head_dim is 128 by default, and heads are normed", () => {
  const { architecture, tensors, parameterCount } = describeIt("qwen3", { attention_bias: true });
  const plain = describeIt("llama", { attention_bias: true, head_dim: 128 });
  const [{ attention }] = architecture.stacks;
  expect(attention).toEqual({ ...plain.architecture.stacks[0].attention, head_norm: true });
  expect(attention.head_dim).toBe(128);
  const norms = [0, 1].flatMap((layer) => ["q", "k"].map((one) => `layers.${layer}.self_attn.${one}_norm.weight`));
  expect(tensors.filter((name) => !plain.tensors.includes(name))).toEqual(norms);
  expect(parameterCount - plain.parameterCount).toBe(4 * 128);
});

test("tensors and their number follow the biases", () => {
  const llama = describeIt("llama", { attention_bias: true });
  const qwen2 = describeIt("qwen2");
  const mistral = describeIt("mistral", { tie_word_embeddings: true });
  const biases = ({ tensors }: typeof llama) => tensors.filter((name) => /^layers\.1\..*bias$/.test(name));
  const names = (...letters: string[]) => letters.map((letter) => `layers.1.self_attn.${letter}_proj.bias`);
  expect(biases(llama)).toEqual(names("q", "k", "v", "o"));
  expect(biases(qwen2)).toEqual(names("q", "k", "v"));
  expect(biases(mistral)).toEqual([]);
  expect(mistral.tensors).not.toContain("lm_head.weight");
  expect(llama.parameterCount - qwen2.parameterCount).toBe(2 * 32);
  expect(qwen2.parameterCount - mistral.parameterCount).toBe(2 * (32 + 2 * 16) + 50 * 32);
});

test("an unknown model_type gives an error that names the known ones", () => {
  expect(() => describeIt("qwen3_moe")).toThrow(
    refused(
      /^Expected "llama", "mistral", "qwen2", "qwen3", "phi3" or "gpt2" for model_type in config.json but received "qwen3_moe"$/,
    ),
  );
  expect(() => describeModel(sizes, "config.json")).toThrow(refused(/a string for model_type .* received nothing/));
});

/** The context, and the document's fields of a window. */
const windowOf = (type: string, changes: object) => {
  const { architecture } = describeIt(type, { max_position_embeddings: 512, ...changes });
  const { window, window_layers } = architecture.stacks[0].attention;
  return [architecture.context, window, window_layers];
};

test.each(["mistral", "qwen2", "qwen3", "phi3"])("%s: without a window the document has no field of one", (type) => {
  const { architecture } = describeIt(type, { sliding_window: null });
  expect(Object.keys(architecture.stacks[0].attention).filter((name) => /window/.test(name))).toEqual([]);
});

describe("mistral: sliding_window", () => {
  const found = (changes: object) => windowOf("mistral", changes);
  const [full, sliding] = ["full_attention", "sliding_attention"];

  test("is that of all layers where it is smaller than the context, which it does not limit", () => {
    expect(found({ sliding_window: 64 })).toEqual([512, 64, undefined]);
    expect(found({ sliding_window: 511 })).toEqual([512, 511, undefined]);
    expect(found({ sliding_window: 512 })).toEqual([512, undefined, undefined]);
    expect(found({ sliding_window: null })).toEqual([512, undefined, undefined]);
    expect(found({})).toEqual([512, undefined, undefined]);
    expect(found({ max_position_embeddings: 32768 })).toEqual([32768, 4096, undefined]);
    expect(found({ max_position_embeddings: 32768, sliding_window: null })).toEqual([32768, undefined, undefined]);
  });

  test("layer_types are ignored, as transformers' MistralModel does", () => {
    expect(found({ sliding_window: 64, layer_types: [full, sliding] })).toEqual([512, 64, undefined]);
  });

  test("of RoPE's scaling, the positions are those of max_position_embeddings", () => {
    const rope_scaling = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
    const position = (changes: object) =>
      describeIt("mistral", { max_position_embeddings: 512, rope_scaling, ...changes }).architecture.stacks[0].position;
    expect(position({ sliding_window: 16 })).toEqual(position({ sliding_window: null }));
  });

  test.each([0, -1, 1.5, "64", true])("%p is refused", (sliding_window) => {
    expect(() => found({ sliding_window })).toThrow(refused(/for sliding_window in config.json/));
  });
});

describe.each(["qwen2", "qwen3"])("%s: use_sliding_window", (type) => {
  const found = (changes: object) => windowOf(type, changes);
  const [full, sliding] = ["full_attention", "sliding_attention"];
  const on = { use_sliding_window: true, sliding_window: 16 };

  test.each([
    ["off, whatever the window", { use_sliding_window: false, sliding_window: 16, max_window_layers: 1 }],
    ["not given", { sliding_window: 16, max_window_layers: 0 }],
    ["a window that covers the context", { ...on, sliding_window: 512, max_window_layers: 0 }],
    ["the default window, which does", { use_sliding_window: true, max_window_layers: 0 }],
    ["no layer from max_window_layers on", { ...on, max_window_layers: 2 }],
    ["the default of max_window_layers, 28", on],
    ["no window", { ...on, sliding_window: null, max_window_layers: 0 }],
    ["layer_types without one", { ...on, layer_types: [full, full] }],
    ["layer_types in their old spelling", { ...on, layer_types: ["attention", "attention"] }],
  ])("no window: %s", (_, changes) => expect(found(changes)).toEqual([512, undefined, undefined]));

  test.each([
    ["the layers from max_window_layers on", { ...on, max_window_layers: 1 }, [16, [1]]],
    ["all layers", { ...on, max_window_layers: 0 }, [16, undefined]],
    [
      "layer_types in place of max_window_layers",
      { ...on, max_window_layers: 1, layer_types: [sliding, full] },
      [16, [0]],
    ],
    ["layer_types, one in its old spelling", { ...on, layer_types: ["attention", sliding] }, [16, [1]]],
    ["layer_types of all layers", { ...on, layer_types: [sliding, sliding] }, [16, undefined]],
    ["null layer_types are none", { ...on, max_window_layers: 1, layer_types: null }, [16, [1]]],
    ["a window just below the context", { ...on, sliding_window: 511, max_window_layers: 1 }, [511, [1]]],
  ])("a window: %s", (_, changes, window) => expect(found(changes)).toEqual([512, ...window]));

  test.each([
    ["layer_types without a window", { layer_types: [full, sliding] }, /for layer_types .* an array of length 2/],
    ["layer_types of a null window", { ...on, sliding_window: null, layer_types: [full, sliding] }, /for layer_types/],
    ["layer_types of another length", { layer_types: [full] }, /an array of 2 strings.* for layer_types/],
    ["layer_types that are unknown", { layer_types: [full, "chunked"] }, /"full_attention" or "sliding_attention"/],
    ["not a boolean", { use_sliding_window: 1 }, /true or false for use_sliding_window/],
    ["a window of 0", { ...on, sliding_window: 0, max_window_layers: 0 }, /for sliding_window/],
  ])("refused: %s", (_, changes, says) => expect(() => found(changes)).toThrow(refused(says)));
});

test("the activation is silu, which is also named swish; another is refused in every family", () => {
  for (const type of ["llama", "mistral", "qwen2", "qwen3"]) {
    expect(() => describeIt(type, { hidden_act: "gelu" })).toThrow(
      refused(/Expected "silu" or "swish" for hidden_act/),
    );
    expect(describeIt(type, { hidden_act: "swish" }).architecture).toEqual(describeIt(type, {}).architecture);
  }
});

test.each([
  [false, /Expected true, or no such field, for is_causal in .* received false/],
  [null, /for is_causal in .* received nothing/],
  [0, /true or false for is_causal in .* received 0/],
])("attention to later tokens is refused in every family: is_causal %p", (given, says) => {
  for (const type of ["llama", "mistral", "qwen2", "qwen3"])
    expect(() => describeIt(type, { is_causal: given })).toThrow(refused(says));
  expect(describeIt("qwen2", { is_causal: true }).architecture.stacks[0].attention.mask).toBe("causal");
});

/** The templates of Qwen2's and Mistral's first chat models, with what jinja2 makes of the conversation. */
const templates: [family: string, template: string, text: string][] = [
  [
    "qwen2",
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\n2 < 3?<|im_end|>\n<|im_start|>assistant\n",
  ],
  [
    "mistral",
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
    "<s>[INST] Hi [/INST]Hello!</s> [INST] 2 < 3? [/INST]",
  ],
];

test.each(templates)("the chat template of %s is loaded and rendered", async (_, template, text) => {
  const folder = mkdtempSync(join(tmpdir(), "rubricate-families-"));
  cpSync(join(__dirname, "../parity/fixtures/tokenizer/llama"), folder, { recursive: true });
  const path = join(folder, "tokenizer_config.json");
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), chat_template: template }));
  const tokenizer = await Tokenizer.fromPretrained(folder);
  rmSync(folder, { recursive: true });
  const messages = [
    { role: "user", content: "Hi" },
    { role: "assistant", content: "Hello!" },
    { role: "user", content: "2 < 3?" },
  ];
  expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })).toBe(text);
});

describe("a Mistral whose window is smaller than its context", () => {
  let folder: string;
  let model: LanguageModel;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "rubricate-families-"));
    const source = join(__dirname, "../parity/fixtures/gqa");
    cpSync(source, folder, { recursive: true });
    const config = JSON.parse(readFileSync(join(source, "config.json"), "utf8"));
    const changes = { model_type: "mistral", sliding_window: 8 };
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, ...changes }));
    model = await LanguageModel.fromPretrained(folder, { device: "cpu" });
  });
  afterAll(() => {
    model?.dispose();
    rmSync(folder, { recursive: true });
  });
  const tooLong = (most: number) =>
    expect.objectContaining({
      code: "ERR_CONTEXT_LENGTH",
      message: expect.stringContaining(`at most ${most} tokens (the model's context)`),
    });
  const ids = (length: number) => Array<number>(length).fill(3);

  test("sequences up to max_position_embeddings are computed", async () => {
    expect([model.contextLength, model.slidingWindow]).toEqual([128, 8]);
    expect(await model.logits(ids(128))).toHaveLength(128 * model.vocabularySize);
    await expect(model.logits(ids(129))).rejects.toEqual(tooLong(128));
  });

  test("a token out of the window of all layers does not change a token's logits", async () => {
    const last = async (tokenIds: number[]) => (await model.logits(tokenIds)).slice(-model.vocabularySize);
    const sequence = Array.from({ length: 40 }, (_, at) => (7 * at) % 50);
    // Two layers of a window of 8: a token sees those up to 14 before it.
    const changed = (at: number) => sequence.map((id, place) => (place === at ? 60 : id));
    const own = await last(sequence);
    for (const at of [0, 10, 24]) expect(await last(changed(at))).toEqual(own);
    for (const at of [25, 39]) expect(await last(changed(at))).not.toEqual(own);
  });

  test("training and evaluation refuse examples longer than the context", async () => {
    const example = (length: number) => ({
      tokenIds: Int32Array.from(ids(length)),
      supervised: new Uint8Array(length).fill(1),
      line: 1,
    });
    await expect(evaluate(model, [example(129)])).rejects.toEqual(tooLong(128));
    using adapter = RedAdapter.create(model);
    const trainer = new Trainer({ model, adapter, train: [example(129)], epochs: 1 });
    await expect(trainer.train()).rejects.toEqual(tooLong(128));
  });

  test("inspect shows it", async () => {
    const argv = ["inspect", "--model", folder, "--device", "cpu"];
    expect((await runCli(argv)).stdout).toMatch(/context +128 tokens\nwindow +8 tokens, in all layers\n/);
    const [event] = (await runCli([...argv, "--json"])).stdout.split("\n");
    const window = { slidingWindow: 8, slidingWindowLayers: [0, 1] };
    expect(JSON.parse(event!)).toMatchObject({ family: "mistral", context: 128, ...window });
  });
});

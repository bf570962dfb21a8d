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
  ["mistral", 4096, 8, [false, false, false]],
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

describe("mistral: sliding_window", () => {
  const positions = { max_position_embeddings: 512 };
  const found = (changes: object) => {
    const { architecture, slidingWindow } = describeIt("mistral", { ...positions, ...changes });
    return [architecture.context, slidingWindow];
  };

  test("limits the context where it is smaller", () => {
    expect(found({ sliding_window: 64 })).toEqual([64, 64]);
    expect(found({ sliding_window: 511 })).toEqual([511, 511]);
    expect(found({ sliding_window: 512 })).toEqual([512, undefined]);
    expect(found({ sliding_window: null })).toEqual([512, undefined]);
    expect(found({})).toEqual([512, undefined]);
    expect(found({ max_position_embeddings: 32768 })).toEqual([4096, 4096]);
    expect(found({ max_position_embeddings: 32768, sliding_window: null })).toEqual([32768, undefined]);
  });

  test("of RoPE's scaling, the positions are those of max_position_embeddings", () => {
    const rope_scaling = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
    const position = (changes: object) =>
      describeIt("mistral", { ...positions, rope_scaling, ...changes }).architecture.stacks[0].position;
    expect(position({ sliding_window: 16 })).toEqual(position({ sliding_window: null }));
  });

  test.each([0, -1, 1.5, "64", true])("%p is refused", (sliding_window) => {
    expect(() => found({ sliding_window })).toThrow(refused(/for sliding_window in config.json/));
  });
});

describe.each(["qwen2", "qwen3"])("%s: use_sliding_window", (type) => {
  const found = (changes: object) => {
    const { architecture, slidingWindow } = describeIt(type, { max_position_embeddings: 512, ...changes });
    return [architecture.context, slidingWindow];
  };
  const [full, sliding] = ["full_attention", "sliding_attention"];

  test.each([
    ["off, whatever the window", { use_sliding_window: false, sliding_window: 16, max_window_layers: 1 }],
    ["not given", { sliding_window: 16, max_window_layers: 0 }],
    ["a window that covers the context", { use_sliding_window: true, sliding_window: 512, max_window_layers: 0 }],
    ["the default window, which does", { use_sliding_window: true, max_window_layers: 0 }],
    ["no layer from max_window_layers on", { use_sliding_window: true, sliding_window: 16, max_window_layers: 2 }],
    ["the default of max_window_layers, 28", { use_sliding_window: true, sliding_window: 16 }],
    ["no window", { use_sliding_window: true, sliding_window: null, max_window_layers: 0 }],
    ["layer_types without one", { use_sliding_window: true, sliding_window: 16, layer_types: [full, full] }],
  ])("accepted: %s", (_, changes) => expect(found(changes)).toEqual([512, undefined]));

  const refusedWindow =
    /Expected false, or a sliding_window of max_position_embeddings \(512\) or more, for use_sliding_w/;
  test.each([
    ["one layer has it", { use_sliding_window: true, sliding_window: 511, max_window_layers: 1 }, refusedWindow],
    [
      "layer_types say so",
      { use_sliding_window: true, sliding_window: 16, max_window_layers: 2, layer_types: [full, sliding] },
      refusedWindow,
    ],
    ["layer_types without a window", { layer_types: [full, sliding] }, /for layer_types .* an array of length 2/],
    ["layer_types of another length", { layer_types: [full] }, /an array of 2 strings.* for layer_types/],
    ["layer_types that are unknown", { layer_types: [full, "chunked"] }, /"full_attention" or "sliding_attention"/],
    ["not a boolean", { use_sliding_window: 1 }, /true or false for use_sliding_window/],
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
  const tooLong = (most: RegExp) =>
    expect.objectContaining({
      code: "ERR_CONTEXT_LENGTH",
      message: expect.stringMatching(
        new RegExp(`${most.source} tokens \\(the model's context, which sliding_window 8 in its config.json limits\\)`),
      ),
    });
  const ids = (length: number) => Array<number>(length).fill(3);

  test("sequences up to the window are computed, and longer ones are refused with the reason", async () => {
    expect([model.contextLength, model.slidingWindow]).toEqual([8, 8]);
    expect(await model.logits(ids(8))).toHaveLength(8 * model.vocabularySize);
    await expect(model.logits(ids(9))).rejects.toEqual(tooLong(/at most 8/));
    await expect(model.complete({ tokenIds: ids(8) })).rejects.toEqual(tooLong(/a prompt of fewer than 8/));
    const generated = await model.complete({ tokenIds: ids(3), maxNewTokens: 100 });
    expect(generated.tokenIds.length).toBeLessThanOrEqual(5);
  });

  test("training and evaluation refuse longer examples with the reason", async () => {
    const example = (length: number) => ({
      tokenIds: Int32Array.from(ids(length)),
      supervised: new Uint8Array(length).fill(1),
      line: 1,
    });
    await expect(evaluate(model, [example(9)])).rejects.toEqual(tooLong(/at most 8/));
    using adapter = RedAdapter.create(model);
    const trainer = new Trainer({ model, adapter, train: [example(9)], epochs: 1 });
    await expect(trainer.train()).rejects.toEqual(tooLong(/at most 8/));
  });

  test("inspect shows the limit", async () => {
    const argv = ["inspect", "--model", folder, "--device", "cpu"];
    expect((await runCli(argv)).stdout).toMatch(/context +8 tokens: limited to the sliding window/);
    const [event] = (await runCli([...argv, "--json"])).stdout.split("\n");
    expect(JSON.parse(event!)).toMatchObject({ family: "mistral", context: 8, slidingWindow: 8 });
  });
});

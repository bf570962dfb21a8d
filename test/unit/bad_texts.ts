/** Prompts, weights and templates that generation and training meet. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  broken,
  type Case,
  data,
  generates,
  good,
  inTokenizerConfig,
  loads,
  loop,
  q,
  reads,
  trains,
} from "./bad_input_support";
import { context, writeModel } from "./cli_support";

const chat = `${JSON.stringify({
  messages: [
    { role: "user", content: "a" },
    { role: "assistant", content: "b" },
  ],
})}\n`;
const longPrompt = "liberty ".repeat(context);

export const badTexts: readonly Case[] = [
  {
    what: "a device that is not there",
    argv: () => ["generate", "--model", good(), "--device", "cuda:9999", "--prompt", "x"],
    api: () => loads(good(), { device: "cuda:9999" }),
    code: "ERR_DEVICE",
    says: /Expected a CUDA device/,
  },
  {
    what: "a text without a tokenizer",
    make: broken((f) => rmSync(join(f, "tokenizer.json"))),
    argv: (f) => ["generate", "--model", f, "--prompt", "x"],
    api: (f) => generates(f, { prompt: "x" }),
    code: "ERR_TOKENIZER",
    says: /Expected tokenizer\.json in/,
  },
  {
    what: "a prompt longer than the context",
    argv: () => ["generate", "--model", good(), "--prompt", longPrompt],
    api: () => generates(good(), { prompt: longPrompt }),
    code: "ERR_CONTEXT_LENGTH",
    says: /Expected a prompt of fewer than 96 tokens/,
  },
  {
    what: "a token id that the model has not",
    argv: () => ["generate", "--model", good(), "--token-ids", "1,2048"],
    api: () => generates(good(), { tokenIds: [1, 2048] }),
    code: "ERR_ARGUMENT",
    says: /Expected an integer from 0 to 2047 for (tokenIds\[1\]|--token-ids) but received/,
  },
  {
    what: "a temperature below 0",
    argv: () => ["generate", "--model", good(), "--prompt", "x", "--temperature", "-1"],
    api: () => generates(good(), { prompt: "x", temperature: -1 }),
    code: "ERR_ARGUMENT",
    says: /Expected 0, or a number from 2\^-126 to 100 for (--)?temperature/,
  },
  {
    what: "weights that are NaN, at generating",
    make: (f) => writeModel(f, { values: (name, v) => name === q && v.fill(Number.NaN) }),
    argv: (f) => ["generate", "--model", f, "--prompt", "x"],
    api: (f) => generates(f, { prompt: "x" }),
    code: "ERR_NOT_FINITE",
    says: /finite/,
  },
  {
    what: "weights that are NaN, at training",
    make: (f) => writeModel(f, { values: (name, v) => name === q && v.fill(Number.NaN) }),
    argv: (f) => ["train", "--model", f, "--data", data(), "--out", join(f, "out"), "--max-steps", "2"],
    api: (f) => trains(join(f, "out"), {}, f),
    code: "ERR_NOT_FINITE",
    says: /loss is not finite/,
  },
  {
    what: "a template that loops for ever",
    make: inTokenizerConfig({ chat_template: loop }),
    argv: (f) => ["generate", "--model", f, "--chat", "--prompt", "x"],
    api: (f) => generates(f, { messages: [{ role: "user", content: "x" }] }),
    code: "ERR_TEMPLATE",
    says: /did not end|without bound/,
  },
  {
    what: "a template that cannot be parsed",
    make: inTokenizerConfig({ chat_template: "{% if %}" }),
    argv: (f) => ["generate", "--model", f, "--chat", "--prompt", "x"],
    api: (f) => generates(f, { messages: [{ role: "user", content: "x" }] }),
    code: "ERR_TEMPLATE",
    says: /template/,
  },
  {
    what: "a chat without a template",
    make: inTokenizerConfig({ chat_template: undefined }),
    argv: (f) => ["chat", "--model", f],
    api: (f) => generates(f, { messages: [{ role: "user", content: "x" }] }),
    code: "ERR_TEMPLATE",
    says: /has no chat template/,
  },
  {
    what: "chats, and a template that loops for ever",
    make: (f) => {
      inTokenizerConfig({ chat_template: loop })(f);
      writeFileSync(join(f, "chats.jsonl"), chat);
    },
    argv: (f) => ["inspect", "--model", f, "--data", join(f, "chats.jsonl")],
    api: (f) => reads(join(f, "chats.jsonl"), f),
    code: "ERR_TEMPLATE",
    says: /did not end|without bound/,
  },
];

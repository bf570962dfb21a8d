/** Adapters for a model whose tokenizer or chat template changed, and folders that are not adapters of this package. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LanguageModel, type Notice, RedAdapter } from "../../lib/index";
import { runCli, writeModel } from "./cli_support";

let root: string;
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "rubricate-match-"));
  await writeModel(at("m"));
  writeFileSync(at("m", "chat_template.jinja"), "{{ messages[0].content }}");
  const model = await LanguageModel.fromPretrained(at("m"));
  await RedAdapter.create(model).savePretrained(at("a"));
  model.dispose();
});
afterEach(() => rmSync(root, { recursive: true }));
const at = (...names: string[]) => join(root, ...names);

const editJson = (name: string, change: (document: Record<string, unknown>) => void) => {
  const document = JSON.parse(readFileSync(at(name), "utf8"));
  change(document);
  writeFileSync(at(name), JSON.stringify(document));
};

const changes: [what: string, change: () => void, code: string | undefined][] = [
  ["nothing", () => {}, undefined],
  [
    "whitespace in tokenizer_config.json",
    () => {
      const text = readFileSync(at("m/tokenizer_config.json"), "utf8");
      writeFileSync(at("m/tokenizer_config.json"), `  ${JSON.stringify(JSON.parse(text), null, 7)}\n`);
    },
    undefined,
  ],
  ["the chat template", () => writeFileSync(at("m/chat_template.jinja"), "OTHER"), "RUBRICATE_CHAT_TEMPLATE_CHANGED"],
  ["the chat template, removed", () => rmSync(at("m/chat_template.jinja")), "RUBRICATE_CHAT_TEMPLATE_CHANGED"],
  [
    "tokenizer.json",
    () => editJson("m/tokenizer.json", (document) => ((document.model as { merges: unknown[] }).merges = [])),
    "RUBRICATE_TOKENIZER_CHANGED",
  ],
  [
    "an added token in tokenizer_config.json",
    () =>
      editJson("m/tokenizer_config.json", (document) => {
        document.added_tokens_decoder = { 9: { content: "<new>", special: true } };
      }),
    "RUBRICATE_TOKENIZER_CHANGED",
  ],
];

test.each(changes)("an adapter is loaded after a change of %s", async (_, change, code) => {
  change();
  const model = await LanguageModel.fromPretrained(at("m"));
  const reported: Notice[] = [];
  const adapter = await RedAdapter.fromPretrained(at("a"), model, { onNotice: (notice) => reported.push(notice) });
  expect(reported.map((notice) => notice.code)).toEqual(code === undefined ? [] : [code]);
  expect(adapter.notices).toEqual(reported);
  const warn = jest.spyOn(process, "emitWarning").mockImplementation(() => {});
  await RedAdapter.fromPretrained(at("a"), model);
  expect(warn.mock.calls.map(([, options]) => options)).toEqual(
    reported.map((notice) => ({ type: "RubricateNotice", code: notice.code })),
  );
  warn.mockRestore();
  model.dispose();
});

test("loading rejects with an error that a listener throws", async () => {
  writeFileSync(at("m/chat_template.jinja"), "OTHER");
  const model = await LanguageModel.fromPretrained(at("m"));
  const onNotice = () => {
    throw new Error("mine");
  };
  await expect(RedAdapter.fromPretrained(at("a"), model, { onNotice })).rejects.toThrow("mine");
  model.dispose();
});

test("without the template's hash, an adapter's tokenizer is compared as a whole", async () => {
  editJson("a/adapter_config.json", (document) => delete (document.tokenizer as Record<string, unknown>).template);
  const model = await LanguageModel.fromPretrained(at("m"));
  expect((await RedAdapter.fromPretrained(at("a"), model)).notices).toEqual([]);
  model.dispose();
  writeFileSync(at("m/chat_template.jinja"), "OTHER");
  const changed = await LanguageModel.fromPretrained(at("m"));
  const [notice] = (await RedAdapter.fromPretrained(at("a"), changed, { onNotice: () => {} })).notices;
  expect(notice).toMatchObject({
    code: "RUBRICATE_TOKENIZER_CHANGED",
    message: expect.stringMatching(/or chat template/),
  });
  changed.dispose();
});

test("generate and inspect report it", async () => {
  const inspected = await runCli(["inspect", at("a"), "--model", at("m")]);
  expect(inspected.stdout).toMatch(/tokenizer +[0-9a-f]{64}, that of this model/);
  writeFileSync(at("m/chat_template.jinja"), "OTHER");
  const says = /^notice: .*another chat template \([0-9a-f]{64}\) than the adapter in .* was trained with/m;
  const argv = ["--model", at("m"), "--adapter", at("a")];
  const generated = await runCli(["generate", ...argv, "--prompt", "x", "--max-new-tokens", "1"]);
  expect(generated).toMatchObject({ status: 0, stderr: expect.stringMatching(says) });
  const later = await runCli(["inspect", at("a"), "--model", at("m"), "--json"]);
  expect(later).toMatchObject({ status: 0, stderr: expect.stringMatching(says) });
  expect(JSON.parse(later.stdout).notices).toMatchObject([{ code: "RUBRICATE_CHAT_TEMPLATE_CHANGED" }]);
  const text = await runCli(["inspect", at("a"), "--model", at("m")]);
  expect(text.stdout).toMatch(/tokenizer +[0-9a-f]{64}, not that of this model/);
});

const folders: [what: string, make: (folder: string) => void, asAdapter: RegExp, asModel: RegExp][] = [
  [
    "PEFT's LoRA",
    (folder) => {
      writeFileSync(join(folder, "adapter_config.json"), '{"peft_type":"LORA","r":8}');
      writeFileSync(join(folder, "adapter_model.safetensors"), "");
    },
    /is one of PEFT \(peft_type "LORA"\): load it with LoraAdapter\.fromPretrained or loadAdapter/,
    /Expected a model folder at .* but it is an adapter's/,
  ],
  [
    "PEFT's (IA)3",
    (folder) => {
      writeFileSync(join(folder, "adapter_config.json"), '{"peft_type":"IA3"}');
      writeFileSync(join(folder, "adapter_model.safetensors"), "");
    },
    /is one of PEFT \(peft_type "IA3"\): load it with Ia3Adapter\.fromPretrained or loadAdapter/,
    /Expected a model folder at .* but it is an adapter's: load its base/,
  ],
  [
    "PEFT's",
    (folder) => {
      writeFileSync(join(folder, "adapter_config.json"), '{"peft_type":"ADALORA","r":8}');
      writeFileSync(join(folder, "adapter_model.safetensors"), "");
    },
    /is one of PEFT \(peft_type "ADALORA"\), which cannot be loaded\. Merge it into its base/,
    /Expected a model folder at .* but it is an adapter's/,
  ],
  [
    "PEFT's with a config.json",
    (folder) => {
      writeFileSync(join(folder, "adapter_config.json"), '{"peft_type":"LORA"}');
      writeFileSync(join(folder, "config.json"), readFileSync(at("m", "config.json")));
    },
    /is one of PEFT/,
    /but found adapter_config\.json, an adapter/,
  ],
  [
    "a model's",
    (folder) => writeFileSync(join(folder, "config.json"), readFileSync(at("m", "config.json"))),
    /but it is a model's folder: load it as the model/,
    /Expected model\.safetensors or model\.safetensors\.index\.json in the model folder/,
  ],
  [
    "one with a pickle",
    (folder) => {
      writeFileSync(join(folder, "config.json"), readFileSync(at("m", "config.json")));
      writeFileSync(join(folder, "pytorch_model-00001-of-00002.bin"), "");
      writeFileSync(join(folder, "pytorch_model.bin.index.json"), "");
    },
    /model's folder/,
    /but found pytorch_model-00001-of-00002\.bin, pytorch_model\.bin\.index\.json, PyTorch's pickles/,
  ],
  [
    "one with llama.cpp's file",
    (folder) => {
      writeFileSync(join(folder, "config.json"), readFileSync(at("m", "config.json")));
      writeFileSync(join(folder, "llama-Q4.gguf"), "");
    },
    /model's folder/,
    /but found llama-Q4\.gguf, llama\.cpp's format/,
  ],
  [
    "one with other safetensors",
    (folder) => {
      writeFileSync(join(folder, "config.json"), readFileSync(at("m", "config.json")));
      writeFileSync(join(folder, "model-00001-of-00002.safetensors"), "");
    },
    /model's folder/,
    /but found model-00001-of-00002\.safetensors, safetensors of other names/,
  ],
];

test.each(folders)("%s folder is named as such", async (_, make, asAdapter, asModel) => {
  mkdirSync(at("x"));
  make(at("x"));
  const model = await LanguageModel.fromPretrained(at("m"));
  await expect(RedAdapter.fromPretrained(at("x"), model)).rejects.toMatchObject({
    code: "ERR_ADAPTER_FORMAT",
    message: expect.stringMatching(asAdapter),
  });
  model.dispose();
  await expect(LanguageModel.fromPretrained(at("x"))).rejects.toMatchObject({
    code: "ERR_FILE",
    message: expect.stringMatching(asModel),
  });
});

test("inspect does not choose between a model and an adapter in one folder", async () => {
  cpSync(at("m"), at("a"), { recursive: true });
  const both = await runCli(["inspect", at("a")]);
  expect(both).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/has both: give --model DIR or --adapter DIR/),
  });
  const adapter = await runCli(["inspect", "--adapter", at("a")]);
  expect(adapter).toMatchObject({ status: 0, stdout: expect.stringMatching(/^RED adapter/) });
});

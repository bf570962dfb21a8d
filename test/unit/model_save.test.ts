/** A saved model is what loads, independent of the folder's earlier contents. */

import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import fs from "node:fs/promises";
import { join } from "node:path";
import { writeInto } from "../../lib/files/atomic";
import { commitFolder, commitList, finishCommit } from "../../lib/files/commit";
import { companionFiles, indexFile, templatesFolder, weightsFile } from "../../lib/files/model_folder";
import { replaceFileOperations } from "../../lib/files/operations";
import { finishInto, readableFile } from "../../lib/files/read_together";
import { Dataset, LanguageModel, RedAdapter, Tokenizer, Trainer } from "../../lib/index";
import { runCli, writeModel } from "./cli_support";
import { type Failure, temporaryFolder, withFailureAt } from "./failing_files";

let root: string;
beforeEach(() => {
  root = temporaryFolder();
});
afterEach(() => {
  jest.restoreAllMocks();
  replaceFileOperations(undefined);
  rmSync(root, { recursive: true, force: true });
});
const at = (...names: string[]) => join(root, ...names);

/** Splits a folder's weights into shards. */
function shard(folder: string, names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]): void {
  const bytes = readFileSync(join(folder, weightsFile));
  const length = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString("utf8"));
  delete header.__metadata__;
  const tensors = Object.keys(header).sort();
  const map: Record<string, string> = {};
  for (const [part, file] of names.entries()) {
    const own: Record<string, unknown> = {};
    const pieces: Buffer[] = [];
    let end = 0;
    for (const name of tensors.filter((_, index) => index % names.length === part)) {
      const [from, to] = header[name].data_offsets;
      own[name] = { ...header[name], data_offsets: [end, end + to - from] };
      end += to - from;
      pieces.push(bytes.subarray(8 + length + from, 8 + length + to));
      map[name] = file;
    }
    const text = Buffer.from(JSON.stringify(own));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(text.length));
    writeFileSync(join(folder, file), Buffer.concat([size, text, ...pieces]));
  }
  writeFileSync(join(folder, indexFile), JSON.stringify({ weight_map: map }));
  rmSync(join(folder, weightsFile));
}

/** The behaviour of a folder's model: everything that its files can change. */
async function behaviour(folder: string) {
  const model = await LanguageModel.fromPretrained(folder, { onNotice: () => {} });
  try {
    const { tokenizer } = model;
    return {
      architecture: model.architecture,
      eos: model.eosTokenIds,
      bos: model.bosTokenId,
      logits: await model.logits([1, 2, 3]),
      hash: tokenizer?.hash,
      template: tokenizer?.chatTemplate,
      ids: tokenizer && [...tokenizer.encode("  The king <z> came.")],
    };
  } finally {
    model.dispose();
  }
}

const { config } = jest.requireActual("./cli_support");
const foreignToken = { content: "king", special: true, lstrip: false, rstrip: false, single_word: false };
/** Files of another model that a loader would read instead of, or in addition to, the saved ones. */
const foreign: Record<string, (folder: string) => unknown> = {
  "shards and their index": (folder) => shard(folder),
  "another single file": () => {},
  "config.json": (folder) =>
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, rope_theta: 7, eos_token_id: [5, 6] })),
  "generation_config.json": (folder) => writeFileSync(join(folder, "generation_config.json"), '{"eos_token_id":[7,8]}'),
  "tokenizer.json": (folder) => {
    const path = join(folder, "tokenizer.json");
    const document = JSON.parse(readFileSync(path, "utf8"));
    document.added_tokens.push({
      ...foreignToken,
      id: 2047,
      content: document.added_tokens[0].content === "x" ? "y" : "x",
    });
    document.added_tokens = document.added_tokens.slice(0, 2);
    writeFileSync(path, JSON.stringify(document));
  },
  "tokenizer_config.json": (folder) =>
    writeFileSync(join(folder, "tokenizer_config.json"), '{"chat_template":"OLD","eos_token":"e"}'),
  "special_tokens_map.json": (folder) =>
    writeFileSync(join(folder, "special_tokens_map.json"), '{"eos_token":"a","bos_token":"b"}'),
  "added_tokens.json": (folder) => writeFileSync(join(folder, "added_tokens.json"), '{"<z>":2046}'),
  "chat_template.jinja": (folder) => writeFileSync(join(folder, "chat_template.jinja"), "OLD"),
  "an adapter": (folder) => {
    for (const name of ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
      writeFileSync(join(folder, name), "OLD");
  },
  "named templates": (folder) => {
    mkdirSync(join(folder, templatesFolder));
    writeFileSync(join(folder, templatesFolder, "tool_use.jinja"), "OLD");
  },
};

test.each(Object.keys(foreign))("saving over %s of another model leaves nothing of it", async (what) => {
  for (const tokenizer of [true, false]) {
    await writeModel(at("source"), { tokenizer });
    await writeModel(at("out"), { offset: 77 });
    foreign[what]!(at("out"));
    writeFileSync(at("out", "notes.txt"), "mine");
    writeFileSync(at("out", "pytorch_model.bin"), "mine");
    const model = await LanguageModel.fromPretrained(at("source"));
    await model.savePretrained(at("out"));
    model.dispose();
    expect(readdirSync(at("out")).sort()).toEqual(
      [...readdirSync(at("source")), "notes.txt", "pytorch_model.bin"].sort(),
    );
    expect(await behaviour(at("out"))).toEqual(await behaviour(at("source")));
    rmSync(root, { recursive: true });
  }
});

test.each(["config.json", weightsFile, "model.safetensors.index.json"])(
  "an adapter is not saved or trained into a folder with %s of a model",
  async (name) => {
    await writeModel(at("source"));
    mkdirSync(at("out", "best"), { recursive: true });
    for (const folder of [at("out"), at("out", "best")]) writeFileSync(join(folder, name), "mine");
    writeFileSync(at("data.jsonl"), '{"text":"a"}\n');
    const text = new RegExp(`without a model for the adapter at .* found ${name}`);
    const says = { code: "ERR_FILE", message: expect.stringMatching(text) };
    const model = await LanguageModel.fromPretrained(at("source"));
    const adapter = RedAdapter.create(model);
    await expect(adapter.savePretrained(at("out"))).rejects.toMatchObject(says);
    const data = await Dataset.fromJsonl(at("data.jsonl"), { tokenizer: model.requireTokenizer(), maxLength: 8 });
    const options = { model, adapter, train: data, eval: data, keepBest: true, evalEveryEpoch: true, epochs: 1 };
    const run = new Trainer({ ...options, outputDir: at("out") }).run();
    await expect(run.next()).rejects.toMatchObject(says);
    const argv = ["train", "--model", at("source"), "--data", at("data.jsonl"), "--out", at("out")];
    expect(await runCli(argv)).toMatchObject({ status: 1, stderr: expect.stringMatching(text) });
    for (const folder of [at("out"), at("out", "best")])
      expect(readdirSync(folder).filter((one) => one !== "best")).toEqual([name]);
    await data.dispose();
    model.dispose();
  },
);

test("a sharded model is saved into its own folder, and its named templates stay", async () => {
  await writeModel(at("m"));
  shard(at("m"));
  writeFileSync(at("m", "chat_template.jinja"), "NEW");
  foreign["named templates"]!(at("m"));
  const before = await behaviour(at("m"));
  const model = await LanguageModel.fromPretrained(at("m"));
  await model.savePretrained(at("m"));
  await model.savePretrained(at("copy"));
  model.dispose();
  for (const folder of [at("m"), at("copy")]) {
    expect(readdirSync(folder).sort()).toEqual(
      [
        templatesFolder,
        "chat_template.jinja",
        "config.json",
        weightsFile,
        "tokenizer.json",
        "tokenizer_config.json",
      ].sort(),
    );
    expect(readFileSync(join(folder, templatesFolder, "tool_use.jinja"), "utf8")).toBe("OLD");
    expect(await behaviour(folder)).toEqual(before);
  }
});

test("the loader reads no file name that a save does not know", async () => {
  await writeModel(at("m"));
  foreign["named templates"]!(at("m"));
  const looked = new Set<string>();
  for (const name of ["stat", "lstat", "open", "readdir"] as const) {
    const real = fs[name] as (path: string, ...more: unknown[]) => Promise<unknown>;
    jest.spyOn(fs, name).mockImplementation(((path: string, ...more: unknown[]) => {
      if (String(path).startsWith(at("m"))) looked.add(String(path).slice(at("m").length + 1));
      return real(path, ...more);
    }) as never);
  }
  (await LanguageModel.fromPretrained(at("m"))).dispose();
  await Tokenizer.fromPretrained(at("m"));
  expect(looked).toContain("chat_template.jinja");
  const known = [...Object.keys(companionFiles), weightsFile, indexFile, "", ".rubricate-commit", templatesFolder];
  for (const name of looked) if (!name.startsWith(`${templatesFolder}/`)) expect(known).toContain(name);
});

const files = (version: string) => [
  { name: "a.json", data: version },
  { name: "inner/b.jinja", data: version },
];
const stale = async () => ["inner/old.jinja", "old.json"];

/** A folder with version "old", in which two files are stale for the new version. */
async function oldFolder(name: string): Promise<string> {
  await writeInto(at(name), files("old"));
  writeFileSync(at(name, "old.json"), "old");
  writeFileSync(at(name, "inner", "old.jinja"), "old");
  writeFileSync(at(name, "notes.txt"), "mine");
  return at(name);
}

/** The files that a reader finds, by name. */
async function found(folder: string) {
  const names = ["a.json", "inner/b.jinja", "old.json", "inner/old.jinja", "notes.txt"];
  const read = async (name: string) => {
    const path = await readableFile(folder, name);
    return existsSync(path) ? readFileSync(path, "utf8") : null;
  };
  return Promise.all(names.map(read));
}
const before = ["old", "old", "old", "old", "mine"];
const after = ["new", "new", null, null, "mine"];

const failures: Failure[] = ["EIO", "power cut", "power cut, unflushed data lost"];
test.each(failures)("a write that removes files is atomic, whichever operation meets %s", async (failure) => {
  const template = await oldFolder("template");
  const { operations } = await withFailureAt(-1, "EIO", () => writeInto(template, files("new"), stale));
  expect(await found(template)).toEqual(after);
  const seen = new Set<string>();
  for (let step = 0; step < operations.length; step++) {
    const folder = await oldFolder(`f${step}`);
    const { error } = await withFailureAt(step, failure, () => writeInto(folder, files("new"), stale));
    expect(error).toMatchObject({ code: "ERR_FILE" });
    const state = await found(folder);
    expect([before, after]).toContainEqual(state);
    seen.add(String(state));
    await finishInto(folder);
    expect(await found(folder)).toEqual(state);
    await writeInto(folder, files("new"), stale);
    expect(await found(folder)).toEqual(after);
    expect(readdirSync(folder).filter((name) => name.startsWith(".rubricate-commit"))).toEqual([]);
  }
  expect(seen.size).toBe(2);
});

test("finishing a commit too late does not remove a newer file", async () => {
  const folder = await oldFolder("f");
  const list = await commitList(folder, ["a.json"], ["old.json"]);
  mkdirSync(commitFolder(folder));
  writeFileSync(join(commitFolder(folder), list.name), list.data);
  rmSync(at("f", "old.json"));
  writeFileSync(at("f", "old.json"), "the next commit's");
  await finishCommit(folder);
  expect(readFileSync(at("f", "old.json"), "utf8")).toBe("the next commit's");
  expect(existsSync(commitFolder(folder))).toBe(false);
});

test.each([
  ["names that leave the folder", { names: [], stale: [{ name: "../victim", version: "1" }] }],
  ["names deeper than one folder", { names: ["a/b/c"], stale: [] }],
  ["a version that is none", { names: [], stale: [{ name: "a", version: 1 }] }],
  ["no list", { names: [], stale: "a" }],
])("a commit whose list has %s is refused", async (_, list) => {
  mkdirSync(at("f"));
  writeFileSync(at("victim"), "");
  mkdirSync(commitFolder(at("f")));
  const made = JSON.parse((await commitList(at("f"), [])).data);
  writeFileSync(join(commitFolder(at("f")), "list-0123456789ab.json"), JSON.stringify({ ...made, ...list }));
  await expect(finishInto(at("f"))).rejects.toMatchObject({ message: expect.stringMatching(/list is malformed/) });
  expect(existsSync(at("victim"))).toBe(true);
});

test("a folder that was copied while stale files were being removed is refused until they are removed", async () => {
  const folder = await oldFolder("f");
  const list = await commitList(folder, ["a.json"], ["old.json"]);
  mkdirSync(commitFolder(folder));
  writeFileSync(join(commitFolder(folder), list.name), list.data);
  cpSync(folder, at("copy"), { recursive: true });
  await expect(finishInto(at("copy"))).rejects.toMatchObject({ message: expect.stringMatching(/in another folder/) });
  rmSync(at("copy", "old.json"));
  await finishInto(at("copy"));
  expect(existsSync(commitFolder(at("copy")))).toBe(false);
});

test("a link in place of the templates' folder is removed, and its target stays; folders are refused", async () => {
  await writeModel(at("source"));
  mkdirSync(at("theirs"));
  writeFileSync(at("theirs", "x.jinja"), "theirs");
  mkdirSync(at("out"));
  symlinkSync(at("theirs"), at("out", templatesFolder));
  const model = await LanguageModel.fromPretrained(at("source"));
  await model.savePretrained(at("out"));
  expect(readdirSync(at("out"))).not.toContain(templatesFolder);
  expect(readFileSync(at("theirs", "x.jinja"), "utf8")).toBe("theirs");
  mkdirSync(at("out", "chat_template.jinja"));
  await expect(model.savePretrained(at("out"))).rejects.toMatchObject({
    message: expect.stringMatching(/nothing to replace at .*chat_template.jinja but it is a folder/),
  });
  model.dispose();
  expect(lstatSync(at("out", "chat_template.jinja")).isDirectory()).toBe(true);
});

test("a tokenizer is read as one write left it", async () => {
  await writeModel(at("source"));
  writeFileSync(at("source", "chat_template.jinja"), "NEW");
  const model = await LanguageModel.fromPretrained(at("source"));
  await writeModel(at("out"), { offset: 7 });
  const { operations } = await withFailureAt(-1, "EIO", () => model.savePretrained(at("whole")));
  // After the commit, before the files are moved.
  const moving = operations.indexOf("rename") + 2;
  await withFailureAt(moving, "power cut", () => model.savePretrained(at("out")));
  model.dispose();
  expect((await Tokenizer.fromPretrained(at("out"))).chatTemplate).toBe("NEW");
});

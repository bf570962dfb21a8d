/** Environments of the package: other realms, special file systems, clones without git-lfs, bundlers. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import { reasonOf } from "../../lib/errors";
import { writeInto } from "../../lib/files/atomic";
import { readBytes, readTextSync } from "../../lib/files/read";
import { Dataset, LanguageModel, ops, RedAdapter, Tape, Tensor } from "../../lib/index";
import { packageRoot, packageRootOf } from "../../lib/package_root";
import { FolderLock } from "../../lib/train/folder_lock";
import { runCli, writeModel } from "./cli_support";

let root: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "rubricate-platforms-"));
  await writeModel(at("m"));
});
afterAll(() => rmSync(root, { recursive: true }));
const at = (...names: string[]) => join(root, ...names);

describe("values of another realm", () => {
  const foreign = (code: string) => runInNewContext(code);

  test("typed arrays and arrays make tensors", () => {
    expect(Tensor.from(foreign("new Float32Array([1, 2])"), [2]).shape).toEqual([2]);
    expect(Tensor.from(foreign("new Int32Array([1, 2])"), foreign("[2]"), "int32").shape).toEqual([2]);
    expect([...Tensor.from(foreign("[1, 2.5]"), foreign("[2]")).data()]).toEqual([1, 2.5]);
  });

  test("they are ops' arguments", () => {
    const tape = new Tape();
    const weight = Tensor.from([1, 2, 3, 4], [2, 2]);
    const rows = ops.embedding(tape, foreign("new Int32Array([1, 0])"), weight);
    expect([...rows.data()]).toEqual([3, 4, 1, 2]);
  });

  test("signals, objects, arrays and maps are calls' arguments", async () => {
    const model = await LanguageModel.fromPretrained(at("m"), foreign("({ dtype: 'float32' })"));
    const ids = await model.logits(foreign("new Int32Array([1, 2])"));
    expect(await model.logits(foreign("[1, 2]"))).toEqual(ids);
    const adapter = RedAdapter.create(model, foreign("({ sites: ['ffn'], layers: [0] })"));
    const name = "layers.0.mlp.down_proj.bias";
    adapter.setVectors(foreign(`new Map([["${name}", new Float32Array(16).fill(2)]])`));
    expect(adapter.vectors().get(name)![0]).toBe(2);
    const signal = foreign(`({ aborted: true, reason: "mine", addEventListener() {}, removeEventListener() {} })`);
    await expect(model.logits([1], { signal })).rejects.toMatchObject({ code: "ERR_ABORTED" });
    expect(model.requireTokenizer().decode(foreign("new Int32Array([5, 6])"))).toBe(
      model.requireTokenizer().decode([5, 6]),
    );
    const data = await Dataset.fromRows(foreign(`[{ text: "The king." }]`), {
      tokenizer: model.requireTokenizer(),
      maxLength: 8,
    });
    expect(data.length).toBe(1);
    await data.dispose();
    model.dispose();
  });

  test("an error says why", () => {
    expect(reasonOf(foreign("new TypeError('because')"))).toBe("because");
  });
});

/** A folder in which no folder can be created, and whose subfolders the system reports as missing. */
const unmakable = "/proc/rubricate-test";
const onLinux = process.platform === "linux" ? test : test.skip;

onLinux.each([
  ["a save", () => writeInto(join(unmakable, "deep"), [{ name: "a", data: "" }])],
  ["a run's lock", () => FolderLock.take(unmakable)],
])("%s below a folder in which no folder can be created ends with an error", async (_, work) => {
  await expect(work()).rejects.toMatchObject({
    code: "ERR_FILE",
    message: expect.stringMatching(/Cannot write \/proc\/rubricate-test.*the system makes no folder in \/proc/),
  });
});

onLinux("a training into it ends with an error", async () => {
  writeFileSync(at("d.jsonl"), '{"text":"The king."}\n');
  const argv = ["train", "--model", at("m"), "--data", at("d.jsonl"), "--epochs", "1", "--out", unmakable];
  expect(await runCli(argv)).toMatchObject({ status: 1, stderr: expect.stringMatching(/makes no folder in \/proc/) });
});

const pointer = (version: string) => `version https://${version}/spec/v1\noid sha256:${"0".repeat(64)}\nsize 2626168\n`;
const pointerNames = [
  "model.safetensors",
  "config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
];

test.each(pointerNames)("a git-lfs pointer in place of %s is named", async (name) => {
  await writeModel(at(name));
  writeFileSync(at(name, name), pointer("git-lfs.github.com"));
  await expect(LanguageModel.fromPretrained(at(name))).rejects.toMatchObject({
    code: "ERR_FILE",
    message: expect.stringContaining(`${at(name, name)} is a git-lfs pointer, not the file: run "git lfs pull"`),
  });
});

test("pointers of shards, adapters, data and older git-lfs are named, and other small files are read", async () => {
  await writeModel(at("shards"));
  rmSync(at("shards", "model.safetensors"));
  const file = "model-00001-of-00001.safetensors";
  writeFileSync(
    at("shards", "model.safetensors.index.json"),
    JSON.stringify({ weight_map: { "lm_head.weight": file } }),
  );
  writeFileSync(at("shards", file), pointer("git-lfs.github.com"));
  const says = { code: "ERR_FILE", message: expect.stringMatching(/is a git-lfs pointer/) };
  await expect(LanguageModel.fromPretrained(at("shards"))).rejects.toMatchObject(says);
  const model = await LanguageModel.fromPretrained(at("m"));
  await RedAdapter.create(model).savePretrained(at("a"));
  for (const name of ["adapter_model.safetensors", "adapter_config.json"]) {
    writeFileSync(at("a", name), pointer("git-lfs.github.com"));
    await expect(RedAdapter.fromPretrained(at("a"), model)).rejects.toMatchObject(says);
  }
  writeFileSync(at("d.lfs"), pointer("hawser.github.com"));
  const options = { tokenizer: model.requireTokenizer(), maxLength: 8 };
  await expect(Dataset.fromJsonl(at("d.lfs"), options)).rejects.toMatchObject(says);
  model.dispose();
  expect(() => readTextSync(at("d.lfs"), 1000)).toThrow(/is a git-lfs pointer/);
  writeFileSync(at("small"), ` ${pointer("git-lfs.github.com")}`);
  expect(await readBytes(at("small"), 1000)).toHaveLength(pointer("git-lfs.github.com").length + 1);
});

test.each([
  ["in an application's folder", () => at("app", "dist")],
  ["without any package.json", () => "/"],
  ["in a bundle of ES modules", () => null],
])("code that runs %s names bundlers, and the remedy", (_, from) => {
  mkdirSync(at("app", "dist"), { recursive: true });
  writeFileSync(at("app", "package.json"), '{"name":"app","version":"1.0.0"}');
  const folder = from();
  const find = () => packageRootOf(folder);
  expect(find).toThrow(
    expect.objectContaining({
      code: "ERR_NATIVE_LOAD",
      message: expect.stringMatching(
        /a bundler put it.*--external:rubricate; webpack externals: \{ rubricate: .*Next\.js serverExternalPackages: /,
      ),
    }),
  );
});

test("a bundle of ES modules names the remedy before it fails at a require, and the package itself loads", () => {
  const dist = join(__dirname, "..", "..", "dist");
  mkdirSync(at("bundle"));
  for (const name of ["index.mjs", "not_bundled.mjs"]) copyFileSync(join(dist, name), at("bundle", name));
  writeFileSync(at("bundle", "index.js"), `throw new Error('Dynamic require of "node:path" is not supported')`);
  const load = (path: string) => spawnSync(process.execPath, [path], { encoding: "utf8" });
  expect(load(at("bundle", "index.mjs"))).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/a bundler put it.*esbuild --external:rubricate[\s\S]*code: 'ERR_NATIVE_LOAD'/),
  });
  expect(load(join(dist, "index.mjs"))).toMatchObject({ status: 0, stderr: "" });
});

test("the package's own root is found", () => {
  expect(packageRoot()).toEqual({ root: join(__dirname, "..", ".."), version: require("../../package.json").version });
});

/** Reading: anything other than a regular file is refused by name, and every read has a size limit. */
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { truncate } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { encodeLine } from "../../lib/data/encode_row";
import { memorySource, RowIndex } from "../../lib/data/row_index";
import { parseJson, readJson } from "../../lib/files/json";
import { present, readBytes, readPieces, readText, readTextSync } from "../../lib/files/read";
import { Dataset, LanguageModel, RedAdapter, RubricateError, Tokenizer, Trainer } from "../../lib/index";
import { limits } from "../../lib/limits";
import { readTokenizerFiles } from "../../lib/tokenizer/files";
import { parseInPieces } from "../../lib/tokenizer/json_pieces";
import { readState } from "../../lib/train/checkpoint";
import { writeModel } from "./cli_support";

let root: string;
let model: LanguageModel;
let socket: Server;
beforeAll(async () => {
  root = mkdtempSync(path.join(tmpdir(), "rubricate-read-"));
  await writeModel(at("good"));
  model = await LanguageModel.fromPretrained(at("good"));
  await RedAdapter.create(model).savePretrained(at("adapter"));
  execFileSync("mkfifo", [at("pipe")]);
  socket = createServer().listen(at("socket"));
  symlinkSync("loop", at("loop"));
  symlinkSync("nowhere", at("dangling"));
  writeFileSync(at("text"), "text");
});
afterAll(() => {
  socket.close();
  model.dispose();
  rmSync(root, { recursive: true });
});
const at = (...names: string[]) => path.join(root, ...names);

const strange: [string, () => string, RegExp][] = [
  ["pipe", () => at("pipe"), /Expected a regular file at .* but it is a pipe \(FIFO\): save its contents as a file/],
  ["device", () => "/dev/zero", /Expected a regular file at .* but it is a device/],
  ["folder", () => root, /Expected a regular file at .* but it is a folder/],
  ["socket", () => at("socket"), /Expected a regular file at .* but it is a socket/],
  ["loop", () => at("loop"), /Cannot read .*ELOOP/],
  ["link into nothing", () => at("dangling"), /Cannot read .*(ENOENT|that does not exist)/],
  ["file as a folder", () => at("text", "x"), /Cannot read .*ENOTDIR/],
];

const readers: [string, (file: string) => Promise<unknown>][] = [
  ["readBytes", (file) => readBytes(file, 100)],
  ["readText", (file) => readText(file, 100)],
  ["readTextSync", async (file) => readTextSync(file, 100)],
  ["readJson", (file) => readJson(file)],
  ["readPieces", (file) => readPieces(file).next()],
  ["JSONL", (file) => Dataset.fromJsonl(file, { tokenizer: model.requireTokenizer(), maxLength: 8 })],
];

describe.each(strange)("a %s", (_, file, says) => {
  test.each(readers)("is refused by %s", async (_, read) => {
    const error = await read(file()).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(RubricateError);
    expect(error).toMatchObject({ code: "ERR_FILE", message: expect.stringMatching(says) });
  });
});

/** Every file of a folder that TypeScript code reads, with its reader. */
const members: [string, string, (folder: string) => Promise<unknown>][] = [
  ...["config.json", "generation_config.json", "model.safetensors.index.json", "model.safetensors"].map(
    (name): (typeof members)[0] => [name, "good", (folder) => LanguageModel.fromPretrained(folder)],
  ),
  ...["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"].map(
    (name): (typeof members)[0] => [name, "good", (folder) => Tokenizer.fromPretrained(folder)],
  ),
  ["adapter_config.json", "adapter", (folder) => RedAdapter.fromPretrained(folder, model)],
];

/** A copy of a folder without a file and its alternatives. */
function copyWithout(name: string, from: string, folder: string): void {
  cpSync(at(from), folder, { recursive: true });
  rmSync(path.join(folder, name), { force: true });
  if (name === "model.safetensors.index.json") rmSync(path.join(folder, "model.safetensors"));
}

test.each(members)("%s never counts as missing, and reading it never waits", async (name, from, read) => {
  for (const [kind, target, says] of strange) {
    if (kind === "file as a folder") continue;
    const folder = at(`${name}-${kind}`);
    copyWithout(name, from, folder);
    symlinkSync(kind === "loop" ? name : target(), path.join(folder, name));
    await expect(read(folder)).rejects.toMatchObject({ code: "ERR_FILE", message: expect.stringMatching(says) });
  }
});

test("trainer_state.json is read the same way", async () => {
  mkdirSync(at("checkpoint-1"));
  symlinkSync(at("pipe"), at("checkpoint-1", "trainer_state.json"));
  await expect(readState(at("checkpoint-1"))).rejects.toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringContaining("but it is a pipe"),
  });
});

test("only a path that does not exist counts as absent", async () => {
  expect([await present(at("text")), await present(at("none"))]).toEqual([true, false]);
  for (const name of ["loop", "dangling", "text/x"])
    await expect(present(at(name))).rejects.toMatchObject({ code: "ERR_FILE" });
});

test("a file of /proc, whose reported size is 0, is read to its end", async () => {
  expect(await readText("/proc/self/stat", 1 << 16)).toContain(`${process.pid} (`);
  await expect(readText("/proc/self/stat", 10)).rejects.toMatchObject({ code: "ERR_FILE" });
  const options = { tokenizer: model.requireTokenizer(), maxLength: 8 };
  await expect(Dataset.fromJsonl("/proc/self/stat", options)).rejects.toMatchObject({
    code: "ERR_FILE",
    message: expect.stringMatching(/known size .* save its contents as a file/),
  });
});

test("a model is saved with its own files and those of a Hugging Face cache, not with the targets of other links", async () => {
  const blob = at("models--a--b", "blobs", "0123456789".repeat(4));
  const folder = at("models--a--b", "snapshots", "main");
  mkdirSync(path.dirname(blob), { recursive: true });
  cpSync(at("good"), folder, { recursive: true });
  renameSync(path.join(folder, "config.json"), blob);
  symlinkSync(path.relative(folder, blob), path.join(folder, "config.json"));
  const linked = await LanguageModel.fromPretrained(folder);
  await linked.savePretrained(at("saved"));
  expect(lstatSync(at("saved", "config.json")).isFile()).toBe(true);
  expect(readFileSync(at("saved", "config.json"))).toEqual(readFileSync(blob));

  writeFileSync(at("secret"), "secret");
  symlinkSync(at("secret"), path.join(folder, "chat_template.jinja"));
  const says = {
    code: "ERR_FILE",
    message: expect.stringMatching(/chat_template.jinja .*link .*secret: replace it with a copy/),
  };
  await expect(linked.savePretrained(at("published"))).rejects.toMatchObject(says);
  expect(existsSync(at("published"))).toBe(false);
  const train = [{ tokenIds: Int32Array.of(1, 2, 3), supervised: Uint8Array.of(0, 1, 1), line: 1 }];
  const trainer = new Trainer({ model: linked, method: "full", train, maxSteps: 1 });
  await expect(trainer.run().next()).rejects.toMatchObject(says);
  linked.dispose();
});

test("other bytes than UTF-8 are refused", async () => {
  writeFileSync(at("latin1"), Buffer.from([0x22, 0xe9, 0x22]));
  await expect(readText(at("latin1"), 100)).rejects.toMatchObject({ code: "ERR_FILE" });
  await expect(readJson(at("latin1"))).rejects.toMatchObject({ code: "ERR_JSON" });
});

describe("limits: accepted at the limit, refused one past it", () => {
  /** A sparse file of zeros. */
  const sparse = async (name: string, size: number) => {
    writeFileSync(at(name), "");
    await truncate(at(name), size);
    return at(name);
  };
  const tooLarge = { code: "ERR_FILE", message: expect.stringMatching(/^Expected at most \d+ bytes in .* but it has/) };

  test("documentBytes", async () => {
    const limit = limits.documentBytes;
    const file = await sparse("document", limit);
    expect(await readText(file, limit)).toHaveLength(limit);
    await expect(readJson(file)).rejects.toMatchObject({ code: "ERR_JSON" });
    await sparse("document", limit + 1);
    await expect(readJson(file)).rejects.toMatchObject(tooLarge);
    for (const [name, from, read] of members) {
      if (/^(tokenizer\.json|tokenizer_config\.json|model\.safetensors)$/.test(name)) continue;
      const folder = at(`${name}-large`);
      copyWithout(name, from, folder);
      symlinkSync(file, path.join(folder, name));
      await expect(read(folder)).rejects.toMatchObject(tooLarge);
    }
  });

  test("tokenizerConfigBytes", async () => {
    const name = "tokenizer_config.json";
    const folder = at("config-large");
    cpSync(at("good"), folder, { recursive: true });
    await sparse(`config-large/${name}`, limits.tokenizerConfigBytes);
    expect((await readTokenizerFiles(folder)).tokenizerConfig).toHaveLength(limits.tokenizerConfigBytes);
    await sparse(`config-large/${name}`, limits.tokenizerConfigBytes + 1);
    await expect(Tokenizer.fromPretrained(folder)).rejects.toMatchObject(tooLarge);
  });

  test("tokenizerBytes", async () => {
    mkdirSync(at("large"));
    await sparse("large/tokenizer.json", limits.tokenizerBytes);
    expect((await readTokenizerFiles(at("large"))).directory).toBe(at("large"));
    await sparse("large/tokenizer.json", limits.tokenizerBytes + 1);
    await expect(readTokenizerFiles(at("large"))).rejects.toMatchObject(tooLarge);
  });

  test("knownHeaderBytes and knownTensorBytes", async () => {
    const name = "adapter_model.safetensors";
    const bytes = readFileSync(at("adapter", name));
    const length = Number(bytes.readBigUInt64LE());
    const text = bytes.toString("utf8", 8, 8 + length).trimEnd();
    const tensors = Object.entries(JSON.parse(text) as Record<string, { shape?: number[] }>).filter(
      ([, { shape }]) => shape,
    );
    const numbers = tensors.reduce(
      (sum, [, { shape }]) => sum + shape!.reduce((product, size) => product * size, 1),
      0,
    );
    const most = 8 + limits.knownHeaderBytes + limits.knownTensorBytes * tensors.length + 4 * numbers;
    cpSync(at("adapter"), at("padded"), { recursive: true });
    const load = (size: number) => {
      const data = bytes.subarray(8 + length);
      const padded = Buffer.from(text.padEnd(size - 8 - data.length));
      const count = Buffer.alloc(8);
      count.writeBigUInt64LE(BigInt(padded.length));
      writeFileSync(at("padded", name), Buffer.concat([count, padded, data]));
      return RedAdapter.fromPretrained(at("padded"), model);
    };
    (await load(most)).dispose();
    await expect(load(most + 1)).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringContaining(`${most} bytes`),
    });
  });

  const zeros = (count: number) => `[${"0,".repeat(count - 2)}0]`; // the array counts as a value too
  const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);

  test("documentValues and jsonNesting", () => {
    const parse = (text: string) => () => parseJson(text, "x.json", "ERR_CONFIG");
    expect(parse(zeros(limits.documentValues))()).toHaveLength(limits.documentValues - 1);
    expect(parse(zeros(limits.documentValues + 1))).toThrow(/Cannot use x.json: it has more than \d+ values/);
    expect(parse(nested(limits.jsonNesting))()).toHaveLength(1);
    expect(parse(nested(limits.jsonNesting + 1))).toThrow(/nested more than \d+ levels deep/);
    expect(parse(`{"a":"${"[".repeat(9999)}\\"${"[".repeat(9999)}"}`)()).toBeDefined();
  });

  test("tokenizerValues and tokenizerMemberBytes", () => {
    const parse = (text: string) => () => parseInPieces(Buffer.from(text));
    expect(parse(zeros(limits.tokenizerValues))()).toHaveLength(limits.tokenizerValues - 1);
    expect(parse(zeros(limits.tokenizerValues + 1))).toThrow(/it has more than \d+ values/);
    expect(parse(nested(limits.jsonNesting + 1))).toThrow(/nested more than \d+ levels deep/);
    const wide = " ".repeat(limits.tokenizerMemberBytes);
    expect(parse(`${wide}[]`)()).toEqual([]);
    expect(parse(`${wide} []`)).toThrow(/whitespace in a row/);
    const named = (length: number) => parse(`{"${"a".repeat(length)}":[],"b":[]}`);
    expect(named(limits.tokenizerMemberBytes)()).toHaveProperty("b");
    expect(named(limits.tokenizerMemberBytes + 1)).toThrow(/a name of more than \d+ bytes/);
  });

  test("lineBytes", () => {
    const rows = (bytes: number) => {
      const start = '{"text":"ab","z":"';
      const line = `${start + "z".repeat(bytes - start.length - 2)}"}`;
      const source = memorySource(Buffer.from(`${line}\n{"text":"ab"}`));
      const options = { format: "auto", maxLength: 8, loss: "all" } as const;
      return new RowIndex(source, model.requireTokenizer(), options).build(() => {});
    };
    expect(rows(limits.lineBytes).lengths).toHaveLength(2);
    expect(rows(limits.lineBytes + 1).reports[0]!.reason).toMatch(/longer than \d+ bytes/);
  });

  test("lineValues, and the nesting of a line", () => {
    const options = { format: "auto", maxLength: 8, loss: "all" } as const;
    const encode = (z: string) => () =>
      encodeLine(Buffer.from(`{"text":"ab","z":${z}}`), model.requireTokenizer(), options);
    expect(encode(zeros(limits.lineValues - 2))().tokenIds.length).toBeGreaterThan(1);
    expect(encode(zeros(limits.lineValues - 1))).toThrow(/more than \d+ values/);
    const deep = `"${"a".repeat(1 << 16)}"`;
    expect(encode(`${"[".repeat(limits.jsonNesting - 1)}${deep}${"]".repeat(limits.jsonNesting - 1)}`)()).toBeDefined();
    expect(encode(`${"[".repeat(limits.jsonNesting)}${deep}${"]".repeat(limits.jsonNesting)}`)).toThrow(/nested/);
    const short = (levels: number) => `${"[".repeat(levels)}1${"]".repeat(levels)}`;
    expect(encode(short(limits.jsonNesting - 1))()).toBeDefined();
    expect(encode(short(limits.jsonNesting))).toThrow(/nested/);
    expect(encode(`"${short(limits.jsonNesting)}"`)()).toBeDefined(); // a text
  });
});

test("a value parsed in pieces equals that of JSON.parse", () => {
  const words = Array.from({ length: 4000 }, (_, id) => ({ id, content: `w${id}`, special: id % 2 === 0 }));
  const value = { a: words, b: { deep: { er: words }, s: "x".repeat(1 << 18) }, __proto__: 1, é: [[words], "}"] };
  const text = JSON.stringify(value, null, 1).replace('"a"', '"__proto__": 7, "a"');
  const plain = jest.spyOn(JSON, "parse");
  const parsed = parseInPieces(Buffer.from(text));
  const longest = plain.mock.calls.reduce((most, [piece]) => Math.max(most, piece.length), 0);
  plain.mockRestore();
  expect(JSON.stringify(parsed)).toBe(JSON.stringify(JSON.parse(text)));
  expect(longest).toBeLessThan((1 << 18) + 16); // the string
  for (const bad of [text.slice(0, -1), text.replace(":", ""), `${text}}`, text.replace("}", "]")])
    expect(() => parseInPieces(Buffer.from(bad))).toThrow(SyntaxError);
});

test("all files are read, and all JSON is parsed, by the readers with limits", () => {
  const lib = path.join(__dirname, "..", "..", "lib");
  const reads = /\b(readFile|readFileSync|createReadStream|openSync|fs\.open|open)\(/;
  const allowed: Record<string, RegExp> = {
    "train/loggers.ts": /(JsonLines|TensorBoard)Logger\.open|JSON\.parse\(line\.toString|static async open/,
    "train/tensorboard.ts": /static async open\(/,
    "generate/prompt_worker.ts": /JSON\.parse\(prompt\.messagesJson\)/, // of messages whose values were counted
    "files/exact_json.ts": /JSON\.parse\(/, // of lines whose values were counted
    "tokenizer/tokenizer_json.ts": /JSON\.parse\(bytes\.toString\("utf8"\)\)/,
    "train/folder_lock.ts": /open\(path, "wx"\)/,
    "tokenizer/json_pieces.ts": /JSON\.parse\(/,
    "data/index_cache.ts": /openSync\(path, "wx", 0o600\)|= JSON\.parse\($/, // of this package's own file, whose hash was compared
    "train/curve_points.ts": /JSON\.parse\(line\.toString/, // of lines of bounded length
    "compare/child.ts": /JSON\.parse\(line\)/, // of this program's own output
    "cli/bench_machine.ts": /readFileSync\("\/proc\/cpuinfo"/,
  };
  const found: string[] = [];
  for (const name of readdirSync(lib, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".ts") || name.startsWith("files/")) continue;
    for (const line of readFileSync(path.join(lib, name), "utf8").split("\n"))
      if ((reads.test(line) || line.includes("JSON.parse(")) && !allowed[name]?.test(line))
        found.push(`${name}: ${line.trim()}`);
  }
  expect(found).toEqual([]);
});

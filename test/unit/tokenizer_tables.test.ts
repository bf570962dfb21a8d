/** A tokenizer's tables: what they hold, and that all threads have the same ones, however their making ends. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Dataset, type RubricateError, Tokenizer } from "../../lib/index";
import { MergeTable } from "../../lib/tokenizer/bpe_tables";
import { bytesOf } from "../../lib/tokenizer/files";
import { type TokenizerParts, tokenizerError } from "../../lib/tokenizer/parts";
import type { TableCalls } from "../../lib/tokenizer/table_thread";
import { TokenTable } from "../../lib/tokenizer/token_table";
import { WorkerThread, workerEntry } from "../../lib/worker_thread";
import { peakSource } from "./peak_memory";

const fixtures = path.join(__dirname, "../parity/fixtures/tokenizer");
const dist = path.join(__dirname, "../../dist");
let folder: string;

/** Short tokens of printable characters, all different. */
const shortToken = (at: number) => `<${at.toString(36)}`;
const model = { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] };
const vocabularyOf = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, id) => [shortToken(id), id]));

function write(name: string, document: unknown, config?: unknown): string {
  const at = path.join(folder, name);
  mkdirSync(at);
  writeFileSync(path.join(at, "tokenizer.json"), JSON.stringify(document));
  if (config) writeFileSync(path.join(at, "tokenizer_config.json"), JSON.stringify(config));
  return at;
}

/** The parts, each column as a hash. */
function comparable(parts: TokenizerParts): string {
  const hash = (column: ArrayBufferView) =>
    createHash("sha256")
      .update(new Uint8Array(column.buffer, column.byteOffset, column.byteLength))
      .digest("hex");
  return JSON.stringify(parts, (_, value) => (ArrayBuffer.isView(value) ? hash(value) : value));
}

let large: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "rubricate-tables-"));
  large = write("large", { added_tokens: [], model: { ...model, vocab: { ...vocabularyOf(40_000), ...model.vocab } } });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("a table of tokens holds what a Map would", () => {
  const texts = Array.from(
    { length: 500 },
    (_, at) => `${"ab\ud800é".slice(at % 4)}${at * at}${at % 7 ? "" : "\u0000"}`,
  );
  const table = new TokenTable(texts.length + 1);
  for (const [at, text] of texts.entries()) table.add(text, 3 * at);
  for (const [at, text] of texts.entries()) {
    expect(table.id(text)).toBe(3 * at);
    expect(table.id(text.slice(0, 2), text.slice(2))).toBe(3 * at);
    expect(table.text(3 * at)).toBe(text);
    expect(table.text(3 * at + 1)).toBeUndefined();
    expect(table.id(`${text}!`)).toBe(-1);
  }
  table.add(texts[0]!, 1);
  expect([table.id(texts[0]!), table.text(1), table.text(0)]).toEqual([1, texts[0], undefined]);
  expect([table.size, table.idCount, table.id(""), table.text(-1)]).toEqual([500, 1498, -1, undefined]);
});

test("a merge that is given twice has its last rank, and each pair its own", () => {
  const letters = [..."abcdefgh"];
  const vocabulary = new TokenTable(100);
  const add = (text: string) => vocabulary.add(text, vocabulary.size);
  letters.forEach(add);
  for (const left of letters) for (const right of letters) add(left + right);
  const merges = new MergeTable(65);
  for (const left of letters) for (const right of letters) merges.add([left, right], vocabulary);
  merges.add("a b", vocabulary);
  const found = new Map<string, number>();
  merges.forEach((left, right, rank) => {
    found.set(`${vocabulary.text(left)}${vocabulary.text(right)}`, rank);
  });
  expect([found.size, found.get("ab"), found.get("ba"), merges.rank(0, 1), merges.rank(8, 1)]).toEqual([
    64, 64, 8, 64, -1,
  ]);
  expect(vocabulary.text(merges.merged[64]!)).toBe("ab");
  const other = new MergeTable(merges.columns);
  expect([other.rank(0, 1), other.rank(1, 0), other.merged.buffer]).toEqual([64, 8, merges.merged.buffer]);
});

test.each(readdirSync(fixtures).filter((name) => !name.includes(".")))(
  "%s: a thread makes the tables that are made at once",
  async (name) => {
    const loaded = await Tokenizer.fromPretrained(path.join(fixtures, name));
    expect(comparable(new Tokenizer({ ...loaded.files }).parts)).toBe(comparable(loaded.parts));
  },
);

test("a large tokenizer is the same from a thread, and all its tables are in shared memory", async () => {
  const tokenizer = await Tokenizer.fromPretrained(large);
  const tokenizerJson = readFileSync(path.join(large, "tokenizer.json"), "utf8");
  const { parts } = new Tokenizer({ directory: large, tokenizerJson });
  expect(comparable(tokenizer.parts)).toBe(comparable(parts));
  expect(tokenizer.files.tokenizerJson).toBe(tokenizerJson);
  const { vocabulary, merges, added, raw, normalized } = tokenizer.parts;
  const columns = [vocabulary, merges, added, added.table, raw, raw.table, normalized, normalized.table].flatMap(
    (one) => Object.values(one).filter((value) => ArrayBuffer.isView(value)),
  );
  expect(columns).toHaveLength(5 + 4 + 1 + 5 + 2 * (1 + 5));
  for (const { buffer } of columns) expect(String(buffer)).toBe("[object SharedArrayBuffer]");
  const data = await Dataset.fromRows([{ text: "abababab" }], { tokenizer, maxLength: 16 });
  const [example] = await data.examples([0]);
  expect([...example!.tokenIds]).toEqual([2, 2, 2, 2]);
  await data.dispose();
});

test("several folders at once are each loaded, beside one that cannot be", async () => {
  const bad = write("bad", { added_tokens: [], model: { ...model, vocab: vocabularyOf(40_000) } });
  const found = await Promise.allSettled([large, bad, large].map((one) => Tokenizer.fromPretrained(one)));
  expect(found.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect((found[1] as PromiseRejectedResult).reason).toMatchObject({
    code: "ERR_TOKENIZER",
    message: 'tokenizer.json cannot be used: merge 0 names "a", which the vocabulary lacks',
  });
  expect((found[0] as PromiseFulfilledResult<Tokenizer>).value.vocabSize).toBe(40_003);
});

/** Copies of a large tokenizer, each with another token. */
const copies = (name: string, count: number) =>
  Array.from({ length: count }, (_, at) =>
    write(`${name}${at}`, {
      added_tokens: [],
      model: { ...model, vocab: { ...vocabularyOf(10_000 + at), ...model.vocab } },
    }),
  );

test("loads of equal files that are under way have the same tables, and others their own", async () => {
  const [other] = copies("other", 1);
  const [one, same, own] = await Promise.all([large, large, other!].map((at) => Tokenizer.fromPretrained(at)));
  expect(same!.parts).toBe(one!.parts);
  expect(own!.vocabSize).toBe(10_003);
  expect((await Tokenizer.fromPretrained(large)).parts).not.toBe(one!.parts);
});

test("loads that wait for their turn end as soon as their signal fires, and others of the same files go on", async () => {
  const folders = copies("turn", 12);
  const controller = new AbortController();
  const ended: string[] = [];
  const load = async (at: string, signal?: AbortSignal) => {
    const { vocabSize } = await Tokenizer.load(at, signal);
    ended.push(`made ${vocabSize}`);
  };
  const loads = folders.map((at) =>
    load(at, controller.signal).catch((error: RubricateError) => {
      ended.push(error.code);
    }),
  );
  const going = load(large);
  const shared = load(folders[11]!);
  await Promise.race(loads);
  const before = ended.length;
  controller.abort();
  await Promise.all(loads);
  expect(new Set(ended.slice(before))).toEqual(new Set(["ERR_ABORTED"])); // none was made in between
  expect(ended.length - before).toBeGreaterThan(6);
  await Promise.all([going, shared]);
  expect(ended).toContain("made 40003");
  expect(ended).toContain("made 10014");
  await expect(Tokenizer.load(large, controller.signal)).rejects.toMatchObject({ code: "ERR_ABORTED" });
});

/** After a while without work the thread ends. */
const idle = () => new Promise((resolve) => setTimeout(resolve, 400));

test("one thread serves loads in a row, and ends a while after", async () => {
  await idle();
  const started = jest.spyOn(workerEntry, "of");
  try {
    for (const at of copies("row", 3)) await Tokenizer.fromPretrained(at);
    expect(started).toHaveBeenCalledTimes(1);
    await idle();
    await Tokenizer.fromPretrained(large);
    expect(started).toHaveBeenCalledTimes(2);
  } finally {
    started.mockRestore();
  }
});

/** A thread's module that does this when it is called. */
function moduleOf(name: string, body: string): string {
  const module = path.join(folder, `${name}.cjs`);
  writeFileSync(module, `require("node:worker_threads").parentPort.on("message", () => { ${body} });`);
  return module;
}

test.each([
  ["throws", 'throw new Error("broken")'],
  ["exits", "process.exit(3)"],
])("a thread that %s ends loading with an error, and the next one loads", async (name, body) => {
  const file = moduleOf(name, body);
  await idle();
  const { of } = workerEntry;
  workerEntry.of = () => ({ file, argv: [] });
  try {
    await expect(Tokenizer.fromPretrained(large)).rejects.toMatchObject({ code: "ERR_INTERNAL" });
  } finally {
    workerEntry.of = of;
  }
  expect((await Tokenizer.fromPretrained(large)).vocabSize).toBe(40_003);
});

test("memory that runs out is an error that says so", async () => {
  const module = moduleOf("fills", "const all = []; for (;;) all.push(new Array(1e4).fill(0.5));");
  const kind = { module, name: "tokenizer", doing: "building", resourceLimits: { maxOldGenerationSizeMb: 16 } };
  const thread = new WorkerThread<TableCalls>(kind, undefined);
  const files = bytesOf({ directory: "", tokenizerJson: "" });
  await expect(thread.call("parts", files)).rejects.toMatchObject({
    code: "ERR_OUT_OF_MEMORY",
    message: "Memory ran out while building",
  });
  await expect(thread.call("parts", files)).rejects.toMatchObject({ code: "ERR_OUT_OF_MEMORY" });
  expect(tokenizerError(new RangeError("Array buffer allocation failed"))).toMatchObject({ code: "ERR_OUT_OF_MEMORY" });
});

/** Runs a script of its own process, which has the package and `large`; what it prints. */
function printed(script: string, ...more: string[]): { status: number | null; stdout: string; stderr: string } {
  const head = `const { Dataset, Tokenizer } = require(${JSON.stringify(dist)}); const large = process.argv[1];`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ["-e", head + script, large, ...more], {
    encoding: "utf8",
    timeout: 30_000,
  });
  return { status, stdout: stdout.trim(), stderr };
}

test.each([
  ["is waited for", "Tokenizer.fromPretrained(large).then((one) => console.log(one.vocabSize))", 0],
  [
    "does not keep process.exit() waiting",
    "Tokenizer.fromPretrained(large); setTimeout(() => { console.log(40003); process.exit(4); }, 30)",
    4,
  ],
  [
    "is started by a worker thread too",
    `const { Worker, isMainThread } = require("node:worker_threads");
     new Worker(\`const { Tokenizer } = require(${JSON.stringify(dist)});
       Tokenizer.fromPretrained(process.argv[2]).then((one) => console.log(one.vocabSize))\`, { eval: true, argv: [large] })`,
    0,
  ],
])("the thread %s", (_, script, status) => {
  expect(printed(script)).toEqual({ status, stdout: "40003", stderr: "" });
});

/** What the process takes for any thread with this package in it, whatever it reads. */
const threadBytes = 24 * 2 ** 20;
const several = (count: number, first: number, more = {}) =>
  Array.from({ length: count }, (_, at) => ({ id: first + at, content: shortToken(at), ...more }));

test.each<[string, () => string]>([
  [
    "tokens",
    () => write("tokens", { added_tokens: [], model: { ...model, vocab: vocabularyOf(128_256), merges: [] } }),
  ],
  ["added tokens", () => write("added", { added_tokens: several(50_000, 3), model })],
  [
    "declared tokens",
    () =>
      write(
        "declared",
        { added_tokens: [], model },
        {
          added_tokens_decoder: Object.fromEntries(several(100_000, 3).map(({ id, content }) => [id, { content }])),
        },
      ),
  ],
])("many %s take at most ten times their bytes, beside what the thread takes", (_, make) => {
  const at = make();
  const bytes = readdirSync(at).reduce((sum, name) => sum + readFileSync(path.join(at, name)).length, 0);
  const { stdout, stderr } = printed(
    `${peakSource}
    (async () => {
      await Tokenizer.fromPretrained(process.argv[2]);
      resetPeak();
      const before = peak();
      await Tokenizer.fromPretrained(process.argv[3]);
      console.log(peak() - before);
    })()`,
    path.join(fixtures, "llama"),
    at,
  );
  expect(stderr).toBe("");
  expect(Number(stdout)).toBeGreaterThan(bytes / 2);
  expect(Number(stdout)).toBeLessThan(10 * bytes + threadBytes);
});

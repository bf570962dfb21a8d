/** The cache of indexes of data files: what it gives again, what it notices, and that it never stands in the way. */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Dataset, type DatasetOptions } from "../../lib/data/dataset";
import { cacheFolder, IndexCache, smallestCached } from "../../lib/data/index_cache";
import { RowColumns } from "../../lib/data/row_columns";
import { fileSource, RowIndex } from "../../lib/data/row_index";
import { limits } from "../../lib/limits";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const fixtures = join(__dirname, "..", "parity", "fixtures", "tokenizer");
const folder = mkdtempSync(join(tmpdir(), "rubricate-index-"));
const environment = { ...process.env };
afterAll(() => rmSync(folder, { recursive: true }));

let tokenizer: Tokenizer;
let options: DatasetOptions;
let withTemplate: (chatTemplate: string) => Tokenizer;
beforeAll(async () => {
  const { files } = await Tokenizer.fromPretrained(join(fixtures, "byte_level"));
  withTemplate = (chatTemplate) => new Tokenizer({ ...files, chatTemplate });
  tokenizer = withTemplate(readFileSync(join(fixtures, "chatml.jinja"), "utf8"));
  options = { tokenizer, maxLength: 16 };
});

/** A cache of its own for each test. */
let root: string;
let caches = 0;
beforeEach(() => {
  root = join(folder, `cache${caches++}`, "deep");
  process.env.RUBRICATE_CACHE = root;
});
afterEach(() => {
  process.env.RUBRICATE_CACHE = environment.RUBRICATE_CACHE;
});
const entries = () => readdirSync(join(root, "indexes")).map((name) => join(root, "indexes", name));

const filler = "word ".repeat(2400);
const row = (at: number) => `${JSON.stringify({ text: `${at % 7 === 0 ? "once" : "the"} ${at} ${filler}` })}\n`;
const file = join(folder, "data.jsonl");
const content = `{"text": 5}\n${Array.from({ length: 100 }, (_, at) => row(at)).join("")}`;
beforeAll(() => writeFileSync(file, content));

/** What a dataset says of itself and of a few rows, and whether it was read from the cache. */
async function indexed(path = file, given: Partial<DatasetOptions> = {}) {
  let told = 0;
  const data = await Dataset.fromJsonl(path, { ...options, onProgress: () => told++, ...given });
  try {
    const examples = await data.examples([0, data.length - 1, 5]);
    const { lengths, supervisedCounts, tokenCount, supervisedTokenCount, fingerprint } = data;
    const { reports, reportCounts, reportReasons, notices, chatRows } = data;
    const said = { lengths, supervisedCounts, tokenCount, supervisedTokenCount, fingerprint, reports, reportCounts };
    return { said: { ...said, reportReasons, notices, chatRows, examples }, cached: told === 0 };
  } finally {
    await data.dispose();
  }
}

test("the second time the index is that of the first, which only the user can read", async () => {
  expect(content.length).toBeGreaterThan(smallestCached);
  const first = await indexed();
  expect(first.cached).toBe(false);
  expect(first.said.reportCounts).toEqual({ skipped: 1, truncated: 100 });
  expect(entries()).toHaveLength(1);
  const modes = [root, join(root, "indexes"), entries()[0]!].map((path) => statSync(path).mode & 0o777);
  expect(modes).toEqual([0o700, 0o700, 0o600]);
  const second = await indexed();
  expect(second).toEqual({ said: first.said, cached: true });
});

test("another file with the same bytes has the same index", async () => {
  const { said } = await indexed();
  const copy = join(folder, "copy.jsonl");
  writeFileSync(copy, content);
  expect(await indexed(copy)).toEqual({ said, cached: true });
});

test("a file edited to the same size and time is noticed", async () => {
  const edited = join(folder, "edited.jsonl");
  writeFileSync(edited, content);
  const before = await indexed(edited);
  const { atime, mtime } = statSync(edited);
  writeFileSync(edited, content.replace('"the 5 word', '"the 5 xqzk'));
  utimesSync(edited, atime, mtime);
  const after = await indexed(edited);
  expect(after.cached).toBe(false);
  expect(after.said.fingerprint).not.toBe(before.said.fingerprint);
  expect(after.said.examples[2]!.tokenIds).not.toEqual(before.said.examples[2]!.tokenIds);
});

test("other options, another tokenizer or template have another index", async () => {
  await indexed();
  const others: Partial<DatasetOptions>[] = [
    { maxLength: 15 },
    { loss: "all" },
    { format: "text" },
    { vocabularySize: tokenizer.vocabSize },
    { tokenizer: withTemplate("{{ messages }}") },
    { tokenizer: await Tokenizer.fromPretrained(join(fixtures, "llama")) },
  ];
  for (const other of others) expect((await indexed(file, other)).cached).toBe(false);
  expect(entries()).toHaveLength(1 + others.length);
  for (const other of others) expect((await indexed(file, other)).cached).toBe(true);
});

test("a template that writes the date is never cached", async () => {
  const dated = withTemplate("{{ strftime_now('%d') }}{{ messages }}");
  for (let time = 0; time < 2; time++) expect((await indexed(file, { tokenizer: dated })).cached).toBe(false);
  expect(readdirSync(folder)).not.toContain(root);
});

test("a small file is not cached", async () => {
  const small = join(folder, "small.jsonl");
  writeFileSync(small, content.slice(0, smallestCached - 1));
  await indexed(small);
  expect(() => entries()).toThrow("ENOENT");
});

test.each<[string, (path: string, bytes: Buffer) => void]>([
  ["is cut", (path, bytes) => truncateSync(path, bytes.length - 8)],
  ["is empty", (path) => truncateSync(path, 0)],
  ["has another byte in its facts", (path, bytes) => writeFileSync(path, bytes.fill(bytes[60]! ^ 1, 60, 61))],
  [
    "has another byte in its columns",
    (path, bytes) => writeFileSync(path, bytes.fill(bytes.at(-9)! ^ 1, bytes.length - 9, bytes.length - 8)),
  ],
  [
    "is of random bytes",
    (path, bytes) =>
      writeFileSync(
        path,
        bytes.map((byte, at) => byte ^ (at * 167)),
      ),
  ],
  [
    "is a folder",
    (path) => {
      rmSync(path);
      mkdirSync(path);
    },
  ],
  ["can be written by others", (path) => chmodSync(path, 0o666)],
])("an entry that %s is ignored", async (_, damage) => {
  const first = await indexed();
  damage(entries()[0]!, readFileSync(entries()[0]!));
  expect(await indexed()).toEqual({ said: first.said, cached: false });
});

test("an entry that does not fit its rows ends the use of the data, and is removed", async () => {
  await indexed();
  const key = entries()[0]!.split("/").at(-1)!.replace(".index", "");
  const cache = new IndexCache(root);
  const { facts, columns } = cache.read(key)!;
  columns.lengths.view()[5]!--;
  cache.write(key, { facts, columns });
  await expect(indexed()).rejects.toMatchObject({ code: "ERR_DATA", message: expect.stringContaining("line 7 has") });
  expect((await indexed()).cached).toBe(false);
});

test("a cache that cannot be written is no error", async () => {
  const { said } = await indexed();
  const blocked = join(folder, "blocked");
  writeFileSync(blocked, "");
  for (const at of [blocked, join(blocked, "below"), "/proc/rubricate", "/dev/null/x"]) {
    process.env.RUBRICATE_CACHE = at;
    expect(await indexed()).toEqual({ said, cached: false });
  }
});

test("datasets at the same time share the cache", async () => {
  const all = await Promise.all([indexed(), indexed(), indexed()]);
  for (const { said } of all) expect(said).toEqual(all[0]!.said);
  expect(entries().map((path) => path.endsWith(".index"))).toEqual([true]);
});

describe("where the cache is", () => {
  const set = (own: string | undefined, xdg: string | undefined) => {
    delete process.env.RUBRICATE_CACHE;
    delete process.env.XDG_CACHE_HOME;
    if (own !== undefined) process.env.RUBRICATE_CACHE = own;
    if (xdg !== undefined) process.env.XDG_CACHE_HOME = xdg;
  };
  afterEach(() => set(environment.RUBRICATE_CACHE, environment.XDG_CACHE_HOME));

  test.each([
    ["/own", "/xdg", "/own"],
    ["none", "/xdg", undefined],
    [undefined, "/xdg", "/xdg/rubricate"],
    ["", "/xdg", "/xdg/rubricate"],
    [undefined, "relative", expect.stringMatching(/^\/.*\/\.cache\/rubricate$/)],
    [undefined, undefined, expect.stringMatching(/^\/.*\/\.cache\/rubricate$/)],
  ])("RUBRICATE_CACHE %j and XDG_CACHE_HOME %j", (own, xdg, expected) => {
    set(own, xdg);
    expect(cacheFolder()).toEqual(expected);
  });

  test("a relative RUBRICATE_CACHE is refused", async () => {
    set("off", undefined);
    const error = {
      code: "ERR_ARGUMENT",
      message: 'Expected an absolute path or "none" for RUBRICATE_CACHE but received "off" of type string',
    };
    await expect(indexed()).rejects.toMatchObject(error);
  });
});

describe("the size of the cache (indexCacheBytes)", () => {
  const facts = () => new RowIndex(fileSource(file), tokenizer, { format: "auto", maxLength: 16, loss: "completion" });
  const name = (digit: string) => digit.repeat(64);
  const sizeOf = (key: string) => statSync(join(root, "indexes", `${key}.index`)).size;

  /** An entry of that many bytes and age, without using the disk. */
  function old(digit: string, bytes: number, secondsAgo: number): void {
    const path = join(root, "indexes", `${name(digit)}.index`);
    writeFileSync(path, "");
    truncateSync(path, bytes);
    const time = Date.now() / 1000 - secondsAgo;
    utimesSync(path, time, time);
  }

  test("entries may have as many bytes as the limit; with one more the oldest goes", () => {
    const cache = new IndexCache(root);
    const { lengths: _, supervisedCounts: _1, highestIds: _2, ...stored } = facts().build(() => {});
    const entry = { facts: stored, columns: new RowColumns() };
    cache.write(name("a"), entry);
    const own = sizeOf(name("a"));
    old("b", 1000, 500);
    old("c", limits.indexCacheBytes - 2 * own - 1000, 1000);
    cache.write(name("d"), entry);
    expect(entries()).toHaveLength(4);
    old("c", limits.indexCacheBytes - 2 * own - 999, 1000);
    cache.write(name("d"), entry);
    const left = entries().map((path) => path.split("/").at(-1)![0]);
    expect(left.sort()).toEqual(["a", "b", "d"]);
  });

  test("an entry that was used stays longer, and remains of interrupted writes go", () => {
    const cache = new IndexCache(root);
    const { lengths: _, supervisedCounts: _1, highestIds: _2, ...stored } = facts().build(() => {});
    const entry = { facts: stored, columns: new RowColumns() };
    cache.write(name("a"), entry);
    utimesSync(join(root, "indexes", `${name("a")}.index`), 1, 1);
    old("b", limits.indexCacheBytes, 500);
    expect(cache.read(name("a"))!.facts).toEqual(stored);
    const remains = join(root, "indexes", `.${name("e")}.0123456789ab.new`);
    writeFileSync(remains, "");
    utimesSync(remains, 1, 1);
    writeFileSync(join(root, "indexes", "of a user"), "");
    cache.write(name("d"), entry);
    const left = readdirSync(join(root, "indexes")).map((one) => one[0]);
    expect(left.sort()).toEqual(["a", "d", "o"]);
  });
});

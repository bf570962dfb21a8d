import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { planEpoch } from "../../lib/data/batches";
import { Dataset, type DatasetOptions, type IndexProgress } from "../../lib/data/dataset";
import { encodeLine } from "../../lib/data/encode_row";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const fixtures = path.join(__dirname, "..", "parity", "fixtures", "tokenizer");
const folder = mkdtempSync(path.join(tmpdir(), "rubricate-data-"));
afterAll(() => rmSync(folder, { recursive: true }));

let tokenizer: Tokenizer;
let options: DatasetOptions;
beforeAll(async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  tokenizer = new Tokenizer({ ...files, chatTemplate: readFileSync(path.join(fixtures, "chatml.jinja"), "utf8") });
  options = { tokenizer, maxLength: 64 };
});

let files = 0;
function written(content: string | Buffer): string {
  const file = path.join(folder, `${files++}.jsonl`);
  writeFileSync(file, content);
  return file;
}
const lines = (...rows: unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
const expected = (row: unknown) =>
  encodeLine(Buffer.from(JSON.stringify(row)), tokenizer, { format: "auto", loss: "completion", maxLength: 64 });

const rows = [
  { text: "Once upon a time" },
  { prompt: "What is two plus two?", completion: "four" },
  { messages: [{ role: "user", content: "hello" }, { role: "assistant", content: "日本 😀" }] },
  { text: `${"é".repeat(1 << 15)} long` },
  { text: "last" },
]; // biome-ignore format: one row a line

describe("a file of all shapes, with a byte-order mark, CRLF, blank lines and unusable rows", () => {
  const [first, second, third, fourth, fifth] = rows.map((row) => JSON.stringify(row));
  const text = `\ufeff${first}\r\n\r\n{"text": 5}\r\n${second}\n${third}\n\n${fourth}\nnot json\n${fifth}`;
  let data: Dataset;
  const progress: IndexProgress[] = [];
  beforeAll(async () => {
    data = await Dataset.fromJsonl(written(text), { ...options, onProgress: (one) => progress.push(one) });
  });
  afterAll(() => data.dispose());

  test("examples", async () => {
    expect(data.length).toBe(5);
    const examples = await data.examples([4, 0, 1, 2, 3, 0]);
    expect(examples.map(({ line }) => line)).toEqual([9, 1, 4, 5, 7, 1]);
    for (const [at, row] of [4, 0, 1, 2, 3, 0].entries()) {
      const { tokenIds, supervised } = expected(rows[row]);
      expect([...examples[at]!.tokenIds]).toEqual([...tokenIds]);
      expect([...examples[at]!.supervised]).toEqual([...supervised]);
    }
  });

  test("counts", () => {
    const encoded = rows.map(expected);
    expect([...data.lengths]).toEqual(encoded.map(({ tokenIds }) => tokenIds.length));
    expect([...data.supervisedCounts]).toEqual(encoded.map(({ supervisedCount }) => supervisedCount));
    expect(data.tokenCount).toBe(encoded.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0));
    expect(data.supervisedTokenCount).toBe(encoded.reduce((sum, { supervisedCount }) => sum + supervisedCount, 0));
  });

  test("reports", () => {
    expect(data.reports).toEqual([
      { line: 3, kind: "skipped", reason: '"text" is not a string' },
      { line: 7, kind: "truncated", reason: "it was truncated to its first 64 tokens" },
      { line: 8, kind: "skipped", reason: expect.stringContaining("not valid JSON") },
    ]);
    expect(data.reportCounts).toEqual({ skipped: 2, truncated: 1 });
    expect(data.reportReasons).toEqual(
      data.reports.map(({ line, kind, reason }) => ({ kind, reason, count: 1, lines: [line] })),
    );
  });

  test("inspect", async () => {
    const tokens = await data.inspect(2);
    expect(tokens.map(({ text: piece }) => piece).join("")).toBe(tokenizer.decode(expected(rows[2]).tokenIds));
    const learned = tokens.filter(({ supervised }) => supervised);
    expect(learned.map(({ text: piece }) => piece).join("")).toBe("日本 😀<|im_end|>");
    expect(tokens[0]).toEqual({ id: tokens[0]!.id, text: "<|im_start|>", piece: "<|im_start|>", supervised: false });
  });

  test("progress never goes back", () => {
    for (const [at, { bytes, totalBytes }] of progress.entries()) {
      expect(bytes).toBeGreaterThanOrEqual(progress[at - 1]?.bytes ?? 0);
      expect(totalBytes).toBe(Buffer.byteLength(text));
    }
  });

  test.each([[[5]], [[-1]], [[0.5]], [["0"]]])("indices %j are refused", async (indices) => {
    await expect(data.examples(indices as number[])).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
  });

  test("a part of a part, and its fingerprint", async () => {
    const { train, eval: held } = data.split(0.4, 7);
    expect([train.length, held.length]).toEqual([3, 2]);
    const both = [...(await train.examples([0, 1, 2])), ...(await held.examples([0, 1]))];
    expect(both.map(({ line }) => line).sort()).toEqual([1, 4, 5, 7, 9]);
    expect(data.split(0.4, 7).eval.fingerprint).toBe(held.fingerprint);
    expect(new Set([data.fingerprint, train.fingerprint, held.fingerprint]).size).toBe(3);
    const parts = train.split(0.5, 1);
    expect(parts.train.length + parts.eval.length).toBe(3);
    expect(parts.train.tokenCount + parts.eval.tokenCount).toBe(train.tokenCount);
    const [example] = await parts.eval.examples([0]);
    expect(example!.tokenIds.length).toBe(parts.eval.lengths[0]);
    await expect(train.examples([3])).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
  });

  test("a plan from the thread is the plan", async () => {
    for (const part of [data, data.split(0.4, 7).train]) {
      const options = { batchSize: 2, shuffle: true, seed: 3, epoch: 1 };
      const plan = await part.plan(options);
      const groups = planEpoch({ ...options, lengths: part.lengths, supervisedCounts: part.supervisedCounts });
      expect(Array.from({ length: plan.length }, (_, at) => [...plan.batch(at)])).toEqual(groups);
    }
    const wrong = data.plan({ batchSize: 0, shuffle: true, seed: 3, epoch: 1 });
    await expect(wrong).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
  });

  test.each([0, 1, -0.1, Number.NaN, 2])("a part of %d is refused", (fraction) => {
    expect(() => data.split(fraction, 1)).toThrow(expect.objectContaining({ code: "ERR_ARGUMENT" }));
  });
});

test("rows from memory are the same as from a file", async () => {
  await using file = await Dataset.fromJsonl(written(lines(...rows)), options);
  await using memory = await Dataset.fromRows(rows, options);
  expect(memory.fingerprint).toBe(file.fingerprint);
  expect(await memory.examples([2, 3])).toEqual(await file.examples([2, 3]));
});

test("rows that JSON cannot say are reported by place", async () => {
  const cyclic: Record<string, unknown> = { text: "a" };
  cyclic.self = cyclic;
  const odd = [cyclic, undefined, () => 1, 5n, { text: "a" }, ...Array.from({ length: 2000 }, () => ({ text: "b" }))];
  await using data = await Dataset.fromRows(odd, options);
  expect(data.length).toBe(2001);
  expect(data.reports.map(({ line }) => line)).toEqual([1, 2, 3, 4]);
  for (const [at, says] of [/circular/, /of type undefined/, /of type function/, /BigInt/].entries())
    expect(data.reports[at]!.reason).toMatch(new RegExp(`^JSON cannot hold it: .*${says.source}`));
  let deep: unknown = "a";
  for (let level = 0; level < 100_000; level++) deep = [deep];
  await expect(Dataset.fromRows([{ text: "a", deep }, cyclic], options)).rejects.toMatchObject({
    code: "ERR_DATA",
    message: expect.stringMatching(/none of 2 rows .*line 1: JSON cannot hold it: it is nested too deeply/),
  });
  expect((await data.examples([0, 2000])).map(({ line }) => line)).toEqual([5, 2005]);
});

test("a fingerprint tells data and options apart", async () => {
  const content = lines({ prompt: "a", completion: "b" }, { prompt: "c", completion: "d" });
  const variants: [string, Partial<DatasetOptions>][] = [
    [content, {}],
    [content, { maxLength: 63 }],
    [content, { loss: "all" }],
    [content, { format: "prompt" }],
    [content.replace("d", "e"), {}],
    [content, { tokenizer: new Tokenizer({ ...tokenizer.files, chatTemplate: "other" }) }],
  ];
  const seen = new Set<string>();
  for (const [text, change] of variants) {
    await using data = await Dataset.fromJsonl(written(text), { ...options, ...change });
    seen.add(data.fingerprint);
  }
  expect(seen.size).toBe(variants.length);
  await using again = await Dataset.fromJsonl(written(content), options);
  expect(seen).toContain(again.fingerprint);
});

test.each<[string, () => string, string, RegExp]>([
  ["empty", () => written(""), "ERR_DATA", /holds no rows/],
  ["blank", () => written("\n \r\n\n"), "ERR_DATA", /holds no rows/],
  ["a byte-order mark", () => written("\ufeff"), "ERR_DATA", /holds no rows/],
  [
    "unusable",
    () => written('{"text":""}\n[]\n1\n2\n'),
    "ERR_DATA",
    /none of 4 rows.*line 1: "text" is empty; line 2: not a JSON object but an array; line 3/,
  ],
  ["binary", () => written(Buffer.from([0, 255, 10, 254, 0])), "ERR_DATA", /line 1: not valid UTF-8/],
  ["no such file", () => path.join(folder, "none"), "ERR_FILE", /Cannot read .*ENOENT/],
  ["a folder", () => folder, "ERR_FILE", /but it is a folder/],
  ["a device", () => "/dev/zero", "ERR_FILE", /but it is a device/],
])("refused: %s", async (_, file, code, message) => {
  await expect(Dataset.fromJsonl(file(), options)).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message),
  });
});

test.each<[string, object]>([
  ["vocabularySize 0", { vocabularySize: 0 }],
  ["no tokenizer", { tokenizer: undefined }],
  ["no maxLength", { maxLength: undefined }],
  ["maxLength 1", { maxLength: 1 }],
  ["maxLength 2.5", { maxLength: 2.5 }],
  ["an unknown format", { format: "csv" }],
  ["an unknown loss", { loss: "some" }],
])("ERR_ARGUMENT: %s", async (_, change) => {
  await expect(Dataset.fromRows(rows, { ...options, ...change })).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
});

describe("a file that changes", () => {
  // More than is remembered of rows, so that the last are read again.
  const many = () => written(lines(...Array.from({ length: 70_000 }, (_, at) => ({ text: `a ${at}` }))));

  test("after it was indexed", async () => {
    const file = many();
    await using data = await Dataset.fromJsonl(file, options);
    const last = data.length - 1;
    const [before] = await data.examples([last]);
    expect(tokenizer.decode(before!.tokenIds, { skipSpecialTokens: true })).toBe(`a ${last}`);
    appendFileSync(file, "more");
    expect(await data.examples([last])).toEqual([before]);
    writeFileSync(file, readFileSync(file, "utf8").replace(`a ${last}"`, `b ${last}"`));
    await expect(data.examples([last])).rejects.toMatchObject({ code: "ERR_DATA" });
    writeFileSync(file, "");
    await expect(data.examples([last])).rejects.toMatchObject({
      code: "ERR_DATA",
      message: expect.stringContaining("changed"),
    });
  });

  test("by renaming another over it, which leaves the open one alone", async () => {
    const file = many();
    await using data = await Dataset.fromJsonl(file, options);
    rmSync(file);
    const [example] = await data.examples([data.length - 1]);
    expect(example!.line).toBe(data.length);
  });
});

test("an abort ends indexing", async () => {
  const file = written(lines({ text: "hello world ".repeat(200_000) }, { text: "b" }));
  const controller = new AbortController();
  const loading = Dataset.fromJsonl(file, { ...options, signal: controller.signal });
  controller.abort();
  await expect(loading).rejects.toMatchObject({ code: "ERR_ABORTED" });
  await expect(Dataset.fromJsonl(file, { ...options, signal: controller.signal })).rejects.toMatchObject({
    code: "ERR_ABORTED",
  });
});

test("after dispose", async () => {
  const data = await Dataset.fromRows(rows, options);
  const { train } = data.split(0.5, 0);
  const reading = expect(data.examples([0])).rejects.toMatchObject({ code: "ERR_DISPOSED" });
  await data.dispose();
  await data.dispose();
  await reading;
  await expect(data.examples([0])).rejects.toMatchObject({ code: "ERR_DISPOSED" });
  await expect(train.inspect(0)).rejects.toMatchObject({ code: "ERR_DISPOSED" });
  expect(data.length).toBe(5);
});

/** Rows that cannot be used: skipped and reported if other rows can be used, an error if none can. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Dataset, type DatasetOptions } from "../../lib/data/dataset";
import { RowReports } from "../../lib/data/row_reports";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const fixtures = path.join(__dirname, "..", "parity", "fixtures", "tokenizer");
const folder = mkdtempSync(path.join(tmpdir(), "rubricate-skipped-"));
afterAll(() => rmSync(folder, { recursive: true }));

let tokenizer: Tokenizer;
let options: DatasetOptions;
beforeAll(async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  tokenizer = new Tokenizer({ ...files, chatTemplate: readFileSync(path.join(fixtures, "chatml.jinja"), "utf8") });
  options = { tokenizer, maxLength: 64 };
});

function written(content: string): string {
  const file = path.join(folder, "rows.jsonl");
  writeFileSync(file, content);
  return file;
}

test("reports are bounded, their counts are not", async () => {
  await using data = await Dataset.fromRows([...Array.from({ length: 1500 }, () => 1), { text: "a" }], options);
  expect(data.reports.length).toBe(1000);
  expect(data.reportCounts).toEqual({ skipped: 1500, truncated: 0 });
});

test("reports are counted by their reasons", async () => {
  const bad = [1, { text: 5 }, "{", { text: "" }, { text: 6 }, { messages: [{ role: "user", content: 5 }] }];
  const text = Array.from({ length: 40 }, () => bad.map((row) => (row === "{" ? row : JSON.stringify(row))).join("\n"));
  await using data = await Dataset.fromJsonl(written(`${text.join("\n")}\n{"text":"a"}\n`), options);
  expect(data.reportCounts.skipped).toBe(240);
  const reasons = [
    "not a JSON object",
    '"text" is not a string',
    "not valid JSON",
    '"text" is empty',
    "messages[0].content",
  ];
  expect(data.reportReasons).toEqual(
    reasons.map((reason, at) => ({
      kind: "skipped",
      reason: expect.stringContaining(reason),
      count: at === 1 ? 80 : 40,
      lines:
        at === 1 ? [2, 5, 8, 11, 14] : [0, 1, 2, 3, 4].map((turn) => 6 * turn + (at === 0 ? 1 : at === 4 ? 6 : at + 1)),
    })),
  );
});

test("beyond fifty reasons, rows are counted together", () => {
  const reports = new RowReports();
  for (let line = 1; line <= 120; line++) reports.add(line, "skipped", `reason ${"x".repeat(line % 60)}`);
  expect(reports.reasons.slice(0, 50).map(({ count }) => count)).toEqual(Array(50).fill(2));
  expect(reports.reasons.slice(50)).toEqual([
    { kind: "skipped", reason: "other reasons", count: 20, lines: [51, 52, 53, 54, 55] },
  ]);
  expect(reports.counts).toEqual({ skipped: 120, truncated: 0 });
});

describe("a tokenizer with more tokens than the model", () => {
  const size = () => tokenizer.vocabSize - 1; // the last is <|im_end|>, or another of the added tokens
  const last = () => tokenizer.tokenText(size())!;
  const some = () => [{ text: "a b" }, { prompt: "a", completion: `b ${last()} c` }, { text: "c d" }, { text: last() }];

  test("has its rows with such tokens skipped where the model's number is given", async () => {
    await using data = await Dataset.fromRows(some(), { ...options, vocabularySize: size() });
    expect(data.length).toBe(2);
    const reason = `it has the token id ${size()}, ${JSON.stringify(last())}; the tokenizer has 1 more tokens than the model: `;
    expect(data.reports).toEqual(
      [2, 4].map((line) => ({ line, kind: "skipped", reason: expect.stringContaining(reason) })),
    );
    expect(data.reportReasons).toEqual([expect.objectContaining({ count: 2, lines: [2, 4] })]);
    await expect(data.requireVocabulary(size())).resolves.toBeUndefined();
    await using all = await Dataset.fromRows(some(), options);
    await using same = await Dataset.fromRows(some(), { ...options, vocabularySize: size() + 1 });
    expect(same.fingerprint).toBe(all.fingerprint);
    expect(data.fingerprint).not.toBe(all.fingerprint);
  });

  test("is refused before the first step where it is not", async () => {
    await using data = await Dataset.fromRows(some(), options);
    const message = expect.stringMatching(
      /line 2 of the data has \d+, ".*"; the tokenizer has 1 more .* the 2 rows with such/,
    );
    await expect(data.requireVocabulary(size())).rejects.toMatchObject({ code: "ERR_DATA", message });
    await expect(data.requireVocabulary(size() + 1)).resolves.toBeUndefined();
    const parts = data.split(0.5, 1);
    for (const part of [parts.train, parts.eval]) {
      const lines = (await part.examples(Array.from({ length: part.length }, (_, at) => at))).map(({ line }) => line);
      const checking = part.requireVocabulary(size());
      if (lines.includes(2) || lines.includes(4)) await expect(checking).rejects.toMatchObject({ code: "ERR_DATA" });
      else await expect(checking).resolves.toBeUndefined();
    }
  });

  test("is an error where all rows have such tokens", async () => {
    const loading = Dataset.fromRows([some()[1], some()[3]], { ...options, vocabularySize: size() });
    await expect(loading).rejects.toMatchObject({
      code: "ERR_DATA",
      message: expect.stringMatching(/none of 2 rows can be used; line 1: it has the token id/),
    });
  });
});

test("a conversation that the template writes in another way when more follow is skipped alone", async () => {
  const template =
    "{% for m in messages %}<{{ m.role }}>{% if not loop.last %}{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
  const turns = (...contents: string[]) => ({
    messages: contents.map((content, at) => ({ role: at % 2 ? "assistant" : "user", content })),
  });
  const [good, bad] = [turns("Hi", "Hello"), turns("a", "<think>hm</think>b", "c", "d")];
  const reading = { ...options, tokenizer: new Tokenizer({ ...tokenizer.files, chatTemplate: template }) };
  await using data = await Dataset.fromRows([good, bad, good], reading);
  const reason = expect.stringContaining("writes the first 2 messages differently");
  expect([data.length, data.reports]).toEqual([2, [{ line: 2, kind: "skipped", reason }]]);
  await expect(Dataset.fromRows([bad, bad], reading)).rejects.toMatchObject({
    code: "ERR_TEMPLATE",
    message: expect.stringMatching(/none of 2 rows can be used; line 1: The chat template writes/),
  });
});

describe("rows that exceed the limits of the template", () => {
  const endless = "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}";
  const template = `{% for m in messages %}{% if m.content == 'endless' %}${endless}{% endif %}{{ m.content }}{% endfor %}`;
  const row = (content: string) => ({ messages: [{ role: "user", content }, { role: "assistant", content }] }); // biome-ignore format: one line
  const load = (...contents: string[]) =>
    Dataset.fromRows(contents.map(row), {
      ...options,
      loss: "all",
      tokenizer: new Tokenizer({ ...tokenizer.files, chatTemplate: template }),
    });

  test("are skipped alone", async () => {
    const data = await load("endless", "a", "endless", "b");
    expect(data.length).toBe(2);
    expect(data.reports).toMatchObject([1, 3].map((line) => ({ line, kind: "skipped", reason: /did not end/ })));
    await data.dispose();
  });

  test.each([1, 100])("are an error where all rows do: %d", async (count) => {
    const loading = load(...Array<string>(count).fill("endless"));
    await expect(loading).rejects.toMatchObject({ code: "ERR_TEMPLATE", message: /did not end/ });
  });
});

test("a template that cannot be used is told at once", async () => {
  const { chatTemplate: _, ...rest } = tokenizer.files;
  const loading = Dataset.fromRows([{ text: "a" }, { messages: [{ role: "user", content: "a" }] }], {
    ...options,
    tokenizer: new Tokenizer(rest),
  });
  await expect(loading).rejects.toMatchObject({
    code: "ERR_TEMPLATE",
    message: expect.stringMatching(/^line 2: .*no chat template/),
  });
});

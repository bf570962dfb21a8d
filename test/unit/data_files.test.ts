/** Files that are no JSONL: one JSON array, and comma-separated values; rows of Alpaca and ShareGPT. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Dataset, type DatasetOptions } from "../../lib/data/dataset";
import { smallestCached } from "../../lib/data/index_cache";
import { formatOfFile, rowFormatOf } from "../../lib/data/row_format";
import { fileSource, memorySource } from "../../lib/data/row_index";
import { readRow, UnusableRow } from "../../lib/data/rows";
import { limits } from "../../lib/limits";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const fixtures = join(__dirname, "..", "parity", "fixtures", "tokenizer");
const folder = mkdtempSync(join(tmpdir(), "rubricate-files-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Rows as text with their numbers, from chunks of one byte and from whole ones, which must not differ. */
function cut(format: "array" | "csv", text: string | Buffer) {
  const bytes = Buffer.from(text);
  const all = (most: number) => {
    const source = { ...memorySource(bytes), name: "data" };
    const read = (into: Buffer, offset: number) => source.read(into.subarray(0, most), offset);
    const seen: Buffer[] = [];
    const rows = rowFormatOf(format, { name: "data", read });
    const found: [number, string | undefined][] = [];
    for (const row of rows.scan((chunk) => seen.push(Buffer.from(chunk)))) {
      const text = row.bytes!.toString();
      expect(bytes.toString("utf8", row.offset, row.offset + row.bytes!.length)).toBe(text);
      found.push([row.number, text]);
    }
    expect(Buffer.concat(seen)).toEqual(bytes);
    return found;
  };
  const whole = all(bytes.length);
  expect(all(3)).toEqual(whole);
  return whole;
}

describe("one JSON array", () => {
  test.each<[string, unknown[]]>([
    ["[]", []],
    [" [ ] \n", []],
    ['[{"a":1},{"b":[2]}]', ['{"a":1}', '{"b":[2]}']],
    ['[\n  {"a": "]},{"},\r\n  {"a": "\\"}"}\n]\n', ['{"a": "]},{"}', '{"a": "\\"}"}']],
    ['[1,"x,]", null ,[{}]]', ["1", '"x,]"', "null", "[{}]"]],
    ['\ufeff[{"a":"é"}]', ['{"a":"é"}']],
  ])("%j", (text, rows) => {
    expect(cut("array", text)).toEqual(rows.map((row, at) => [at + 1, row]));
  });

  test.each([
    ["", '"]"'],
    ["{}", '"["'],
    ["[{}", '"]"'],
    ['[{"a": "]', '"]"'],
    ["[{},]", "a row"],
    ["[,{}]", "a row"],
    ["[{} {}]", '"," or "]"'],
    ["[{}}]", '"," or "]"'],
    ["[{}]\n[", "nothing more"],
  ])("%j is refused", (text, expected) => {
    expect(() => cut("array", text)).toThrow(`Expected ${expected} in the array of data at line `);
  });

  test("an element that is too long is given without its bytes", () => {
    const source = { ...memorySource(Buffer.from(`["${"x".repeat(limits.lineBytes)}",{}]`)), name: "data" };
    const rows = [...rowFormatOf("array", source).scan(() => {})];
    expect(rows.map(({ number, bytes }) => [number, bytes?.toString()])).toEqual([
      [1, undefined],
      [2, "{}"],
    ]);
  });
});

describe("comma-separated values", () => {
  const read = (text: string) => {
    const rows = rowFormatOf("csv", { ...memorySource(Buffer.from(text)), name: "data" });
    return [...rows.scan(() => {})].map(({ bytes, number }) => {
      try {
        return [number, rows.value(bytes!)];
      } catch (error) {
        if (!(error instanceof UnusableRow)) throw error;
        return [number, error.message];
      }
    });
  };

  test.each<[string, unknown[]]>([
    ["text\na\nb\n", [[2, { text: "a" }], [3, { text: "b" }]]],
    ["text\r\na\r\nb", [[2, { text: "a" }], [3, { text: "b" }]]],
    ["\ufefftext,n\na,\n", [[2, { text: "a", n: "" }]]],
    ['"text","n"\n"a,""b""\r\nc",1\n"",2\n', [[2, { text: 'a,"b"\r\nc', n: "1" }], [4, { text: "", n: "2" }]]],
    ['text\n"""",\n""""\n', [[2, "it has 2 fields, but the header has 1"], [3, { text: '"' }]]],
    ['text\na"b\n"a"b\nc\n', [
      [2, "field 1 has a quotation mark but does not begin with one"],
      [3, "field 1 has text after its closing quotation mark"],
      [4, { text: "c" }],
    ]],
    ["__proto__,text\nx,a\n", [[2, Object.defineProperty({ text: "a" }, "__proto__", { value: "x", enumerable: true })]]],
  ])("%j", (text, rows) => {
    expect(read(text)).toEqual(rows);
    cut("csv", text);
  }); // biome-ignore format: one file a line

  test("a quotation mark in the middle of a field does not swallow the lines after it", () => {
    expect(read('text,n\na 5" disk,1\nb,2\n')).toHaveLength(2);
  });

  test.each([
    ["question,answer\na,b\n", 'the columns prompt and completion, or text, or instruction, input and output, separated by commas, but found "question", "answer"'],
    ["prompt;completion\na;b\n", 'but found "prompt;completion"'],
    ["text,text\na,b\n", 'line 1, the header: it has the column "text" twice'],
    ['te"xt\na\n', "line 1, the header: field 1 has a quotation mark but does not begin with one"],
    ['text\nok\n"a\nb\n', "Expected a quotation mark that closes the one at line 3 of data"],
  ])("%j is refused", (text, message) => {
    expect(() => read(text)).toThrow(message);
  }); // biome-ignore format: one file a line
});

test.each([
  ["a.csv", "text\n", "csv"],
  ["a.CSV", "[", "csv"],
  ["a.json", " \n[", "array"],
  ["b.json", '\ufeff[{"text": "a"}]', "array"],
  ["c.json", '{"text": "a"}\n', "jsonl"],
  ["d.jsonl", "[]", "jsonl"],
  ["e", "[]", "jsonl"],
])("%s that begins with %j", (name, text, expected) => {
  writeFileSync(join(folder, name), text);
  expect(formatOfFile(name, fileSource(join(folder, name)))).toBe(expected);
});

describe("rows of Alpaca and ShareGPT", () => {
  const alpaca = { instruction: "Add.", input: "1 2", output: "3" };
  const [user, assistant] = ["user", "assistant"];

  test("Alpaca, with a chat template and without", () => {
    const messages = [{ role: user, content: "Add.\n1 2" }, { role: assistant, content: "3" }];
    expect(readRow(alpaca, "auto", true)).toEqual({ kind: "chat", messages, given: 0 });
    const short = { kind: "chat", messages: [{ role: user, content: "Add." }, messages[1]], given: 0 };
    for (const input of ["", null, undefined]) expect(readRow({ ...alpaca, input }, "auto", true)).toEqual(short);
    const begin = "Below is an instruction that describes a task";
    const end = "Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n";
    expect(readRow(alpaca, "auto")).toEqual({
      kind: "prompt",
      prompt: `${begin}, paired with an input that provides further context. ${end}### Input:\n1 2\n\n### Response:`,
      completion: "3",
    });
    expect(readRow({ ...alpaca, input: "" }, "auto")).toMatchObject({ prompt: `${begin}. ${end}### Response:` });
  }); // biome-ignore format: one message a line

  test("ShareGPT", () => {
    const conversations = ["system", "human", "gpt", "user", "chatgpt", "tool", "assistant"].map((from) => ({
      from,
      value: from,
    }));
    expect(readRow({ conversations }, "auto")).toEqual({
      kind: "chat",
      given: 0,
      messages: ["system", user, assistant, user, assistant, "tool", assistant].map((role, at) => ({
        role,
        content: conversations[at]!.from,
      })),
    });
    expect(readRow({ system: "be brief", conversations: conversations.slice(1, 3), tools: [{}] }, "sharegpt")).toEqual({
      kind: "chat",
      given: 0,
      tools: [{}],
      messages: [
        { role: "system", content: "be brief" },
        { role: user, content: "human" },
        { role: assistant, content: "gpt" },
      ],
    });
  });

  test.each<[object, string]>([
    [{ ...alpaca, text: "x" }, 'it has the fields of two shapes, "text" and "instruction"'],
    [{ ...alpaca, prompt: "x" }, 'it has the fields of two shapes, "prompt" and "instruction"'],
    [{ conversations: [], messages: [] }, 'it has the fields of two shapes, "messages" and "conversations"'],
    [{ ...alpaca, conversations: [] }, 'it has the fields of two shapes, "conversations" and "instruction"'],
    [{ instruction: "a" }, 'it has no "output"'],
    [{ instruction: "a", output: 3 }, '"output" is not a string'],
    [{ instruction: "", output: "3" }, '"instruction" is empty'],
    [{ ...alpaca, history: [["a", "b"]] }, '"history" beside "instruction" is not read'],
    [{ ...alpaca, system: "a" }, '"system" beside "instruction" is not read'],
    [{ conversations: "a" }, '"conversations" is not a list of messages'],
    [{ conversations: [1] }, "conversations[0] is not an object"],
    [{ conversations: [{ role: "user", content: "a" }] }, 'conversations[0] has "role" instead of "from"'],
    [
      { conversations: [{ from: "alice", value: "a" }] },
      'conversations[0] is from "alice", not one of human, user, gpt',
    ],
    [{ conversations: [{ from: "human" }] }, 'it has no "value"'],
    [{ conversations: [] }, "for conversations but received"],
  ])("%j cannot be used", (row, message) => {
    expect(() => readRow(row, "auto")).toThrow(message);
    expect(() => readRow(row, "auto")).toThrow(UnusableRow);
  });

  test("a format decides what a row of two shapes is; without one older shapes come first", () => {
    expect(readRow({ ...alpaca, text: "x" }, "text")).toEqual({ kind: "text", text: "x" });
    expect(readRow({ ...alpaca, text: "x" }, "alpaca")).toMatchObject({ kind: "prompt", completion: "3" });
    expect(readRow({ instruction: "a", text: "x" }, "auto")).toEqual({ kind: "text", text: "x" });
    expect(readRow({ prompt: "a", completion: "b", text: "x" }, "auto")).toMatchObject({ kind: "prompt" });
  });
});

describe("datasets of such files", () => {
  let options: DatasetOptions;
  beforeAll(async () => {
    const { files } = await Tokenizer.fromPretrained(join(fixtures, "byte_level"));
    const chatTemplate = readFileSync(join(fixtures, "chatml.jinja"), "utf8");
    options = { tokenizer: new Tokenizer({ ...files, chatTemplate }), maxLength: 64 };
  });
  const rows = [
    { instruction: 'Say hello,\n"twice".', input: "", output: "hello hello" },
    { instruction: "Add.", input: "1 2", output: "3" },
  ];
  const csv = `instruction,input,output\n"Say hello,\n""twice"".",,hello hello\n,,x\nAdd.,1 2,3\n`;

  async function tokensOf(path: string) {
    const data = await Dataset.fromFile(path, options);
    try {
      const examples = await data.examples([0, 1]);
      return { tokens: examples.map(({ tokenIds }) => [...tokenIds]), lines: examples.map(({ line }) => line), data };
    } finally {
      await data.dispose();
    }
  }

  test("have the same examples as JSONL, and another fingerprint where the same bytes are read otherwise", async () => {
    const write = (name: string, text: string) => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const lines = await tokensOf(write("rows.jsonl", rows.map((row) => `${JSON.stringify(row)}\n`).join("")));
    const array = await tokensOf(write("rows.json", JSON.stringify(rows, null, 2)));
    const table = await tokensOf(write("rows.csv", csv));
    expect(array.tokens).toEqual(lines.tokens);
    expect(table.tokens).toEqual(lines.tokens);
    expect([lines.lines, array.lines, table.lines]).toEqual([
      [1, 2],
      [1, 2],
      [2, 5],
    ]);
    expect(table.data.reports).toEqual([{ line: 4, kind: "skipped", reason: '"instruction" is empty' }]);
    const text = "text\nword word\nword word\n"; // each line but the first is no JSON
    const asTable = await tokensOf(write("text.csv", text));
    expect(asTable.lines).toEqual([2, 3]);
    await expect(Dataset.fromJsonl(join(folder, "text.csv"), options)).rejects.toMatchObject({ code: "ERR_DATA" });
  });

  test("a table whose index is cached is read again by its header", async () => {
    const before = process.env.RUBRICATE_CACHE;
    process.env.RUBRICATE_CACHE = join(folder, "cache");
    try {
      const path = join(folder, "large.csv");
      const long = "word ".repeat(smallestCached / 50);
      writeFileSync(path, `completion,prompt\n${Array.from({ length: 12 }, (_, at) => `"${at}",${long}\n`).join("")}`);
      const of = async () => {
        let told = 0;
        const data = await Dataset.fromFile(path, { ...options, maxLength: 1 << 16, onProgress: () => told++ });
        const [example] = await data.examples([3]);
        await data.dispose();
        return { tokens: example!.tokenIds, told: told > 0 };
      };
      const first = await of();
      expect(first.told).toBe(true);
      expect(await of()).toEqual({ tokens: first.tokens, told: false });
    } finally {
      process.env.RUBRICATE_CACHE = before;
    }
  });
});

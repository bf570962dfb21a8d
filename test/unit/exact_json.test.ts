/** Rows keep what Python reads from their JSON: spellings of numbers, order of fields; a template writes them as Python does. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Dataset } from "../../lib/data/dataset";
import { encodeLine } from "../../lib/data/encode_row";
import { parseExact } from "../../lib/files/exact_json";
import { checkMessages } from "../../lib/template/chat_messages";
import { ChatTemplate } from "../../lib/template/chat_template";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const fixtures = path.join(__dirname, "..", "parity", "fixtures", "tokenizer");
const render = (source: string, value: unknown) =>
  new ChatTemplate(source, {}).render(checkMessages([{ role: "user", content: "", value }], undefined)).text;

// Expected texts are Python's: json.dumps(json.loads(text)), and str of it.
test.each([
  ["20.0", "20.0"],
  ["20", "20"],
  ["0.0", "0.0"],
  ["-0.0", "-0.0"],
  ["-0", "0"],
  ["1e-07", "1e-07"],
  ["1e-7", "1e-07"],
  ["1E5", "100000.0"],
  ["1e16", "1e+16"],
  ["1.50", "1.5"],
  ["9007199254740993", "9007199254740993"],
  ["12345678901234567890", "12345678901234567890"],
  ["-12345678901234567890", "-12345678901234567890"],
  ["123456789012345678901234567890.0", "1.2345678901234568e+29"],
  ["1e400", "Infinity"],
  ['{"b": 1, "1": 2.0, "a": {"3": 1, "2": 0}}', '{"b": 1, "1": 2.0, "a": {"3": 1, "2": 0}}'],
  ['{"b": 1, "a": 2, "b": 3.0}', '{"b": 3.0, "a": 2}'],
  ['["20.0", "\\"1e5", "x\\\\", 1.0]', '["20.0", "\\"1e5", "x\\\\", 1.0]'],
  ['{"__proto__": 1.0, "2": []}', '{"__proto__": 1.0, "2": []}'],
  [" [ ] ", "[]"],
  ['{"a":[true,false,null,-1.0,{}]}', '{"a": [true, false, null, -1.0, {}]}'],
])("%s is written as Python writes it", (text, written) => {
  expect(render("{{ messages[0].value|tojson }}", parseExact(text))).toBe(written);
});

// Of a JavaScript number all that is known is what JSON.stringify writes.
test.each<[number, string]>([
  [20, "20"],
  [20.5, "20.5"],
  [1e-7, "1e-07"],
  [1e21, "1e+21"],
  [2 ** 53, "9007199254740992"],
  [1.2345678901234567e19, "12345678901234567000"],
])("the number %d of a program", (value, written) => {
  expect(render("{{ messages[0].value }}", value)).toBe(written);
});

test("what is no JSON is refused as JSON.parse refuses it", () => {
  for (const text of ["{1.0}", "[1.0,]", '{"a": 01}', "1.", ""]) expect(() => parseExact(text)).toThrow(SyntaxError);
});

test("deep JSON does not overflow the stack", () => {
  expect(() => parseExact(`${"[".repeat(5000)}1.0${"]".repeat(5000)}`)).not.toThrow();
});

const source =
  "{% for m in messages %}{{ m.role }}:{{ m.tool_calls|tojson if m.tool_calls else m.content }};{% endfor %}";
const call = (amount: string) =>
  `{"messages":[{"role":"user","content":"pay"},{"role":"assistant","tool_calls":[{"b":${amount},"1":2}]}],"tools":[{"a":1.0}]}`;

test("rows of a file reach the template with their spelling", async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  const tokenizer = new Tokenizer({ ...files, chatTemplate: source });
  const options = { format: "auto", maxLength: 512, loss: "all" } as const;
  const { tokenIds } = encodeLine(Buffer.from(call("20.0")), tokenizer, options);
  expect(tokenizer.decode(tokenIds)).toBe('user:pay;assistant:[{"b": 20.0, "1": 2}];');
});

test("fields that the template does not name are told once a file", async () => {
  const { files } = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  const folder = mkdtempSync(path.join(tmpdir(), "rows-"));
  try {
    const file = path.join(folder, "rows.jsonl");
    writeFileSync(file, `${call("1")}\n${call("2")}\n`);
    const notices = async (chatTemplate: string) => {
      const tokenizer = new Tokenizer({ ...files, chatTemplate });
      const data = await Dataset.fromJsonl(file, { tokenizer, maxLength: 512, loss: "all" });
      await data.dispose();
      return data.notices;
    };
    expect(await notices(source)).toEqual(['2 rows have "tools", which the chat template does not write']);
    expect(await notices("{% for m in messages %}{{ m['role'] }}{% endfor %}")).toEqual([
      '2 rows have "tools", which the chat template does not write',
      '2 rows have "tool_calls", which the chat template does not write',
    ]);
    expect(await notices(`{{ tools }}${source}`)).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

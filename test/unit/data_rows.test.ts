import { readFileSync } from "node:fs";
import path from "node:path";
import { type EncodingOptions, encodeLine } from "../../lib/data/encode_row";
import { scanLines } from "../../lib/data/line_scanner";
import { UnusableRow } from "../../lib/data/rows";
import { limits } from "../../lib/limits";
import { type ChatMessage, Tokenizer } from "../../lib/tokenizer/tokenizer";

const fixtures = path.join(__dirname, "..", "parity", "fixtures", "tokenizer");
const template = (name: string) => readFileSync(path.join(fixtures, `${name}.jinja`), "utf8");
const plain: EncodingOptions = { format: "auto", maxLength: 1 << 20, loss: "completion" };

let byteLevel: Tokenizer;
let llama: Tokenizer;
let chatml: Tokenizer;
let zephyr: Tokenizer;
const withTemplate = (tokenizer: Tokenizer, chatTemplate: string) =>
  new Tokenizer({ ...tokenizer.files, chatTemplate });
beforeAll(async () => {
  byteLevel = await Tokenizer.fromPretrained(path.join(fixtures, "byte_level"));
  llama = await Tokenizer.fromPretrained(path.join(fixtures, "llama"));
  chatml = withTemplate(byteLevel, template("chatml"));
  zephyr = withTemplate(byteLevel, template("zephyr"));
});

const encode = (row: unknown, tokenizer: Tokenizer, options: Partial<EncodingOptions> = {}) =>
  encodeLine(Buffer.from(JSON.stringify(row)), tokenizer, { ...plain, ...options });
const learned = (row: unknown, tokenizer: Tokenizer, options: Partial<EncodingOptions> = {}) => {
  const { tokenIds, supervised } = encode(row, tokenizer, options);
  return tokenizer.decode(tokenIds.filter((_, at) => supervised[at]));
};

interface ChatCase {
  template: string;
  tokenizer: string;
  messages: ChatMessage[];
  ids: number[];
  mask: number[];
}
const cases: ChatCase[] = JSON.parse(readFileSync(path.join(fixtures, "chats.json"), "utf8"));

test.each(["chatml", "llama-2", "llama-3", "zephyr", "mistral"])(
  "ids and masks of %s as transformers has them",
  (name) => {
    const own = cases.filter((one) => one.template === name);
    const tokenizer = withTemplate(own[0]!.tokenizer === "llama" ? llama : byteLevel, template(name));
    for (const { messages, ids, mask } of own) {
      if (!mask.includes(1)) {
        expect(() => encode({ messages }, tokenizer)).toThrow(UnusableRow);
        continue;
      }
      const row = encode({ messages }, tokenizer);
      expect([...row.tokenIds]).toEqual(ids);
      expect([...row.supervised]).toEqual(mask);
      expect(row.supervisedCount).toBe(mask.reduce((sum, one) => sum + one, 0));
      const all = encode({ messages }, tokenizer, { loss: "all" });
      expect([...all.tokenIds]).toEqual(ids);
      expect([...all.supervised]).toEqual(ids.map((_, at) => (at === 0 ? 0 : 1)));
    }
  },
);

const messages = [
  { role: "user", content: "hello" },
  { role: "assistant", content: "world" },
];
const bos = "<|begin_of_text|>";
const eos = "<|end_of_text|>";

// What is learned of a row; the whole is in the third column.
test.each<[string, () => Tokenizer, object, string, string]>([
  [
    "prompt and completion",
    () => byteLevel,
    { prompt: "hello", completion: " world" },
    `${bos}hello world${eos}`,
    ` world${eos}`,
  ],
  ["no prompt", () => byteLevel, { prompt: "", completion: "world" }, `${bos}world${eos}`, `world${eos}`],
  ["text", () => byteLevel, { text: "hello" }, `${bos}hello${eos}`, `hello${eos}`],
  ["BOS in the prompt", () => byteLevel, { prompt: `${bos}hello`, completion: "x" }, `${bos}hellox${eos}`, `x${eos}`],
  ["BOS in the text", () => byteLevel, { text: `${bos}hello` }, `${bos}hello${eos}`, `hello${eos}`],
  ["EOS in the completion", () => byteLevel, { prompt: "q", completion: `a${eos}` }, `${bos}qa${eos}`, `a${eos}`],
  [
    "end of turn in the completion",
    () => byteLevel,
    { prompt: "q", completion: "a<|eot_id|>" },
    `${bos}qa<|eot_id|>`,
    "a<|eot_id|>",
  ],
  ["other fields", () => byteLevel, { text: "t", messages: null, id: 5 }, `${bos}t${eos}`, `t${eos}`],
  ["chat", () => zephyr, { messages }, `<|user|>\nhello${eos}\n<|assistant|>\nworld${eos}\n`, `world${eos}\n`],
  [
    "chat before text",
    () => zephyr,
    { messages, text: "t" },
    `<|user|>\nhello${eos}\n<|assistant|>\nworld${eos}\n`,
    `world${eos}\n`,
  ],
  [
    "messages as prompt",
    () => zephyr,
    { prompt: messages.slice(0, 1), completion: "world" },
    `<|user|>\nhello${eos}\n<|assistant|>\nworld${eos}\n`,
    `world${eos}\n`,
  ],
  [
    "messages as both",
    () => chatml,
    { prompt: [...messages, messages[0]], completion: [messages[1]] },
    "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\nworld<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\nworld<|im_end|>\n",
    "world<|im_end|>",
  ],
])("%s", (_, tokenizer, row, whole, part) => {
  expect(byteLevel.decode(encode(row, tokenizer()).tokenIds)).toBe(whole);
  expect(learned(row, tokenizer())).toBe(part);
  expect(learned(row, tokenizer(), { loss: "all" })).toBe(
    byteLevel.decode(encode(row, tokenizer()).tokenIds.subarray(1)),
  );
});

test("prompt and completion are tokenised apart", () => {
  const joined = byteLevel.encode("hello", { addSpecialTokens: false });
  const { tokenIds } = encode({ prompt: "hel", completion: "lo" }, byteLevel);
  const apart = ["hel", "lo"].flatMap((text) => [...byteLevel.encode(text, { addSpecialTokens: false })]);
  expect(joined.length).toBe(1);
  expect([...tokenIds.subarray(1, -1)]).toEqual(apart);
});

test.each<[number, string, number]>([
  [100, `a a a${eos}`, 9],
  [9, `a a a${eos}`, 9],
  [8, "a a a", 8],
  [6, "a", 6],
])("maxLength %d", (maxLength, part, length) => {
  const row = { prompt: "b b b b", completion: "a a a" };
  expect(learned(row, byteLevel, { maxLength })).toBe(part);
  const encoded = encode(row, byteLevel, { maxLength });
  expect(encoded.truncated).toBe(maxLength < 9);
  expect(encoded.tokenIds.length).toBe(length);
  expect(encoded.tokenIds.buffer.byteLength).toBe(4 * encoded.tokenIds.length);
});

const nested = (levels: number) => `${"[".repeat(levels)}${"]".repeat(levels)}`;
const user = '{"role":"user","content":"q"}';
test.each<[string, string | Buffer, RegExp, Partial<EncodingOptions>?]>([
  ["cut off", '{"text": "a', /not valid JSON/],
  ["two documents", '{"text":"a"}{"text":"b"}', /not valid JSON/],
  ["NaN", '{"text": NaN}', /not valid JSON/],
  ["a NUL", '{"text": "a\u0000"}', /not valid JSON/],
  ["UTF-16", Buffer.from('{"text":"a"}', "utf16le"), /not valid JSON/],
  ["Latin-1", Buffer.from('{"text":"\u00e9"}', "latin1"), /not valid UTF-8/],
  ["a cut character", Buffer.from('{"text":"é"}').subarray(0, 10), /not valid UTF-8/],
  ["surrogates in UTF-8", Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), /not valid UTF-8/],
  ["null", "null", /not a JSON object but null/],
  ["an array", '["text"]', /not a JSON object but an array/],
  ["a string", '"text"', /not a JSON object but a string/],
  ["no known field", '{"__proto__": {"text": "a"}}', /neither "messages"/],
  ["inherited fields", '{"constructor": 1}', /neither "messages"/],
  ["text is a number", '{"text": 5}', /"text" is not a string/],
  ["text is empty", '{"text": ""}', /"text" is empty/],
  ["completion is missing", '{"prompt": "a"}', /no "completion"/],
  ["completion is null", '{"prompt": "a", "completion": null}', /"completion" is not a string/],
  ["completion is empty", '{"prompt": "a", "completion": ""}', /"completion" is empty/],
  ["prompt is missing", '{"completion": "a"}', /no "prompt"/],
  ["prompt is an object", '{"prompt": {}, "completion": "a"}', /"prompt" is not a string/],
  ["messages is a string", '{"messages": "hi"}', /an array of \{role, content\} for messages/],
  ["no messages", '{"messages": []}', /at least one message for messages/],
  ["a message is null", '{"messages": [null]}', /^Expected \{role, content\} for messages\[0\] but received null/],
  ["no role", '{"messages": [{"content": "a"}]}', /^Expected a string for messages\[0\]\.role but received undefined/],
  [
    "no content",
    `{"messages": [${user}, {"role": "assistant"}]}`,
    /^Expected a string, or tool_calls in its place, for messages\[1\]\.content but/,
  ],
  ["content is null", '{"messages": [{"role": "user", "content": null}]}', /messages\[0\]\.content but received null/],
  ["nested deeply", `{"messages": [{"role":"user","content":"q","x":${nested(500)}}]}`, /at most 64 levels/],
  ["tools nested deeply", `{"messages": [${user}], "tools": [${nested(500)}]}`, /"tools" is not/],
  ["any field nested deeply", `{"messages": [${user}], "x": ${nested(5000)}}`, /nested more than 512 levels deep/],
  ["only questions", `{"messages": [${user}]}`, /the assistant says nothing/],
  ["another shape is wanted", '{"text": "a"}', /no "prompt"|no "completion"/, { format: "prompt" }],
  ["text is wanted", `{"messages": [${user}]}`, /no "text"/, { format: "text" }],
  ["messages are wanted", '{"text": "a"}', /an array of \{role, content\} for messages/, { format: "chat" }],
  [
    "the prompt fills the length",
    '{"prompt": "a a a a a", "completion": "b"}',
    /none of its first 5 tokens is supervised, and the row is truncated to these/,
    { maxLength: 5 },
  ],
])("left out: %s", (...[, line, reason, options]) => {
  expect(() => encodeLine(Buffer.from(line as string), chatml, { ...plain, ...options })).toThrow(UnusableRow);
  expect(() => encodeLine(Buffer.from(line as string), chatml, { ...plain, ...options })).toThrow(reason);
});

test.each<[string, string]>([
  ["escapes", '{"text": "\\u00e9\\n"}'],
  ["a lone surrogate", '{"text": "a\\ud800b"}'],
  ["a duplicate field", '{"text": 1, "text": "a"}'],
  ["blanks around", '  {"text": "a"}\t'],
])("used: %s", (_, line) => {
  expect(encodeLine(Buffer.from(line), byteLevel, plain).supervisedCount).toBeGreaterThan(1);
});

// A template that fails on one conversation leaves that row out; one that cannot be used at all ends the work.
const bad = [
  { role: "user", content: "a" },
  { role: "assistant", content: "b" },
  { role: "user", content: "c" },
  { role: "assistant", content: "d" },
];
test.each<[string, string | undefined, RegExp]>([
  ["no template", undefined, /no chat template/],
  ["a broken template", "{% for", /cannot be parsed/],
])("ERR_TEMPLATE: %s", (_, chatTemplate, message) => {
  const tokenizer = chatTemplate === undefined ? byteLevel : withTemplate(byteLevel, chatTemplate);
  const encoding = () => encode({ messages: bad }, tokenizer);
  expect(encoding).toThrow(expect.objectContaining({ code: "ERR_TEMPLATE" }));
  expect(encoding).toThrow(message);
});

test.each<[string, string, RegExp]>([
  [
    "prefixes that do not nest",
    "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
    /writes the first 2 messages differently/,
  ],
  [
    "a prompt that is no prefix",
    "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<think>{% endif %}",
    /writes the first 3 messages differently|writes the first 1 messages differently/,
  ],
])("the template's error leaves that row out, and is the cause: %s", (_, chatTemplate, message) => {
  const encoding = () => encode({ messages: bad }, withTemplate(byteLevel, chatTemplate));
  expect(encoding).toThrow(UnusableRow);
  expect(encoding).toThrow(expect.objectContaining({ cause: expect.objectContaining({ code: "ERR_TEMPLATE" }) }));
  expect(encoding).toThrow(message);
});

test("a limit that a template exceeds leaves that row out, with the template's error as the cause", () => {
  const endless = "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}";
  const encoding = () => encode({ messages: bad }, withTemplate(byteLevel, endless));
  expect(encoding).toThrow(UnusableRow);
  expect(encoding).toThrow(/did not end/);
  expect(encoding).toThrow(expect.objectContaining({ cause: expect.objectContaining({ code: "ERR_TEMPLATE" }) }));
});

test("a conversation of too many messages leaves that row out", () => {
  const messages = Array.from({ length: limits.chatMessages + 1 }, () => bad[0]);
  expect(() => encode({ messages }, chatml)).toThrow(UnusableRow);
});

test("what a template raises of a conversation leaves that row out", () => {
  const tokenizer = withTemplate(llama, template("llama-2"));
  expect(() => encode({ messages: bad.slice(1) }, tokenizer)).toThrow(UnusableRow);
  expect(() => encode({ messages: bad.slice(1) }, tokenizer)).toThrow(/must alternate/);
});

test("a template whose prefixes do not nest can still be trained on whole", () => {
  const tokenizer = withTemplate(byteLevel, "{{ messages | length }}{{ messages[0].content }}");
  expect(learned({ messages: bad }, tokenizer, { loss: "all" })).toBe("a");
});

describe("lines", () => {
  const scan = (bytes: Buffer, maxLength = 1 << 24, step = bytes.length + 1) => {
    const read = (into: Buffer, offset: number) => bytes.copy(into, 0, offset, Math.min(offset + step, bytes.length));
    const lines: [number, number, string | undefined][] = [];
    // A line's bytes hold until the next is read.
    for (const line of scanLines(read, maxLength)) lines.push([line.number, line.offset, line.bytes?.toString()]);
    return lines;
  };

  test.each<[string, string, [number, number, string][]]>([
    ["nothing", "", []],
    [
      "no newline at the end",
      "a\nb",
      [
        [1, 0, "a"],
        [2, 2, "b"],
      ],
    ],
    [
      "a newline at the end",
      "a\nb\n",
      [
        [1, 0, "a"],
        [2, 2, "b"],
      ],
    ],
    [
      "CRLF",
      "a\r\nb\r\n",
      [
        [1, 0, "a"],
        [2, 3, "b"],
      ],
    ],
    ["a lone CR", "a\rb\n", [[1, 0, "a\rb"]]],
    [
      "blank lines",
      "\n\na\n \n",
      [
        [1, 0, ""],
        [2, 1, ""],
        [3, 2, "a"],
        [4, 4, " "],
      ],
    ],
    [
      "a byte-order mark",
      "\ufeffa\nb",
      [
        [1, 3, "a"],
        [2, 5, "b"],
      ],
    ],
    ["only a byte-order mark", "\ufeff", []],
    [
      "a second mark",
      "a\n\ufeffb",
      [
        [1, 0, "a"],
        [2, 2, "\ufeffb"],
      ],
    ],
    ["other line separators", "a\u2028b\u0085c\n", [[1, 0, "a\u2028b\u0085c"]]],
  ])("%s", (_, text, lines) => {
    const bytes = Buffer.from(text);
    expect(scan(bytes)).toEqual(lines);
    expect(scan(bytes, 1 << 24, 3)).toEqual(lines); // in reads of three bytes
  });

  test("longer than a chunk", () => {
    const long = "é".repeat(3 << 20);
    expect(scan(Buffer.from(`a\n${long}\nb`))).toEqual([
      [1, 0, "a"],
      [2, 2, long],
      [3, 3 + 2 * long.length, "b"],
    ]);
  });

  test("longer than allowed", () => {
    const bytes = Buffer.from(`a\n${"x".repeat(5 << 20)}\nb\n${"y".repeat(11)}`);
    expect(scan(bytes, 10)).toEqual([
      [1, 0, "a"],
      [2, 2, undefined],
      [3, 3 + (5 << 20), "b"],
      [4, 5 + (5 << 20), undefined],
    ]);
  });
});

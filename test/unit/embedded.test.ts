import { readFileSync } from "node:fs";
import { join } from "node:path";
import { embeddedModelDir, loadDemoPairs } from "../../lib/embedded";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";

const readJson = (name: string) => JSON.parse(readFileSync(join(embeddedModelDir(), name), "utf8"));
let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await Tokenizer.fromPretrained(embeddedModelDir());
});

describe("the embedded model's tokenizer", () => {
  test.each([
    "Fellow-Citizens of the Senate and House of Representatives:",
    " \n\n\t two  spaces   three ",
    "日本語、漢字。 한국어 العربية हिन्दी",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽",
    "def f(x):\n\treturn x**2  # ok\r\n",
    "a\u0000b\u00a0c\u200bd e\u0301",
    "1234567 $3.50 don't we'll",
  ])("decodes %j to the same text", (text) => {
    expect(tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false }))).toBe(text);
  });

  test("every byte has an id of its own after the special tokens", () => {
    const vocabulary: Record<string, number> = readJson("tokenizer.json").model.vocab;
    const single = Object.entries(vocabulary).filter(([token]) => [...token].length === 1);
    expect(single.map(([, id]) => id).sort((a, b) => a - b)).toEqual(Array.from({ length: 256 }, (_, i) => 6 + i));
    expect(Object.keys(vocabulary)).toHaveLength(2048);
  });

  test("the chat template supervises only the answer and its end", () => {
    const { text, generated } = tokenizer.renderChat([
      { role: "user", content: "Question" },
      { role: "assistant", content: "Answer" },
    ]);
    expect(text).toBe("<s><|user|>Question</s><|assistant|>Answer</s>");
    expect(generated.map(([start, end]) => text.slice(start, end))).toEqual(["Answer</s>"]);
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    expect([ids[0], ids[1], ids.at(-1)]).toEqual([0, 4, 1]);
  });
});

test("held-out prompts of the demo are in no training pair, and every office is held out equally often", () => {
  const { train, heldOut } = loadDemoPairs();
  const prompts = new Set(train.map(({ prompt }) => prompt));
  expect(heldOut.filter(({ prompt }) => prompts.has(prompt))).toEqual([]);
  const counts = (pairs: readonly { completion: string }[]) => {
    const found: Record<string, number> = {};
    for (const { completion } of pairs) found[completion] = (found[completion] ?? 0) + 1;
    return found;
  };
  expect([...new Set(Object.values(counts(train)))]).toEqual([80]);
  expect([...new Set(Object.values(counts(heldOut)))]).toEqual([20]);
  expect(Object.keys(counts(heldOut)).sort()).toEqual(Object.keys(counts(train)).sort());
});

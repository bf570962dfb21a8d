import { RubricateError, type ScoreTextsOptions, scoreTexts } from "../../lib";
import { ptbTokens } from "../../lib/metrics/ptb_tokens";

const predictions = [
  "The Mill is a cheap, family-friendly pub by the river.",
  "Blue Spice isn't a restaurant; it's a coffee shop in the city centre.",
  "Near Café Adriatic there is The Vaults, with prices of £20-25 (moderate).",
  "A pub.",
];
const references = [
  ["The Mill is a cheap riverside pub.", "By the river there is a cheap, family-friendly pub: The Mill."],
  ["Blue Spice is a coffee shop in the city centre."],
  ["The Vaults is near Café Adriatic.", "The Vaults has prices of £20-25.", "Near Café Adriatic: The Vaults."],
  ["The Wrestlers is a pub."],
];

function expectClose(a: object, b: object): void {
  for (const [name, value] of Object.entries(a)) expect(value).toBeCloseTo(b[name as never], 12);
}

describe("the scores", () => {
  const scores = scoreTexts({ predictions, references });

  test("do not depend on the order of inputs or references", () => {
    const order = [2, 0, 3, 1];
    const reordered = {
      predictions: order.map((at) => predictions[at]!),
      references: order.map((at) => [...references[at]!].reverse()),
    };
    expectClose(scoreTexts(reordered), scores);
  });

  test("of BLEU, ROUGE-L and CIDEr do not change if all references are repeated", () => {
    const repeated = scoreTexts({ predictions, references: references.map((texts) => [...texts, ...texts]) });
    expectClose(repeated, scores); // NIST neither: all its counts double
  });

  test("are in their ranges, and highest where each prediction is a reference", () => {
    const best = scoreTexts({ predictions: references.map((texts) => texts[0]!), references });
    expect(best.bleu).toBeCloseTo(1, 12);
    expect(best.rougeL).toBeCloseTo(1, 12);
    for (const name of ["bleu", "nist", "rougeL", "cider"] as const) {
      expect(scores[name]).toBeGreaterThan(0);
      expect(best[name]).toBeGreaterThan(scores[name]);
    }
    expect(best.cider).toBeLessThanOrEqual(10);
  });

  test("of an empty prediction are low, and its neighbours' terms stay", () => {
    const emptied = scoreTexts({ predictions: ["", ...predictions.slice(1)], references });
    for (const name of ["bleu", "nist", "rougeL", "cider"] as const) {
      expect(emptied[name]).toBeGreaterThan(0);
      expect(emptied[name]).toBeLessThan(scores[name]);
    }
  });

  test("ignore case", () => {
    const upper = predictions.map((text) => text.toUpperCase());
    expectClose(scoreTexts({ predictions: upper, references }), scores);
  });
});

test("NIST has no term of n-grams whose lengths add up to nothing", () => {
  expect(scoreTexts({ predictions: ["a b c d"], references: [["a b c d"]] }).nist).toBeCloseTo(2, 12);
});

test.each<[string, string[]]>([
  [
    "Brown's isn't cheap, can't be; they'll cannot",
    ["brown", "'s", "is", "n't", "cheap", "ca", "n't", "be", "they", "'ll", "can", "not"],
  ],
  ["It’s “family-friendly” – and/or O'Brien's...", ["it", "'s", "family-friendly", "and/or", "o'brien", "'s"]],
  [
    "£20-25 (€1,000.50) [5/5] {x} 3.5% 10:30 p.m. U.S. Ltd. river.",
    [
      ...["#", "20-25", "-lrb-", "$", "1,000.50", "-rrb-", "-lsb-", "5/5", "-rsb-", "-lcb-", "x", "-rcb-", "3.5", "%"],
      ...["10:30", "p.m.", "u.s.", "ltd.", "river"],
    ],
  ],
  [
    "the Browns' 'quoted' `x' 5-star 3rd 1970s -- - .. ? ! : ;",
    ["the", "browns", "quoted", "x", "5-star", "3rd", "1970s"],
  ],
  ["www.a-b.com/x?y=1, mail me@x.co.uk.", ["www.a-b.com/x?y=1", "mail", "me@x.co.uk"]],
  ["I wanna, you gotta: gimme don't-care", ["i", "wan", "na", "you", "got", "ta", "gim", "me", "do", "n't", "care"]],
  [
    "東京は e\u0301te\u0301 Привет😀 a&b \ud800",
    ["東京は", "e\u0301te\u0301", "привет", "😀", "a", "&", "b", "\ud800"],
  ],
  ["", []],
  [" \n\t", []],
])("the tokens of %j", (text, tokens) => {
  expect(ptbTokens(text)).toEqual(tokens);
});

test("a long text without spaces takes no more than its length's time", () => {
  for (const part of ["a+", "a.", "n'", "1-", "http://,", "''s"])
    expect(ptbTokens(part.repeat(50_000)).length).toBeGreaterThan(0);
});

test.each<[string, unknown, string]>([
  ["no object", undefined, "Expected an object for the options of scoreTexts but received undefined"],
  ["no predictions", { references }, "Expected a list of strings for predictions but received undefined"],
  [
    "an empty list",
    { predictions: [], references: [] },
    "Expected at least one text for predictions but received an array of length 0",
  ],
  ["a number", { predictions: [5], references: [["a"]] }, "Expected a string for predictions[0] but received 5"],
  [
    "one reference as a string",
    { predictions: ["a"], references: ["a"] },
    'Expected a list of strings for references[0] but received "a" of type string',
  ],
  [
    "other numbers",
    { predictions: ["a", "b"], references: [["a"]] },
    "Expected 2 lists of texts, one for each prediction, for references but received 1",
  ],
  [
    "no reference",
    { predictions: ["a"], references: [[]] },
    "Expected at least one text for references[0] but received an array of length 0",
  ],
  ["an unknown option", { prediction: ["a"] }, 'Unknown option "prediction" for scoreTexts; did you mean predictions?'],
])("%s is refused", (_, options, message) => {
  let thrown: unknown;
  try {
    scoreTexts(options as ScoreTextsOptions);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(RubricateError);
  expect((thrown as RubricateError).code).toBe("ERR_ARGUMENT");
  expect((thrown as RubricateError).message).toBe(message);
});

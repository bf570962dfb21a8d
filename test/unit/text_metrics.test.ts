import { RubricateError, type ScoreTextsOptions, scoreTexts, type TextScores } from "../../lib";
import { bleu } from "../../lib/metrics/bleu";
import { cider } from "../../lib/metrics/cider";
import { commonLength } from "../../lib/metrics/common_length";
import { mtevalTokens } from "../../lib/metrics/mteval_tokens";
import { nist } from "../../lib/metrics/nist";
import { ptbTokens } from "../../lib/metrics/ptb_tokens";
import { rougeL } from "../../lib/metrics/rouge_l";
import { atOnce, type Steps } from "../../lib/steps";

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
  let scores: TextScores;
  beforeAll(async () => {
    scores = await scoreTexts({ predictions, references });
  });

  test("do not depend on the order of inputs or references", async () => {
    const order = [2, 0, 3, 1];
    const reordered = {
      predictions: order.map((at) => predictions[at]!),
      references: order.map((at) => [...references[at]!].reverse()),
    };
    expectClose(await scoreTexts(reordered), scores);
  });

  test("of BLEU, ROUGE-L and CIDEr do not change if all references are repeated", async () => {
    const repeated = await scoreTexts({ predictions, references: references.map((texts) => [...texts, ...texts]) });
    expectClose(repeated, scores); // NIST neither: all its counts double
  });

  test("are in their ranges, and highest where each prediction is a reference", async () => {
    const best = await scoreTexts({ predictions: references.map((texts) => texts[0]!), references });
    expect(best.bleu).toBeCloseTo(1, 12);
    expect(best.rougeL).toBeCloseTo(1, 12);
    for (const name of ["bleu", "nist", "rougeL", "cider"] as const) {
      expect(scores[name]).toBeGreaterThan(0);
      expect(best[name]).toBeGreaterThan(scores[name]);
    }
    expect(best.cider).toBeLessThanOrEqual(10);
  });

  test("of an empty prediction are low, and its neighbours' terms stay", async () => {
    const emptied = await scoreTexts({ predictions: ["", ...predictions.slice(1)], references });
    for (const name of ["bleu", "nist", "rougeL", "cider"] as const) {
      expect(emptied[name]).toBeGreaterThan(0);
      expect(emptied[name]).toBeLessThan(scores[name]);
    }
  });

  test("ignore case", async () => {
    const upper = predictions.map((text) => text.toUpperCase());
    expectClose(await scoreTexts({ predictions: upper, references }), scores);
  });
});

test("NIST has no term of n-grams whose lengths add up to nothing", async () => {
  expect((await scoreTexts({ predictions: ["a b c d"], references: [["a b c d"]] })).nist).toBeCloseTo(2, 12);
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
  expect(atOnce(ptbTokens(text))).toEqual(tokens);
});

test("a long text without spaces takes no more than its length's time", () => {
  for (const part of ["a+", "a.", "n'", "1-", "http://,", "''s"])
    expect(atOnce(ptbTokens(part.repeat(50_000))).length).toBeGreaterThan(0);
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
])("%s is refused", async (_, options, message) => {
  let thrown: unknown;
  try {
    await scoreTexts(options as ScoreTextsOptions);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(RubricateError);
  expect((thrown as RubricateError).code).toBe("ERR_ARGUMENT");
  expect((thrown as RubricateError).message).toBe(message);
});

test("the longest common subsequence is that of the table of lengths", () => {
  const table = (a: readonly string[], b: readonly string[]) => {
    let previous = b.map(() => 0);
    for (const token of a) {
      const current: number[] = [];
      for (const [at, other] of b.entries()) {
        const diagonal = at > 0 ? previous[at - 1]! : 0;
        current.push(other === token ? diagonal + 1 : Math.max(previous[at]!, at > 0 ? current[at - 1]! : 0));
      }
      previous = current;
    }
    return previous.at(-1) ?? 0;
  };
  let state = 1;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const text = (length: number, words: number) => Array.from({ length }, () => `w${random(words)}`);
  for (const length of [0, 1, 31, 32, 33, 64, 65, 200])
    for (const words of [1, 2, 3, 10, 100])
      for (const other of [0, 1, 40, 150]) {
        const [a, b] = [text(other, words), text(length, words)];
        expect([length, words, other, atOnce(commonLength(a, b))]).toEqual([length, words, other, table(a, b)]);
      }
  // Carries that pass over words without a match.
  const rare = [...text(150, 1), "x", ...text(150, 1)];
  const mixed = Array.from({ length: 300 }, (_, at) => (at % 70 === 0 ? "x" : `y${at}`));
  expect(atOnce(commonLength(rare, mixed))).toBe(table(rare, mixed));
  expect(atOnce(commonLength(mixed, rare))).toBe(table(mixed, rare));
});

/** Steps of a computation, of which each is a short one. */
function stepsOf(steps: Steps<unknown>): number {
  let count = 0;
  while (!steps.next().done) count++;
  return count;
}

test("the work on two long texts is many steps", () => {
  const long = Array.from({ length: 20_000 }, (_, at) => `w${(at * 7919) % 50}`);
  const text = long.join(" ");
  const row = [{ prediction: long, references: [long] }];
  expect(stepsOf(mtevalTokens(text))).toBeGreaterThan(50);
  expect(stepsOf(ptbTokens(text))).toBeGreaterThan(50);
  for (const score of [bleu, nist, cider, rougeL]) expect(stepsOf(score(row))).toBeGreaterThan(500);
});

test("parts of a long text have the tokens of the whole", () => {
  const part = "It costs $1,000.50, i.e. 3.5 % - not 5-10! .5 5. , 9- a.b\u0085x\u2003. y";
  const once = atOnce(mtevalTokens(part));
  const repeated = Array.from({ length: 200 }, () => once).flat();
  expect(atOnce(mtevalTokens(Array.from({ length: 200 }, () => part).join(" ")))).toEqual(repeated);
});

test("a signal stops the work, at its start and between two turns of the event loop", async () => {
  const long = "a b c d e f g h ".repeat(5000);
  const options = { predictions: [long], references: [[long]] };
  const started = new AbortController();
  const stopped = scoreTexts({ ...options, signal: started.signal });
  setImmediate(() => started.abort());
  await expect(stopped).rejects.toMatchObject({ code: "ERR_ABORTED" });
  await expect(scoreTexts({ ...options, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ERR_ABORTED" });
});

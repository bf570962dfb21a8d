/** The event loop stays free: work runs in threads and in small steps, and no file is read synchronously. */
import fs, { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { splitSteps } from "../../lib/data/split";
import { Dataset, LanguageModel, RedAdapter, Tokenizer, Trainer } from "../../lib/index";
import { atOnce, inSlices, type Steps } from "../../lib/steps";
import { memberOf, membersOf, namedIn, valuesIn } from "../../lib/tokenizer/json_pieces";
import { ExampleArray } from "../../lib/train/examples";

const tiny = path.join(__dirname, "..", "parity", "fixtures", "gqa");
/** A byte-pair encoding of `count` tokens, each made of the one before it. */
function largeTokenizer(count: number): string {
  const letters = [..."abcdefghij"];
  const tokens = [...letters];
  const merges: [string, string][] = [];
  for (let at = 0; tokens.length < count; at++)
    for (const letter of letters) {
      merges.push([tokens[at]!, letter]);
      tokens.push(tokens[at]! + letter);
    }
  const model = { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges };
  return JSON.stringify({ added_tokens: [], model }, null, 2);
}

const large = largeTokenizer(40_000);
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "rubricate-event-loop-"));
  writeFileSync(path.join(folder, "tokenizer.json"), large);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function* counting(until: number): Steps<number> {
  for (let at = 0; at < until; at++) yield;
  return until;
}

test("steps give the same result synchronously and in slices", async () => {
  expect(atOnce(counting(5))).toBe(5);
  await expect(inSlices(counting(5))).resolves.toBe(5);
});

test("slices let the event loop run, and reject with an error that a step throws", async () => {
  let turns = 0;
  const turn = () => {
    turns++;
    other = setImmediate(turn);
  };
  let other = setImmediate(turn);
  function* waiting(): Steps<never> {
    while (turns < 3) yield; // endless, if nothing else ever ran
    throw new Error("ended");
  }
  await expect(inSlices(waiting())).rejects.toThrow("ended");
  clearImmediate(other);
});

/** Parses a text by its members. */
function inPieces(text: string, least: number): unknown {
  const bytes = Buffer.from(text);
  const whole = { start: 0, end: bytes.length };
  const { runs, count } = membersOf(bytes, whole, least);
  const members = text.startsWith("{")
    ? runs.flatMap((run) => namedIn(bytes, run))
    : runs.flatMap((run) => valuesIn(bytes, run));
  if (text.startsWith("{") && least === 1) for (const run of runs) memberOf(bytes, run);
  expect(count).toBeGreaterThanOrEqual(members.length);
  return text.startsWith("{") ? Object.fromEntries(members as [string, unknown][]) : members;
}

/** undefined if it is refused */
function attempted(parse: () => unknown): unknown {
  try {
    return parse();
  } catch (error) {
    expect((error as Error).name).toBe("SyntaxError");
    return undefined;
  }
}

const texts = [
  "{}",
  " [ ] ".trim(),
  '{"a": 1, "b\\"]": [1, {"c": "}"}], "é\\u00e9": "\\ud83d\\ude00,", "__proto__": {"x": []}}',
  '[1, "a,b", [], {}, "\\\\", [[2, 3], "]"], null]',
  '{"a": 1, "a": 2}',
];

test.each([1, 4, 1000])(
  "members in pieces of at least %i bytes are those of JSON.parse, for any damage of the text",
  (least) => {
    let refused = 0;
    for (const text of texts) {
      expect(inPieces(text, least)).toEqual(JSON.parse(text));
      for (let at = 1; at <= text.length; at++)
        for (const put of ["", "{", "}", "[", "]", ",", ":", '"', "\\", "1", " "])
          for (const length of [0, 1]) {
            const damaged = text.slice(0, at) + put + text.slice(at + length);
            const expected = attempted(() => JSON.parse(damaged));
            expect([damaged, attempted(() => inPieces(damaged, least))]).toEqual([damaged, expected]);
            if (expected === undefined) refused++;
          }
    }
    expect(refused).toBeGreaterThan(1000);
  },
);

/** Maximum delay in milliseconds of a 1 ms timer during some work. */
async function worstLateness(work: () => Promise<unknown>): Promise<number> {
  let worst = 0;
  let due = performance.now() + 1;
  const look = () => {
    worst = Math.max(worst, performance.now() - due);
    due = performance.now() + 1;
  };
  const fired = () => {
    look();
    timer = setTimeout(fired, 1);
  };
  let timer = setTimeout(fired, 1);
  await work();
  look();
  clearTimeout(timer);
  return worst;
}

test("a large tokenizer is loaded while other events run, which wait only for a small part of the time", async () => {
  const started = performance.now();
  new Tokenizer({ directory: folder, tokenizerJson: large });
  const atOnceMs = performance.now() - started;
  const worst: number[] = [];
  for (let round = 0; round < 4; round++) worst.push(await worstLateness(() => Tokenizer.fromPretrained(folder)));
  expect(Math.min(...worst)).toBeLessThan(atOnceMs / 4); // other processes may use the processors for a while
});

test("a split of many examples takes many steps", () => {
  let steps = 0;
  for (const splitting = splitSteps(1 << 17, 0.25, 3); !splitting.next().done; ) steps++;
  expect(steps).toBeGreaterThan(50);
});

test("many examples of an array are checked and hashed in many steps", () => {
  const example = { tokenIds: new Int32Array(1 << 12), supervised: new Uint8Array(1 << 12).fill(1), line: 1 };
  let steps = 0;
  for (const making = ExampleArray.steps(new Array(256).fill(example), "train"); !making.next().done; ) steps++;
  expect(steps).toBe(64);
});

test("loading, indexing, training, checkpoints and generating read and write no file synchronously", async () => {
  const rows = path.join(folder, "rows.jsonl");
  writeFileSync(rows, `${JSON.stringify({ text: "jihgfedcba".repeat(3) })}\n`.repeat(8));
  const work = async (name: string) => {
    const tokenizer = await Tokenizer.fromPretrained(folder);
    const data = await Dataset.fromJsonl(rows, { tokenizer, maxLength: 16 });
    const [example] = await data.examples([0]);
    await data.dispose();
    const model = await LanguageModel.fromPretrained(tiny);
    const adapter = RedAdapter.create(model);
    const train = [{ tokenIds: Int32Array.of(1, 2, 3), supervised: Uint8Array.of(0, 1, 1), line: 1 }];
    const outputDir = path.join(folder, name);
    for await (const _ of new Trainer({
      model,
      adapter,
      train,
      maxSteps: 1,
      outputDir,
      checkpointEverySteps: 1,
    }).run());
    for await (const _ of model.generate({ tokenIds: [1, 2], adapter, maxNewTokens: 2 }));
    model.dispose();
    return example!.tokenIds.length;
  };
  await work("first"); // modules are loaded synchronously on first use
  const isSync = (name: string) => name.endsWith("Sync") && typeof Reflect.get(fs, name) === "function";
  const names = Object.keys(fs).filter(isSync) as "readFileSync"[];
  const spies = names.map((name) => jest.spyOn(fs, name));
  try {
    expect(await work("second")).toBeGreaterThan(0);
    expect(names.filter((_, at) => spies[at]!.mock.calls.length > 0)).toEqual([]);
    expect(names).toContain("existsSync");
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
});

/** `complete`, and the seed of a generation. */
import { embeddedModelDir, type GenerateOptions, type GenerationResult, LanguageModel } from "../../lib/index";

let model: LanguageModel;
beforeAll(async () => {
  model = await LanguageModel.fromPretrained(embeddedModelDir(), { device: "cpu" });
});
afterAll(() => model.dispose());

/** Without times, and without what earlier requests left in the cache. */
const timeless = ({ tokensPerSecond, queuedMs, firstTokenMs, cachedTokens: _, ...rest }: GenerationResult) => {
  expect(tokensPerSecond).toBeGreaterThan(0);
  expect(queuedMs).toBeGreaterThanOrEqual(0);
  expect(firstTokenMs).toBeGreaterThanOrEqual(queuedMs);
  return rest;
};

async function iterated(options: GenerateOptions) {
  const pieces = model.generate(options);
  let streamed = "";
  for (;;) {
    const next = await pieces.next();
    if (next.done) return { streamed, ...timeless(next.value) };
    streamed += next.value.text;
  }
}

test.each<[string, GenerateOptions]>([
  ["a prompt", { prompt: "The people ", maxNewTokens: 12 }],
  ["messages", { messages: [{ role: "user", content: "What of the Navy?" }], maxNewTokens: 12 }],
  ["token ids", { tokenIds: [1, 5, 9], maxNewTokens: 12 }],
  ["sampling", { prompt: "The people ", maxNewTokens: 12, temperature: 2, seed: 5 }],
  ["a stop string", { prompt: "The people ", maxNewTokens: 12, stop: "e" }],
  ["a full context", { tokenIds: new Array(253).fill(5), maxNewTokens: 12 }],
])("complete gives what generate returns: %s", async (_, options) => {
  const { streamed, ...result } = await iterated(options);
  const completed = timeless(await model.complete(options));
  expect(completed).toEqual(result);
  expect(completed).toMatchObject({ text: streamed });
});

test("the result counts the tokens of the prompt and of the answer", async () => {
  const result = await model.complete({ tokenIds: [1, 5, 9], maxNewTokens: 4 });
  expect(result.tokenIds).toHaveLength(4);
  expect(result).toMatchObject({
    finishReason: "length",
    promptTokens: 3,
    usage: { promptTokens: 3, completionTokens: 4, totalTokens: 7 },
  });
});

test("the signal stops it, before and while it runs", async () => {
  const options = { prompt: "The people ", temperature: 1, maxNewTokens: 200 };
  const aborted = { code: "ERR_ABORTED", cause: "enough" };
  await expect(model.complete({ ...options, signal: AbortSignal.abort("enough") })).rejects.toMatchObject(aborted);
  const controller = new AbortController();
  const completing = model.complete({ ...options, signal: controller.signal });
  controller.abort("enough");
  await expect(completing).rejects.toMatchObject(aborted);
});

test("the generator of generate says so when it is awaited, also as the result of an async function", async () => {
  const says = {
    name: "RubricateError",
    code: "ERR_STATE",
    message: expect.stringMatching(/^Expected the generator of generate to be iterated .*: await model.complete\(/),
  };
  const pieces = () => model.generate({ prompt: "a", maxNewTokens: 2 });
  // @ts-expect-error TypeScript refuses it, too
  await expect((async () => await pieces())()).rejects.toMatchObject(says);
  // @ts-expect-error the same
  await expect((async () => pieces())()).rejects.toMatchObject(says);
  await expect(Promise.all([pieces()])).rejects.toMatchObject(says);
});

test("wrong options reject and name the method", async () => {
  const { complete } = model;
  await expect(model.complete({ prompt: "a", maxTokens: 1 } as never)).rejects.toMatchObject({
    code: "ERR_ARGUMENT",
    message: 'Unknown option "maxTokens" for complete; did you mean maxNewTokens?',
  });
  await expect(model.complete({ prompt: "a", logprobs: true } as never)).rejects.toMatchObject({
    code: "ERR_ARGUMENT",
    message: expect.stringContaining('Unknown option "logprobs" for complete; did you mean logProbabilities?'),
  });
  await expect(complete({ prompt: "a" })).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
});

describe("the seed", () => {
  const options = { prompt: "The people ", maxNewTokens: 12, temperature: 50 };

  test("without one is drawn for each call, is in the result, and gives the text again", async () => {
    const results = [await model.complete(options), await model.complete(options), await model.complete(options)];
    expect(new Set(results.map(({ seed }) => seed)).size).toBe(3);
    expect(new Set(results.map(({ text }) => text)).size).toBe(3);
    for (const { seed, tokenIds } of results) {
      expect(Number.isSafeInteger(seed)).toBe(true);
      expect(await model.complete({ ...options, seed: seed! })).toMatchObject({ seed, tokenIds });
    }
  });

  test.each([0, 7, Number.MAX_SAFE_INTEGER])("that was given, %d, is in the result", async (seed) => {
    const [one, two] = [await model.complete({ ...options, seed }), await model.complete({ ...options, seed })];
    expect(one.seed).toBe(seed);
    expect(two.tokenIds).toEqual(one.tokenIds);
  });

  test.each([undefined, 0])("is null with temperature %p, which uses none", async (temperature) => {
    const { prompt, maxNewTokens } = options;
    const [one, two] = [
      await model.complete({ prompt, maxNewTokens, temperature: temperature as number }),
      await model.complete({ prompt, maxNewTokens, temperature: temperature as number, seed: 3 }),
    ];
    expect([one.seed, two.seed]).toEqual([null, null]);
    expect(two.tokenIds).toEqual(one.tokenIds);
  });
});

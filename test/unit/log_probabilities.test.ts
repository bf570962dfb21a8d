/** Log-probabilities of generated tokens: those of the model's own logits, whatever the sampling and the company. */
import type {
  GenerateOptions,
  GenerationPiece,
  GenerationResult,
  LanguageModel,
  TokenLogProbability,
} from "../../lib/index";
import { adapterOf, loadModel, withEngine } from "./engine_support";

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel();
});
afterAll(() => model.dispose());

const prompt = [1, 30, 70, 30, 5, 12];

/** By the definition, in double. */
async function logSoftmax(ids: number[]): Promise<number[]> {
  const logits = Array.from((await model.logits(ids)).slice(-model.vocabularySize));
  const most = Math.max(...logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0);
  return logits.map((logit) => logit - most - Math.log(sum));
}

const call: Omit<GenerateOptions, "adapter"> = {
  tokenIds: prompt,
  maxNewTokens: 6,
  logProbabilities: true,
  topLogProbabilities: 3,
};
const sampling: [string, GenerateOptions][] = [
  ["greedy", {}],
  ["a temperature", { temperature: 1.7, seed: 4 }],
  ["top-k", { temperature: 3, topK: 40, seed: 1 }],
  ["a bias and penalties", { logitBias: { 77: 12 }, frequencyPenalty: 2, presencePenalty: 1, repetitionPenalty: 1.5 }],
];

test.each(sampling)("%s: they are of the logits as the model gives them", async (_, options) => {
  const { tokenIds, logProbabilities } = await model.complete({ ...call, ...options });
  expect(logProbabilities!.map(({ tokenId }) => tokenId)).toEqual(tokenIds);
  for (const [at, { tokenId, logProbability, topLogProbabilities }] of logProbabilities!.entries()) {
    const expected = await logSoftmax([...prompt, ...tokenIds.slice(0, at)]);
    const order = expected.map((_, id) => id).sort((a, b) => expected[b]! - expected[a]! || a - b);
    expect(topLogProbabilities.map((one) => one.tokenId)).toEqual(order.slice(0, 3));
    for (const one of [{ tokenId, logProbability }, ...topLogProbabilities])
      expect(one.logProbability).toBeCloseTo(expected[one.tokenId]!, 5);
  }
});

test("beside other requests they have the bits that they have alone, and with log-probabilities the ids are the same", async () => {
  const own = { ...call, temperature: 0.9, seed: 8, topLogProbabilities: 20 };
  const alone = await model.complete(own);
  const { logProbabilities: _, topLogProbabilities: __, ...plain } = own;
  expect((await model.complete(plain)).tokenIds).toEqual(alone.tokenIds);
  await withEngine({ model }, async (engine) => {
    await engine.adapters.set("a", adapterOf(model, 2));
    const others = [1, 2, 3].map((seed) =>
      engine.complete({ ...call, tokenIds: [seed, 5, 9], maxNewTokens: 12, seed, temperature: 1, adapter: "a" }),
    );
    expect((await engine.complete(own)).logProbabilities).toEqual(alone.logProbabilities);
    expect((await Promise.all(others)).map((one) => one.logProbabilities?.length)).toEqual([12, 12, 12]);
  });
});

async function streamed(options: GenerateOptions) {
  const pieces: GenerationPiece[] = [];
  const stream = model.generate(options);
  for (;;) {
    const next = await stream.next();
    if (next.done) return { pieces, result: next.value as GenerationResult };
    pieces.push(next.value);
  }
}

test("each piece has those of its token, and the result has all", async () => {
  const { pieces, result } = await streamed(call);
  const expected = pieces.map(({ text: _, ...rest }) => rest);
  expect(result.logProbabilities).toEqual(expected);
  expect(expected.every(({ topLogProbabilities }) => topLogProbabilities?.length === 3)).toBe(true);
});

test("text that was held back for a stop string comes without a token's log-probability", async () => {
  const plain = await model.complete({ ...call, prompt: "What of the", tokenIds: undefined as never });
  const stop = `${plain.text.slice(-1)}###`;
  const { pieces, result } = await streamed({ ...call, prompt: "What of the", tokenIds: undefined as never, stop });
  expect(pieces.length).toBe(result.tokenIds.length + 1);
  expect(pieces.filter((piece) => piece.logProbability !== undefined)).toHaveLength(result.tokenIds.length);
  expect(pieces.at(-1)).toEqual({ text: plain.text.slice(-1), tokenId: result.tokenIds.at(-1) });
  expect(result.logProbabilities).toHaveLength(result.tokenIds.length);
});

test("without the option there are none, and with no others an empty list", async () => {
  const { logProbabilities: _, topLogProbabilities: __, ...plain } = call;
  const { pieces, result } = await streamed(plain);
  expect(result).not.toHaveProperty("logProbabilities");
  expect(pieces.some((piece) => "logProbability" in piece)).toBe(false);
  const one = await model.complete({ ...plain, logProbabilities: true });
  const none: readonly TokenLogProbability[] = [];
  expect(one.logProbabilities!.map(({ topLogProbabilities }) => topLogProbabilities)).toEqual(new Array(6).fill(none));
});

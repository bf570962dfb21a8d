/** Penalties and bias of a generation: against a reference made from the logits, and beside other requests. */
import { type EngineGenerateOptions, type LanguageModel, type PenaltyOptions, RubricateError } from "../../lib/index";
import { adapterOf, failed, loadModel, withEngine } from "./engine_support";

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel();
});
afterAll(() => model.dispose());

const prompt = [1, 30, 70, 30, 5, 12];
const fround = Math.fround;

/** Greedy ids, by the definitions in native/ops/sampling/sampling.h. */
async function expected(options: PenaltyOptions & { repetitionPenalty?: number }, count: number): Promise<number[]> {
  const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, logitBias = {} } = options;
  const ids: number[] = [];
  for (; ids.length < count; ) {
    const all = await model.logits([...prompt, ...ids]);
    const logits = all.slice(-model.vocabularySize);
    for (const [id, bias] of Object.entries(logitBias)) logits[Number(id)]! += bias;
    for (const id of new Set([...prompt, ...ids])) {
      const times = ids.filter((one) => one === id).length;
      const logit = logits[id]!;
      const scaled = fround(logit < 0 ? logit * fround(repetitionPenalty) : logit / fround(repetitionPenalty));
      const subtracted = fround(fround(fround(frequencyPenalty) * times) + fround(presencePenalty));
      logits[id] = times > 0 ? scaled - subtracted : scaled;
    }
    ids.push(logits.indexOf(Math.max(...logits)));
  }
  return ids;
}

const ban = (ids: number[]) => Object.fromEntries(ids.map((id) => [id, -100]));
const cases: [string, (plain: number[]) => Parameters<typeof expected>[0]][] = [
  ["frequencyPenalty", () => ({ frequencyPenalty: 1.5 })],
  ["a negative presencePenalty", () => ({ frequencyPenalty: -2, presencePenalty: -2 })],
  ["presencePenalty", () => ({ presencePenalty: 2 })],
  ["logitBias", (plain) => ({ logitBias: ban(plain.slice(0, 2)) })],
  [
    "all of them",
    (plain) => ({
      repetitionPenalty: 1.3,
      frequencyPenalty: 0.7,
      presencePenalty: -0.4,
      logitBias: { ...ban([plain[0]!]), [plain[3]!]: 1.25 },
    }),
  ],
];

test.each(cases)("%s: greedy ids are those of the changed logits, alone and beside others", async (_, of) => {
  const plain = await expected({}, 12);
  const options = of(plain);
  const ids = await expected(options, 12);
  expect(ids).not.toEqual(plain);
  const call = { tokenIds: prompt, maxNewTokens: 12, ...options };
  expect((await model.complete(call)).tokenIds).toEqual(ids);
  await withEngine({ model }, async (engine) => {
    await engine.adapters.set("a", adapterOf(model, 2));
    const others: EngineGenerateOptions[] = [
      { tokenIds: prompt, maxNewTokens: 20, presencePenalty: 1.9, logitBias: { 7: 3 } },
      { tokenIds: prompt, maxNewTokens: 20, adapter: "a", temperature: 1, seed: 5, frequencyPenalty: 1 },
    ];
    const beside = others.map((other) => engine.complete(other));
    expect((await engine.complete(call)).tokenIds).toEqual(ids);
    await Promise.all(beside);
  });
});

test("a bias of 100 all but forces a token, whether it is in an object or a Map, and also with a temperature", async () => {
  const ids = new Array(5).fill(77);
  const call = { tokenIds: prompt, maxNewTokens: 5 };
  for (const options of [
    { logitBias: { 77: 100 } },
    { logitBias: new Map([[77, 100]]) },
    { logitBias: { 77: 100 }, temperature: 1, seed: 3 },
  ])
    expect((await model.complete({ ...call, ...options })).tokenIds).toEqual(ids);
});

test("a bias of an id beyond the vocabulary, and one of 100,000 ids, are refused before any work", async () => {
  const call = (logitBias: Record<string, number>) => failed(() => model.complete({ tokenIds: prompt, logitBias }));
  expect(await call({ [model.vocabularySize]: 1 })).toMatchObject({
    code: "ERR_ARGUMENT",
    message: `Expected token ids from 0 to ${model.vocabularySize - 1} for logitBias but received "${model.vocabularySize}" of type string`,
  });
  const error = await call(Object.fromEntries(Array.from({ length: 100_000 }, (_, id) => [id, 1])));
  expect(error).toBeInstanceOf(RubricateError);
  expect(error).toMatchObject({
    code: "ERR_ARGUMENT",
    message: "Expected at most 1024 token ids for logitBias but received more",
  });
});

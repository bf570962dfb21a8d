/** Scores of a model and of an Engine: those of the same tokens in a generation and in training, whatever shares the steps. */
import {
  Dataset,
  type Engine,
  type EngineScoreOptions,
  evaluate,
  type LanguageModel,
  RedAdapter,
  type ScoreOptions,
  type ScoreResult,
} from "../../lib/index";
import { adapterOf, failed, loadModel, until, withEngine } from "./engine_support";

let model: LanguageModel;
let adapter: RedAdapter;
beforeAll(async () => {
  model = await loadModel();
  adapter = adapterOf(model, 2);
});
afterAll(() => model.dispose());

const messages = [{ role: "user", content: "What of the Navy?" }];
const tokenIds = Array.from({ length: 70 }, (_, at) => 1 + ((at * 37) % 900));

test("they have the bits that a generation's log-probabilities have, by each version, alone and beside others", async () => {
  await withEngine({ model }, async (engine) => {
    await engine.adapters.set("a", adapterOf(model, 1));
    await engine.adapters.set("a", adapter);
    const sums = new Set<number>();
    for (const name of [undefined, "a", "a@1", adapter]) {
      const call = { tokenIds, maxNewTokens: 90, temperature: 1, seed: 3, logProbabilities: true, adapter: name };
      const generated = await engine.complete(call);
      const expected = generated.logProbabilities!;
      const ask = () => engine.score({ tokenIds, continuation: generated.tokenIds, adapter: name });
      const alone = await ask();
      expect(alone).toMatchObject({ tokenIds: generated.tokenIds, logProbabilities: expected, promptTokens: 70 });
      expect(alone.adapter).toEqual(generated.adapter);
      expect(alone.sum).toBe(expected.reduce((sum, one) => sum + one.logProbability, 0));
      const others = [1, 2, 3].map((seed) => engine.complete({ ...call, tokenIds: [seed, 7], seed, adapter: "a" }));
      for (const beside of await Promise.all([ask(), ask(), ask()])) expect(beside.logProbabilities).toEqual(expected);
      await Promise.all(others);
      sums.add(alone.sum);
    }
    expect(sums.size).toBe(3);
    expect(engine.stats().requests).toBe(0);
  });
});

/** The likeliest ids in the place behind `ids`, by the definition, in double; of equal logits the lower id. */
async function likeliest(ids: number[], count: number): Promise<[number, number][]> {
  const logits = Array.from((await model.logits(ids)).slice(-model.vocabularySize));
  const most = Math.max(...logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0);
  const order = logits.map((_, id) => id).sort((a, b) => logits[b]! - logits[a]! || a - b);
  return order.slice(0, count).map((id) => [id, logits[id]! - most - Math.log(sum)]);
}

test("the likeliest tokens in the place of each are those of the model's logits", async () => {
  const before = tokenIds.slice(0, 5);
  const continuation = tokenIds.slice(5, 12);
  const plain = await model.score({ tokenIds: before, continuation });
  const { logProbabilities } = await model.score({ tokenIds: before, continuation, topLogProbabilities: 4 });
  for (const [at, { topLogProbabilities, ...own }] of logProbabilities.entries()) {
    expect({ ...own, topLogProbabilities: [] }).toEqual(plain.logProbabilities[at]);
    const expected = await likeliest([...before, ...continuation.slice(0, at)], 4);
    expect(topLogProbabilities.map(({ tokenId }) => tokenId)).toEqual(expected.map(([id]) => id));
    for (const [rank, { logProbability }] of topLogProbabilities.entries())
      expect(logProbability).toBeCloseTo(expected[rank]![1], 5);
  }
});

test("the likeliest tokens have the bits that a generation tells, by each version, alone and beside others", async () => {
  await withEngine({ model }, async (engine) => {
    await engine.adapters.set("a", adapter);
    for (const name of [undefined, "a"]) {
      const asked = { logProbabilities: true, topLogProbabilities: 20, adapter: name };
      const call = { tokenIds, maxNewTokens: 70, temperature: 1, seed: 5 };
      const generated = await engine.complete({ ...call, ...asked });
      const scoring = { tokenIds, continuation: generated.tokenIds, adapter: name };
      const ask = (topLogProbabilities: number) => engine.score({ ...scoring, topLogProbabilities });
      expect((await ask(20)).logProbabilities).toEqual(generated.logProbabilities);
      const others = [1, 2, 3].map((seed) => engine.complete({ ...call, tokenIds: [seed, 7], seed, adapter: "a" }));
      const [all, few, none] = await Promise.all([ask(20), ask(2), ask(0)]);
      await Promise.all(others);
      expect(all.logProbabilities).toEqual(generated.logProbabilities);
      const cut = (count: number) =>
        generated.logProbabilities!.map((one) => ({
          ...one,
          topLogProbabilities: one.topLogProbabilities.slice(0, count),
        }));
      expect(few.logProbabilities).toEqual(cut(2));
      expect(none.logProbabilities).toEqual(cut(0));
    }
  });
});

test("what is found in the cache ends before the first token to score, and changes no bit", async () => {
  await withEngine({ model }, async (engine) => {
    const whole = await engine.score({ tokenIds: tokenIds.slice(0, 1), continuation: tokenIds.slice(1) });
    expect(whole.cachedTokens).toBe(0);
    const again = await engine.score({ tokenIds: tokenIds.slice(0, 1), continuation: tokenIds.slice(1) });
    expect(again).toMatchObject({ cachedTokens: 0, logProbabilities: whole.logProbabilities });
    const end = await engine.score({ tokenIds: tokenIds.slice(0, 65), continuation: tokenIds.slice(65) });
    expect(end).toMatchObject({ cachedTokens: 64, logProbabilities: whole.logProbabilities.slice(64) });
    const before = await engine.score({ tokenIds: tokenIds.slice(0, 64), continuation: tokenIds.slice(64) });
    expect(before).toMatchObject({ cachedTokens: 0, logProbabilities: whole.logProbabilities.slice(63) });
  });
});

test.each([
  ["a prompt and its completion", "We ask about ", "the tariff and the Navy."],
  ["a token over the joint", "Fellow cit", "izens of the Senate"],
  ["no space between", "Navy", "."],
  ["a whole text", "", "The people of the United States"],
])("a text has the ids and the loss of a training row: %s", async (_, prompt, completion) => {
  const tokenizer = model.requireTokenizer();
  const row = prompt === "" ? { text: completion } : { prompt, completion };
  const data = await Dataset.fromRows([row], { tokenizer, maxLength: 100 });
  const [example] = await data.examples([0]);
  await data.dispose();
  await withEngine({ model }, async (engine) => {
    const scored = await engine.score({ prompt, continuation: completion, adapter });
    const learned = Array.from(example!.tokenIds).slice(scored.promptTokens);
    expect(learned.slice(0, scored.tokenIds.length)).toEqual(scored.tokenIds);
    expect(learned.length - scored.tokenIds.length).toBeLessThanOrEqual(1); // the end token
    const supervised = Uint8Array.from(example!.supervised, (_, at) => Number(at >= scored.promptTokens));
    const { loss, tokens } = await evaluate(model, [{ ...example!, supervised }], { adapter });
    const before = Array.from(example!.tokenIds).slice(0, scored.promptTokens);
    const { sum } = await engine.score({ tokenIds: before, continuation: learned, adapter });
    expect(tokens).toBe(learned.length);
    expect(-sum / tokens).toBeCloseTo(loss, 12);
  });
});

test("after messages and ids a text goes on in the middle", async () => {
  const tokenizer = model.requireTokenizer();
  await withEngine({ model }, async (engine) => {
    const before = Array.from(tokenizer.encodeChat(messages, { addGenerationPrompt: true }));
    const expected = Array.from(tokenizer.encodeStart("the Navy", 100, true));
    const after = await engine.score({ messages, continuation: "the Navy" });
    expect(after).toMatchObject({ promptTokens: before.length, tokenIds: expected });
    const ids = await engine.score({ tokenIds: before, continuation: "the Navy" });
    expect(ids).toMatchObject({ tokenIds: expected, sum: after.sum });
  });
});

test("prompt and continuation may fill the context, and no more", async () => {
  await withEngine({ model }, async (engine) => {
    const ids = new Array(model.contextLength - 1).fill(5);
    const score = (continuation: EngineScoreOptions["continuation"]) => engine.score({ tokenIds: ids, continuation });
    expect((await score([7])).logProbabilities).toHaveLength(1);
    expect(await failed(() => score([7, 8]))).toMatchObject({
      code: "ERR_CONTEXT_LENGTH",
      message:
        "Expected at most 1 tokens (what the prompt leaves of the model's context) for continuation but received 2",
    });
    expect(await failed(() => score({ length: 2 ** 40 }))).toMatchObject({ code: "ERR_CONTEXT_LENGTH" });
    expect(await failed(() => score("a b c"))).toMatchObject({ code: "ERR_CONTEXT_LENGTH" });
  });
});

const argument = (message: string) => ({ code: "ERR_ARGUMENT", message: expect.stringContaining(message) });
test.each<[string, object, object]>([
  ["no continuation", { continuation: undefined }, argument("Expected a text or token ids for continuation")],
  ["a number", { continuation: 5 }, argument("Expected a text or token ids for continuation but received 5")],
  ["an empty text", { continuation: "" }, argument("Expected at least one token for continuation")],
  ["no ids", { continuation: [] }, argument("Expected at least one token for continuation")],
  ["an id that is none", { continuation: [1, 2.5] }, argument("for continuation[1] but received 2.5")],
  ["NaN", { continuation: [Number.NaN] }, argument("for continuation[0] but received NaN")],
  ["an id beyond the vocabulary", { continuation: [1e6] }, argument("for continuation[0] but received 1000000")],
  ["no prompt", { tokenIds: undefined }, argument("Expected exactly one of prompt, messages and tokenIds")],
  ["two prompts", { prompt: "a" }, argument("Expected exactly one of prompt, messages and tokenIds")],
  ["an option of generate", { temperature: 1 }, argument('Unknown option "temperature" for score')],
  ...[-1, 21, 1.5, Number.NaN, "3", true].map((topLogProbabilities): [string, object, object] => [
    `${topLogProbabilities} of type ${typeof topLogProbabilities} for topLogProbabilities`,
    { topLogProbabilities },
    argument("Expected an integer from 0 to 20 for topLogProbabilities but received"),
  ]),
  ["vLLM's name for it", { prompt_logprobs: 1 }, argument("did you mean topLogProbabilities?")],
  ["an unknown adapter", { adapter: "nobody" }, { code: "ERR_ADAPTER_UNKNOWN" }],
  ["a signal that fired", { signal: AbortSignal.abort("before") }, { code: "ERR_ABORTED", cause: "before" }],
  ["no signal", { signal: {} }, { code: "ERR_ARGUMENT" }],
  ["a weight of 0", { weight: 0 }, { code: "ERR_ARGUMENT" }],
])("bad input has its code, and disturbs nobody: %s", async (_, given, error) => {
  await withEngine({ model }, async (engine) => {
    const call = { tokenIds: [1, 5, 9], continuation: [7, 8] };
    const alone = await engine.score(call);
    const [, beside] = await Promise.all([
      expect(engine.score({ ...call, ...given } as EngineScoreOptions)).rejects.toMatchObject(error),
      engine.score(call),
    ]);
    expect(beside.sum).toBe(alone.sum);
    expect(engine.stats().requests).toBe(0);
  });
});

test("a signal, a deadline, draining and closing end it as they end a generation", async () => {
  const call = { tokenIds, continuation: new Array(180).fill(9) };
  const noPages = (engine: Engine) =>
    until(() => engine.stats().freePages + engine.stats().cachedPages === engine.stats().pages);
  await withEngine({ model }, async (engine) => {
    const controller = new AbortController();
    const aborted = failed(() => engine.score({ ...call, signal: controller.signal }));
    await until(() => engine.stats().waiting + engine.stats().running > 0 || engine.stats().steps > 0);
    controller.abort("enough");
    expect([undefined, "ERR_ABORTED"]).toContain((await aborted)?.code); // it may have been done
    await noPages(engine);
    const score = engine.score(call);
    const drained = engine.drain();
    expect(await failed(() => engine.score(call))).toMatchObject({ code: "ERR_STATE" });
    await drained;
    expect((await score).tokenIds).toHaveLength(180);
  });
  await withEngine({ model }, async (engine) => {
    const closed = failed(() => engine.score(call));
    await engine.close();
    expect(await closed).toMatchObject({ code: "ERR_ABORTED", message: "The engine was closed" });
    expect(await failed(() => engine.score(call))).toMatchObject({ code: "ERR_DISPOSED" });
  });
});

test("a model scores as an Engine does, without one and beside one", async () => {
  const calls: ScoreOptions[] = [
    { tokenIds, continuation: [7, 8, 9] },
    { tokenIds, continuation: [7, 8, 9], adapter },
    { prompt: "We ask about ", continuation: "the tariff", adapter: null },
    { messages, continuation: "the Navy", adapter },
  ];
  const alone: ScoreResult[] = [];
  for (const call of calls) alone.push(await model.score(call));
  expect(new Set(alone.map(({ sum }) => sum)).size).toBe(4);
  for (const { tokenIds: ids, logProbabilities, adapter: named } of alone) {
    expect(logProbabilities.map(({ tokenId }) => tokenId)).toEqual(ids);
    expect(named).toBeNull();
  }
  const withoutTimes = ({ queuedMs: _, cachedTokens: __, ...rest }: ScoreResult) => rest;
  const expected = alone.map(withoutTimes);
  const together = await Promise.all(calls.map((call) => model.score(call)));
  expect(together.map(withoutTimes)).toEqual(expected);
  await until(() => !model.native.pendingJobs);
  await withEngine({ model }, async (engine) => {
    for (const [at, call] of calls.entries()) {
      expect(withoutTimes(await engine.score(call as EngineScoreOptions))).toEqual(expected[at]);
      expect(withoutTimes(await model.score(call))).toEqual(expected[at]);
    }
    expect(engine.stats().requests).toBe(0);
  });
});

test("a model's scores check their options", async () => {
  const other = await loadModel();
  const call = { tokenIds: [1, 5, 9], continuation: [7, 8] };
  const foreign = RedAdapter.create(other);
  const codes: [object, object][] = [
    [{ tenant: "a" }, argument('Unknown option "tenant" for score')],
    [{ adapter: "a" }, argument("for adapter")],
    [{ adapter: foreign }, { code: "ERR_FOREIGN" }],
    [{ continuation: 5 }, argument("Expected a text or token ids for continuation but received 5")],
    [{ continuation: [] }, argument("Expected at least one token for continuation")],
    [{ prompt: "a" }, argument("Expected exactly one of prompt, messages and tokenIds")],
    [{ topLogProbabilities: 21 }, argument("Expected an integer from 0 to 20 for topLogProbabilities but received 21")],
    [{ signal: AbortSignal.abort("before") }, { code: "ERR_ABORTED", cause: "before" }],
  ];
  for (const [given, error] of codes)
    expect(await failed(() => model.score({ ...call, ...given }))).toMatchObject(error);
  expect(await failed(() => model.score(undefined as never))).toMatchObject({ code: "ERR_ARGUMENT" });
  other.dispose();
  expect(await failed(() => other.score(call))).toMatchObject({ code: "ERR_DISPOSED" });
});

test("a model's memory has the pages of its engine's keys and values, until that is closed", async () => {
  const own = await loadModel();
  const pages = () => own.memory().keysAndValues;
  expect(pages()).toBe(0);
  await withEngine({ model: own }, async (engine) => {
    expect(pages()).toBe(0);
    await engine.score({ tokenIds, continuation: [7] }); // 70 positions
    const { pageBytes } = engine.stats();
    await until(() => pages() > 0);
    expect(pages()).toBe(2 * pageBytes);
    await engine.score({ tokenIds: [1], continuation: [7] }); // pages that were given back are allocated still
    expect(pages()).toBeGreaterThanOrEqual(2 * pageBytes);
    expect(pages()).toBeLessThanOrEqual(3 * pageBytes);
  });
  expect(pages()).toBe(0);
  await own.score({ tokenIds, continuation: [7] });
  await until(() => pages() > 0);
  own.dispose();
  expect(pages).toThrow(expect.objectContaining({ code: "ERR_DISPOSED" }));
});

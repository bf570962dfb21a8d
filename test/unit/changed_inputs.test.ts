/** What a call was given is read when the call is made: a caller may reuse an array or edit a message at once. */
import type { Engine, EngineGenerateOptions, EngineScoreOptions, LanguageModel } from "../../lib/index";
import { loadModel, withEngine } from "./engine_support";

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel();
});
afterAll(() => model.dispose());

const ids = Array.from({ length: 40 }, (_, at) => 1 + ((at * 37) % 900));
type Generating = Omit<EngineGenerateOptions, "adapter">;
type Scoring = Omit<EngineScoreOptions, "adapter">;

const conversation = () => [{ role: "user", content: "What of the Navy?" }];

/** Calls with options that each makes anew, and what a caller then does to them. */
const generations: Record<string, () => [Generating, () => void]> = {
  "token ids": () => {
    const tokenIds = Int32Array.from(ids);
    return [{ tokenIds, maxNewTokens: 8 }, () => tokenIds.fill(3)];
  },
  "an array of token ids": () => {
    const tokenIds = [...ids];
    return [{ tokenIds, maxNewTokens: 8 }, () => tokenIds.splice(0, 39)];
  },
  messages: () => {
    const messages = conversation();
    return [{ messages, maxNewTokens: 8 }, () => Object.assign(messages[0]!, { content: "And the Treasury?" })];
  },
  "a list of messages": () => {
    const messages = conversation();
    return [{ messages, maxNewTokens: 8 }, () => messages.push({ role: "assistant", content: "It" })];
  },
};
const scores: Record<string, () => [Scoring, () => void]> = {
  "the prompt's token ids": () => {
    const tokenIds = Int32Array.from(ids);
    return [{ tokenIds, continuation: [7, 8, 9] }, () => tokenIds.fill(3)];
  },
  "a continuation": () => {
    const continuation = Int32Array.from([7, 8, 9]);
    return [{ tokenIds: ids, continuation }, () => continuation.fill(3)];
  },
  "a continuation of a text": () => {
    const continuation = [7, 8, 9];
    return [{ prompt: "The people ", continuation }, () => continuation.reverse()];
  },
  messages: () => {
    const messages = conversation();
    return [{ messages, continuation: " The" }, () => Object.assign(messages[0]!, { content: "And the Treasury?" })];
  },
};

type Caller = LanguageModel | Engine;
const called = async (run: (caller: Caller) => Promise<unknown>) => {
  await run(model);
  await withEngine({ model }, run);
};

test.each(Object.keys(generations))("a generation does not see changes of %s", async (name) => {
  await called(async (caller) => {
    const [untouched] = generations[name]!();
    const expected = await caller.complete(untouched);
    const [options, change] = generations[name]!();
    const completing = caller.complete(options);
    change();
    expect((await completing).tokenIds).toEqual(expected.tokenIds);
    const [again, changeAgain] = generations[name]!();
    const pieces = caller.generate(again);
    const first = pieces.next(); // the call is made here
    changeAgain();
    await first;
    for (;;) {
      const next = await pieces.next();
      if (!next.done) continue;
      expect(next.value.tokenIds).toEqual(expected.tokenIds);
      break;
    }
  });
});

test.each(Object.keys(scores))("a score does not see changes of %s", async (name) => {
  await called(async (caller) => {
    const [untouched] = scores[name]!();
    const expected = await caller.score(untouched);
    const [options, change] = scores[name]!();
    const scoring = caller.score(options);
    change();
    const { tokenIds, sum, promptTokens } = await scoring;
    expect({ tokenIds, sum, promptTokens }).toEqual({
      tokenIds: expected.tokenIds,
      sum: expected.sum,
      promptTokens: expected.promptTokens,
    });
  });
});

test("a continuation that cannot fit is refused before its ids are read", async () => {
  const continuation = new Proxy(
    { length: 1e9 },
    { get: (target, key) => (key === "length" ? target.length : expect(key).toBe("length")) },
  ) as unknown as ArrayLike<number>;
  const room = model.contextLength - ids.length;
  await expect(model.score({ tokenIds: ids, continuation })).rejects.toMatchObject({
    code: "ERR_CONTEXT_LENGTH",
    message: expect.stringContaining(`at most ${room} tokens`),
  });
});

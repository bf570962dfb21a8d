/** Examples of a training run are copied and checked against the model's vocabulary; a disposed dataset is refused. */
import { Dataset } from "../../lib/data/dataset";
import type { Example } from "../../lib/data/types";
import { embeddedModelDir } from "../../lib/embedded";
import { Tokenizer } from "../../lib/tokenizer/tokenizer";
import { evaluate } from "../../lib/train/evaluate";
import { exampleSource } from "../../lib/train/examples";
import { fakeModel, hooks } from "./fake_native";
import { newTrainer, outcomeOf, someExamples } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
const vocabulary = 50;
beforeEach(() => {
  hooks.onJob = undefined;
});

const rows = ["one two", "three four", "a longer row of some words"].map((text) => ({ text }));
async function dataset(): Promise<Dataset> {
  return Dataset.fromRows(rows, { tokenizer: await Tokenizer.fromPretrained(embeddedModelDir()), maxLength: 32 });
}

describe("an array", () => {
  const changes: [string, (train: Example[]) => void][] = [
    ["whose ids are overwritten", (train) => train.map(({ tokenIds }) => tokenIds.fill(-7))],
    ["whose masks are overwritten", (train) => train.map(({ supervised }) => supervised.fill(0))],
    ["that is emptied", (train) => train.splice(0)],
    ["that grows", (train) => train.unshift(...someExamples(5, 3))],
    ["whose examples are replaced", (train) => train.fill({} as Example)],
  ];
  test.each(changes)("%s during a run does not affect it", async (_, change) => {
    const expected = newTrainer(model, { train: someExamples(13) });
    await outcomeOf(expected.trainer);
    const train = someExamples(13);
    const { trainer, adapter } = newTrainer(model, { train });
    for await (const event of trainer.run()) if (event.type === "start") change(train);
    expect(adapter.vectors()).toEqual(expected.adapter.vectors());
  });

  test.each([vocabulary, 2 ** 31 - 1, -1])("with the id %d is refused before the first step", async (id) => {
    const train = someExamples(6);
    train[4]!.tokenIds[1] = id;
    const { steps } = hooks;
    const expected = {
      code: "ERR_ARGUMENT",
      message: expect.stringMatching(
        new RegExp(`^Expected a token id from 0 to 49 for train\\[4\\]\\.tokenIds\\[1\\] but received ${id}`),
      ),
    };
    expect((await outcomeOf(newTrainer(model, { train }).trainer)).error).toMatchObject(expected);
    const evaluated = outcomeOf(newTrainer(model, { eval: train, train: someExamples(6) }).trainer);
    expect((await evaluated).error).toMatchObject({ message: expect.stringContaining("eval[4].tokenIds[1]") });
    await expect(evaluate(model, train)).rejects.toMatchObject({ message: expect.stringContaining("data[4]") });
    expect(hooks.steps).toBe(steps);
  });

  test("with the last id of the vocabulary is accepted", async () => {
    const train = someExamples(6);
    train[4]!.tokenIds[1] = vocabulary - 1;
    expect((await outcomeOf(newTrainer(model, { train }).trainer)).error).toBeUndefined();
  });
});

describe("an odd array", () => {
  const one = someExamples(1)[0]!;
  const ids = (parts: object) => [{ ...one, tokenIds: Object.assign(Int32Array.of(1, 2), parts) }];
  const species = [one];
  Object.assign(species, {
    constructor: {
      [Symbol.species]: () => {
        throw new TypeError("species");
      },
    },
  });
  const noMethod = () => {
    throw new TypeError("slice");
  };
  const pair = { tokenIds: Int32Array.of(1, 2), supervised: Uint8Array.of(0, 1), line: 1 };
  const oddIds = { constructor: { [Symbol.species]: () => [9] }, length: 7, slice: () => [1, 2] };
  test.each<[string, unknown, unknown]>([
    ["of another species", species, [one]],
    ["with a slice of its own", Object.assign([one], { slice: noMethod, entries: noMethod }), [one]],
    ["that is a proxy", new Proxy([one], {}), [one]],
    [
      "whose ids have methods of their own",
      [{ ...pair, tokenIds: Object.defineProperties(Int32Array.of(1, 2), Object.getOwnPropertyDescriptors(oddIds)) }],
      [pair],
    ],
  ])("%s counts as its elements", async (_, odd, plain) => {
    const { fingerprint } = await exampleSource(odd as Example[], "data", vocabulary);
    expect(fingerprint).toBe((await exampleSource(plain as Example[], "data", vocabulary)).fingerprint);
  });

  const fake = (tag: string) => ({ [Symbol.toStringTag]: tag, length: 2, 0: 1, 1: 1, slice: () => Int32Array.of(1) });
  const detached = Int32Array.of(1, 2);
  structuredClone(detached, { transfer: [detached.buffer] });
  test.each<[string, unknown, RegExp]>([
    ["four thousand million holes", new Array(4e9), /^Expected an example for data\[0\] but received undefined/],
    ["a hole", Object.assign(new Array(3), { 0: one, 2: one }), /^Expected an example for data\[1\] but/],
    ["ids of a fake tag", [{ ...one, tokenIds: fake("Int32Array") }], /^Expected an Int32Array .* data\[0\].tokenIds/],
    ["a mask of a fake tag", [{ ...one, supervised: fake("Uint8Array") }], /^Expected a Uint8Array .* data\[0\].super/],
    ["ids that were transferred", [{ ...one, tokenIds: detached }], /an example for data\[0\] but reading it failed/],
    ["a getter that throws", ids({}).map(() => Object.defineProperty({}, "tokenIds", { get: noMethod })), /slice$/],
    ["no array", { length: 1, 0: one }, /^Expected a Dataset or an array of examples for data but received/],
  ])("with %s is refused immediately", async (_, odd, says) => {
    const start = performance.now();
    const expected = { code: "ERR_ARGUMENT", message: expect.stringMatching(says) };
    await expect(evaluate(model, odd as Example[])).rejects.toMatchObject(expected);
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

describe("a dataset", () => {
  test("of another vocabulary is refused with its line", async () => {
    await using data = await dataset();
    const says = {
      code: "ERR_DATA",
      message: expect.stringMatching(/^Expected token ids from 0 to 49, .* but line [123] of the data has \d+, ".*"; /),
    };
    expect((await outcomeOf(newTrainer(model, { train: data }).trainer)).error).toMatchObject(says);
    await expect(evaluate(model, data)).rejects.toMatchObject(says);
  });

  test("that was disposed of is refused, and so is its part", async () => {
    const data = await dataset();
    const { train } = data.split(0.4, 1);
    await data.dispose();
    for (const one of [data, train])
      for (const options of [{ train: one }, { train: one, maxSteps: 3 }, { eval: one }, { train: one, packing: true }])
        expect((await outcomeOf(newTrainer(model, options).trainer)).error).toMatchObject({ code: "ERR_DISPOSED" });
    await expect(evaluate(model, data)).rejects.toMatchObject({ code: "ERR_DISPOSED" });
  });
});

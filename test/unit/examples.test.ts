/** Examples as training takes them: a copy, with ids of the model's vocabulary, of a dataset that is there. */
import { Dataset } from "../../lib/data/dataset";
import type { Example } from "../../lib/data/types";
import { embeddedModelDir } from "../../lib/embedded";
import { Tokenizer } from "../../lib/model/tokenizer";
import { evaluate } from "../../lib/train/evaluate";
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
  test.each(changes)("%s during a run trains as it was", async (_, change) => {
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

  test("with the last id of the vocabulary is taken", async () => {
    const train = someExamples(6);
    train[4]!.tokenIds[1] = vocabulary - 1;
    expect((await outcomeOf(newTrainer(model, { train }).trainer)).error).toBeUndefined();
  });
});

describe("a dataset", () => {
  test("of another vocabulary is refused with its line", async () => {
    await using data = await dataset();
    const says = {
      code: "ERR_DATA",
      message: expect.stringMatching(/^Expected token ids from 0 to 49, .* but line [123] of the data has \d+; /),
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

/** Checks of penalties, logit bias and log-probabilities: what they accept, at their limits and one past them. */
import {
  type LogProbabilityOptions,
  type PenaltyOptions,
  penaltyOptions,
  topLogProbabilitiesOf,
} from "../../lib/generate/sampling_options";
import { limits } from "../../lib/limits";

const vocabulary = 2000;
const checked = (options: unknown) => penaltyOptions(options as PenaltyOptions, vocabulary);
const top = (options: unknown) => topLogProbabilitiesOf(options as LogProbabilityOptions);
const argument = (message: string) => expect.objectContaining({ code: "ERR_ARGUMENT", message });

const biases = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, id) => [id, 1]));

test("without options nothing changes", () => {
  expect(checked({})).toEqual({
    frequencyPenalty: 0,
    presencePenalty: 0,
    logitBias: null,
  });
  expect(top({})).toBe(-1);
});

test("penalties are numbers from -2 to 2", () => {
  expect(checked({ frequencyPenalty: -2, presencePenalty: 2 })).toMatchObject({
    frequencyPenalty: -2,
    presencePenalty: 2,
  });
  for (const name of ["frequencyPenalty", "presencePenalty"])
    for (const bad of [2.001, -2.001, Number.NaN, Number.POSITIVE_INFINITY, "1", true, [1]])
      expect(() => checked({ [name]: bad })).toThrow(
        expect.objectContaining({
          code: "ERR_ARGUMENT",
          message: expect.stringContaining(`Expected a number from -2 to 2 for ${name} but received`),
        }),
      );
});

test("a logit bias is an object or a Map, and goes to the core by ascending id", () => {
  const ids = Int32Array.of(3, 20, 1999);
  const values = Float32Array.of(-100, 0.5, 100);
  for (const logitBias of [
    { 1999: 100, 20: 0.5, 3: -100 },
    new Map([
      [1999, 100],
      [3, -100],
      [20, 0.5],
    ]),
    Object.assign(Object.create({ 4: 1 }), { 1999: 100, 20: 0.5, 3: -100 }),
  ])
    expect(checked({ logitBias })).toMatchObject({ logitBias: { ids, biases: values } });
});

test.each([
  [{ 2000: 1 }, 'Expected token ids from 0 to 1999 for logitBias but received "2000" of type string'],
  [{ "-1": 1 }, 'Expected token ids from 0 to 1999 for logitBias but received "-1" of type string'],
  [{ "01": 1 }, 'Expected token ids from 0 to 1999 for logitBias but received "01" of type string'],
  [{ "": 1 }, 'Expected token ids from 0 to 1999 for logitBias but received "" of type string'],
  [{ "1e2": 1 }, 'Expected token ids from 0 to 1999 for logitBias but received "1e2" of type string'],
  [new Map([[1.5, 1]]), "Expected token ids from 0 to 1999 for logitBias but received 1.5"],
  [
    new Map<unknown, number>([
      ["1", 1],
      [1, 2],
    ]),
    "Expected each token id once for logitBias but received 1 twice",
  ],
  [{ 7: 100.5 }, "Expected a number from -100 to 100 for logitBias[7] but received 100.5"],
  [{ 7: Number.NaN }, "Expected a number from -100 to 100 for logitBias[7] but received NaN"],
  [{ 7: "1" }, 'Expected a number from -100 to 100 for logitBias[7] but received "1" of type string'],
])("a logit bias of %p is refused", (logitBias, message) => {
  expect(() => checked({ logitBias })).toThrow(argument(message));
});

test.each([[[1]], [Float32Array.of(1)], [new Set([1])], [Promise.resolve({})], ["1"], [1], [() => 1]])(
  "%p is no logit bias",
  (logitBias) => {
    expect(() => checked({ logitBias })).toThrow(
      expect.objectContaining({
        message: expect.stringMatching(/^Expected an object or a Map from token ids to numbers for logitBias/),
      }),
    );
  },
);

test("a logit bias has at most so many ids, and of more no more are read", () => {
  const most = limits.logitBiases;
  expect(checked({ logitBias: biases(most) }).logitBias?.ids).toHaveLength(most);
  const message = `Expected at most ${most} token ids for logitBias but received more`;
  expect(() => checked({ logitBias: biases(most + 1) })).toThrow(argument(message));
  let read = 0;
  class Counting extends Map<number, number> {
    override *[Symbol.iterator](): MapIterator<[number, number]> {
      for (let id = 0; id < 100_000; id++) {
        read++;
        yield [id, 1];
      }
    }
  }
  expect(() => checked({ logitBias: new Counting() })).toThrow(argument(message));
  expect(read).toBe(most + 1);
});

test("log-probabilities are asked for by true, with 0 to 20 others", () => {
  expect(top({ logProbabilities: true })).toBe(0);
  const { topLogProbabilities } = limits;
  expect(top({ logProbabilities: true, topLogProbabilities })).toBe(20);
  expect(top({ logProbabilities: false })).toBe(-1);
  for (const bad of [topLogProbabilities + 1, -1, 1.5, Number.NaN, "3"])
    expect(() => top({ logProbabilities: true, topLogProbabilities: bad })).toThrow(
      expect.objectContaining({
        code: "ERR_ARGUMENT",
        message: expect.stringContaining("Expected an integer from 0 to 20 for topLogProbabilities"),
      }),
    );
  expect(() => top({ logProbabilities: 1 })).toThrow(
    argument("Expected true or false for logProbabilities but received 1"),
  );
  expect(() => top({ topLogProbabilities: 3 })).toThrow(
    argument("Expected logProbabilities: true for topLogProbabilities but received undefined"),
  );
});

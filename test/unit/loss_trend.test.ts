/** Notices of a training loss that does not move, or that has broken away from that of the first step. */
import { Random } from "../../lib/data/random";
import { defaultLearningRate } from "../../lib/train/learning_rates";
import { LossTrend } from "../../lib/train/loss_trend";
import { fakeModel } from "./fake_native";
import { newTrainer, outcomeOf, someExamples } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const red = { method: "red", sites: ["ffn"], hidden: 64 } as const;
const usual = defaultLearningRate(red);

/** Noise of about a standard deviation of `size`, the same in every run. */
function noise(seed: number, size: number): () => number {
  const random = new Random(seed);
  return () => size * Math.sqrt(3) * ((2 * random.below(1 << 20)) / (1 << 20) - 1);
}

/** The notices of a run with these losses, with the steps after which they came. */
function noticesOf(lossAt: (step: number) => number, learningRate: number, { steps = 400, warmupSteps = 0 } = {}) {
  const trend = new LossTrend(learningRate, red, warmupSteps);
  const found: [number, string][] = [];
  for (let step = 1; step <= steps; step++) {
    const message = trend.add(lossAt(step));
    if (message !== undefined) found.push([step, message]);
  }
  return found;
}

describe("a loss that does not move with a low learning rate", () => {
  test("is reported once, 100 steps after the warm-up", () => {
    const random = noise(1, 0.3);
    const found = noticesOf(() => 4 + random(), usual / 100, { warmupSteps: 30 });
    expect(found).toEqual([
      [
        130,
        "The training loss has not moved in 130 steps, and the learning rate of 0.001 is far below the default of 0.1: raise " +
          'learningRate, or let learningRate "sweep" find one',
      ],
    ]);
  });

  test("is reported where it falls by less than its noise", () => {
    const random = noise(2, 0.3);
    expect(noticesOf((step) => 4 - 0.0001 * step + random(), usual / 10)).toHaveLength(1);
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8])("is not where it falls (noise %d)", (seed) => {
    const random = noise(seed, 0.3);
    expect(noticesOf((step) => 4 - 0.005 * step + random(), usual / 100)).toEqual([]);
  });

  test("is not with a rate near the default, which only a finished model explains", () => {
    const random = noise(3, 0.3);
    expect(noticesOf(() => 0.5 + random(), usual / 2)).toEqual([]);
  });
});

describe("a loss that does not fall with a high learning rate", () => {
  test("is reported once, if it is not below the first", () => {
    const random = noise(6, 0.3);
    expect(noticesOf((step) => (step === 1 ? 5.8 : 6) + random(), 3 * usual, { warmupSteps: 7 })).toEqual([
      [
        107,
        expect.stringMatching(
          /^The training loss is \d\.\d\d over the last 20 steps, not below the \d\.\d\d of the first step, and the learning rate of 0\.3\d* is far above the default of 0\.1: lower learningRate, or let learningRate "sweep" find one$/,
        ),
      ],
    ]);
  });

  test("is not with the default, nor where it is below the first", () => {
    const random = noise(6, 0.3);
    expect(noticesOf((step) => (step === 1 ? 5.8 : 6) + random(), usual)).toEqual([]);
    expect(noticesOf((step) => (step === 1 ? 5.8 : 5) + random(), 3 * usual)).toEqual([]);
  });
});

describe("a loss far above the first", () => {
  test("is reported once", () => {
    const random = noise(4, 0.3);
    const found = noticesOf((step) => (step === 1 ? 4 : 8) + random(), 3 * usual);
    expect(found).toHaveLength(1);
    expect(found[0]![0]).toBeLessThanOrEqual(22);
    expect(found[0]![1]).toMatch(
      /^The training loss has risen from [34]\.\d\d at the first step to [78]\.\d\d over the last 20: the learning rate of 0\.3\d* is too high; lower learningRate, or let learningRate "sweep" find one$/,
    );
  });

  test("is reported where it breaks away late", () => {
    const random = noise(5, 0.3);
    const found = noticesOf((step) => (step < 250 ? 4 - 0.01 * step : 9) + random(), usual);
    expect(found).toHaveLength(1);
    expect(found[0]![0]).toBeGreaterThan(250);
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8])("is not where the run learns (noise %d)", (seed) => {
    const random = noise(seed, 0.8);
    expect(noticesOf((step) => 4 * Math.exp(-step / 200) + 1 + random(), usual, { steps: 2000 })).toEqual([]);
  });
});

describe("a run", () => {
  const model = fakeModel();
  const train = someExamples(60);
  const messagesOf = async (options: object) => {
    const { events } = await outcomeOf(newTrainer(model, { train, maxSteps: 200, batchSize: 5, ...options }).trainer);
    return events.flatMap((event) => (event.type === "notice" ? [event.message] : []));
  };

  test("has a notice if its rate is far too low or too high, and none if it learns", async () => {
    expect(await messagesOf({ learningRate: 1e-9 })).toEqual([expect.stringContaining("has not moved in 100 steps")]);
    expect(await messagesOf({ learningRate: 30 })).toEqual([expect.stringContaining("lower learningRate")]);
    expect(await messagesOf({})).toEqual([]);
    expect(await messagesOf({ learningRate: undefined })).toEqual([]);
  });

  test("has none for data in their own order, whose loss may rise with them", async () => {
    expect(await messagesOf({ learningRate: 30, shuffle: false })).toEqual([]);
  });
});

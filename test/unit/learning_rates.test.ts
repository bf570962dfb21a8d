/** The default learning rate: by the method, the sites and the hidden size. */
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { identityOf } from "../../lib/train/identity";
import { defaultLearningRate } from "../../lib/train/learning_rates";
import type { TrainerOptions } from "../../lib/train/options";
import { checkedSettings } from "../../lib/train/settings";
import { fakeModel } from "./fake_native";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();

test.each<[object, object, number]>([
  [{}, {}, 0.1],
  [{ sites: ["ffn", "q"] }, {}, 0.03],
  [{ sites: ["attention"] }, {}, 0.03],
  [{}, { method: "full", adapter: undefined }, 0.001],
  [{}, { learningRate: undefined }, 0.1],
])("the default learning rate of an adapter of %j with %j is %d", (sites, options, learningRate) => {
  const settings = checkedSettings({
    model,
    adapter: RedAdapter.create(model, sites),
    train: [],
    ...options,
  } as TrainerOptions);
  expect(settings).toMatchObject({ learningRate, learningRateFrom: "default" });
  expect(identityOf(settings)).toMatchObject({ learningRate });
  expect(identityOf(settings)).not.toHaveProperty("learningRateFrom");
});

test("the default learning rate falls with the hidden size above 200, and is a short number", () => {
  const rates = [4, 200, 201, 768, 2048, 4096].map((hidden) =>
    [
      { method: "red", sites: ["ffn"], hidden } as const,
      { method: "red", sites: ["ffn", "v"], hidden } as const,
      { method: "full", sites: [], hidden } as const,
      { method: "lora", sites: ["q", "v"], hidden } as const,
      { method: "ia3", sites: ["k", "v", "ffn"], hidden } as const,
    ].map(defaultLearningRate),
  );
  expect(rates).toEqual([
    [0.1, 0.03, 0.001, 0.005, 0.06],
    [0.1, 0.03, 0.001, 0.005, 0.06],
    [0.1, 0.03, 0.001, 0.005, 0.06],
    [0.03, 0.008, 0.0003, 0.001, 0.02],
    [0.01, 0.003, 0.0001, 0.0005, 0.006],
    [0.005, 0.001, 0.00005, 0.0002, 0.003],
  ]);
});

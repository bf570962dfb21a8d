/** A sweep with the real core: afterwards the run has the same bits as with the rate given, also for all weights. */
import { RedAdapter } from "../../lib/adapter/red_adapter";
import type { Example } from "../../lib/data/types";
import type { StartEvent, TrainEvent } from "../../lib/train/events";
import type { TrainerOptions } from "../../lib/train/options";
import { Trainer } from "../../lib/train/trainer";
import { loadFixture } from "../parity/fixtures";

const examples: Example[] = Array.from({ length: 12 }, (_, at) => {
  const length = 3 + ((at * 7) % 11);
  return {
    tokenIds: Int32Array.from({ length }, (_, i) => (at * 31 + i * i * 17) % 128),
    supervised: new Uint8Array(length).fill(1),
    line: at + 1,
  };
});

/** Events of a run on a model of its own, without those that depend on the clock. */
async function losses(fixture: string, method: "red" | "full", options: Partial<TrainerOptions>) {
  const model = await loadFixture(fixture);
  try {
    const adapter = method === "red" ? RedAdapter.create(model) : undefined;
    const trainer = new Trainer({ model, adapter, method, train: examples, eval: 0.25, maxSteps: 250, ...options });
    const events: TrainEvent[] = [];
    for await (const event of trainer.run()) events.push(event);
    const { learningRate } = events.find((event): event is StartEvent => event.type === "start")!;
    return {
      trials: events.filter(({ type }) => type === "trial"),
      learningRate,
      losses: events.flatMap((event) => ("loss" in event ? [event.loss] : [])),
    };
  } finally {
    model.dispose();
  }
}

test.each([
  ["red", "gqa"],
  ["full", "gqa"],
  ["full", "gqa_bf16"],
] as const)("%s on %s", async (method, fixture) => {
  const swept = await losses(fixture, method, { learningRate: "sweep" });
  expect(swept.trials).toHaveLength(8);
  const given = await losses(fixture, method, { learningRate: swept.learningRate });
  expect(given.trials).toEqual([]);
  expect(swept.losses).toEqual(given.losses);
});

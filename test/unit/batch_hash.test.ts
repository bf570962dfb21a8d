/** The hash of a run's batches: the same for whatever is trained, another for other batches. */
import { rmSync } from "node:fs";
import type { Example } from "../../lib/data/types";
import type { NativeMicroBatch } from "../../lib/native";
import { stepDigest } from "../../lib/train/batch_hash";
import type { TrainerOptions } from "../../lib/train/options";
import { temporaryFolder } from "./failing_files";
import { fakeModel, hooks } from "./fake_native";
import { abortInJob, newTrainer, outcomeOf, someExamples } from "./training_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel();
afterEach(() => {
  hooks.onJob = undefined;
});

async function batchesOf(options: Partial<TrainerOptions> = {}): Promise<string | null> {
  const { summary, error } = await outcomeOf(newTrainer(model, options).trainer);
  expect(error).toBeUndefined();
  return summary!.batches;
}

test("does not depend on what is trained, nor how, nor on evaluations", async () => {
  const hash = await batchesOf();
  expect(hash).toMatch(/^[0-9a-f]{64}$/);
  expect(await batchesOf()).toBe(hash);
  expect(await batchesOf({ learningRate: 1, weightDecay: 0.1, schedule: "constant" })).toBe(hash);
  expect(await batchesOf({ eval: someExamples(4, 30), evalEverySteps: 1 })).toBe(hash);
});

/** The examples with one of them changed. */
function changed(change: (example: Example) => Partial<Example>): Example[] {
  return someExamples(13).map((example, at) => (at === 7 ? { ...example, ...change(example) } : example));
}
const first = (array: Int32Array) => array.map((id, at) => (at === 0 ? id + 1 : id));
const lastAlone = (array: Uint8Array) => array.map((_, at) => (at === array.length - 1 ? 1 : 0));

test.each<[string, Partial<TrainerOptions>]>([
  ["seed", { seed: 7 }],
  ["order", { shuffle: false }],
  ["size", { batchSize: 4 }],
  ["micro-batches of a step", { gradientAccumulationSteps: 2 }],
  ["number of steps", { epochs: undefined, maxSteps: 9 }],
  ["token", { train: changed(({ tokenIds }) => ({ tokenIds: first(tokenIds) })) }],
  ["supervised tokens", { train: changed(({ supervised }) => ({ supervised: lastAlone(supervised) })) }],
])("differs with other batches: %s", async (_, options) => {
  expect(await batchesOf(options)).not.toBe(await batchesOf());
});

test("of a resumed run is not known", async () => {
  const outputDir = temporaryFolder();
  await outcomeOf(newTrainer(model, { outputDir }).trainer, { signal: abortInJob(4) });
  hooks.onJob = undefined;
  const { summary } = await outcomeOf(newTrainer(model, { outputDir }).trainer, { resume: true });
  expect(summary).toMatchObject({ steps: 10, batches: null });
  rmSync(outputDir, { recursive: true });
});

test("slots, which say what is trained, are not part of it; borders of sequences are", () => {
  const batch = (slots: number[], starts: number[]): NativeMicroBatch => ({
    tokenIds: Int32Array.of(1, 2, 3, 4),
    sequenceStarts: Int32Array.from(starts),
    targets: Int32Array.of(2, -1, 4, -1),
    slots: Int32Array.from(slots),
  });
  const digest = stepDigest([batch([0, 0], [0, 2, 4])]);
  expect(stepDigest([batch([1, 1], [0, 2, 4])])).toEqual(digest);
  expect(stepDigest([batch([0, 0], [0, 1, 4])])).not.toEqual(digest);
});

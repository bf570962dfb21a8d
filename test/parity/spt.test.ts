/** The weights that data is most sensitive to, against PyTorch's squared gradients in float64 (make_method_fixtures.py). */
import { join } from "node:path";
import { float32Values, readSafetensors } from "../../lib/files/safetensors";
import { sensitivities } from "../../lib/train/sensitivities";
import { examplesOf, expectedOf, folderOf, loadFixture, under } from "./fixtures";

test.each(["gqa", "gpt2"])("%s: the same weights are marked, in one pass or one matrix at a time", async (base) => {
  using model = await loadFixture(base, { dtype: "float32" });
  const tensors = await readSafetensors(join(folderOf("methods"), `${base}_spt.safetensors`));
  const all = new Map([...tensors].map(([key, tensor]) => [key, float32Values(tensor, key)]));
  const expected = [...under(all, "marked.")].map(([name, places]) => [name, [...places]]).sort();
  const train = expectedOf(base).training.batches.flatMap((step) => step.flatMap(examplesOf));
  const options = { train, budget: 600, batches: 4, shuffle: false };
  const plain = (marked: ReadonlyMap<string, Int32Array>) =>
    [...marked].map(([name, places]) => [name, [...places]]).sort();
  const passes: number[] = [];
  const found = await sensitivities(model, {
    ...options,
    batchSize: 4,
    onProgress: ({ done, total }) => passes.push(done, total),
  });
  expect(found.budget).toBe(600);
  expect(plain(found.marked)).toEqual(expected);
  expect(passes).toEqual([1, 2, 2, 2]);
  passes.length = 0;
  const split = await sensitivities(model, {
    ...options,
    ...{ batchSize: 1, gradientAccumulationSteps: 4, memoryMib: 0.001 },
    onProgress: ({ done, total }) => passes.push(done, total),
  });
  expect(plain(split.marked)).toEqual(expected);
  expect(passes.at(-1)).toBeGreaterThan(10);
});

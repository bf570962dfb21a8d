/** HiWi on weights against PEFT's PEANUT without hidden layers (depth 0), by make_peanut_fixture.py. */
import { join } from "node:path";
import { createAdapter } from "../../lib/adapter/create";
import { hiwi } from "../../lib/adapter/methods/hiwi";
import { float32Values, readSafetensors } from "../../lib/files/safetensors";
import { backward, expectedOf, folderOf, loadFixture, relativeError, trainedSteps, under } from "./fixtures";

test("PEFT's PEANUT has the same gradients in one step, and the same numbers after ten", async () => {
  const stored = await readSafetensors(join(folderOf("methods"), "gqa_peft_peanut.safetensors"));
  const fixture = new Map([...stored].map(([name, tensor]) => [name, float32Values(tensor, name)]));
  using model = await loadFixture("gqa", { dtype: "float32" });
  const call = hiwi({ target: "weights", rank: 3, sites: ["v", "up", "ffn"] });
  using adapter = await createAdapter(model, call);
  adapter.setVectors(under(fixture, "value."));
  const { batch, training } = expectedOf("gqa");
  await backward(model, adapter.native, batch);
  const gradients = adapter.gradients();
  const expected = under(fixture, "grad.");
  expect([...gradients.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [name, gradient] of expected)
    expect([name, relativeError(gradients.get(name)!, gradient) < 1e-5]).toEqual([name, true]);
  await trainedSteps(model, training, { adapter });
  const vectors = adapter.vectors();
  for (const [name, values] of under(fixture, "train."))
    expect([name, relativeError(vectors.get(name)!, values) < 1e-4]).toEqual([name, true]);
});

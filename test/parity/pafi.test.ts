/** PaFi's entries and their gradients against PEFT's Super-Tuning (select_top=False), by make_pafi_fixture.py. */
import { join } from "node:path";
import { createAdapter } from "../../lib/adapter/create";
import { pafi } from "../../lib/adapter/methods/pafi";
import { int32Values } from "../../lib/adapter/plan_indices";
import { float32Values, readSafetensors } from "../../lib/files/safetensors";
import { backward, expectedOf, folderOf, loadFixture, relativeError, under } from "./fixtures";

test("PEFT's Super-Tuning chooses the same entries, and has the same gradients", async () => {
  const stored = await readSafetensors(join(folderOf("methods"), "gqa_peft_supertuning.safetensors"));
  const [entries, numbers] = [new Map<string, Int32Array>(), new Map<string, Float32Array>()];
  for (const [name, tensor] of stored)
    if (tensor.dtype === "I32") entries.set(name.replace(/^index\./, ""), int32Values(tensor.data));
    else numbers.set(name, float32Values(tensor, name));
  using model = await loadFixture("gqa", { dtype: "float32" });
  using adapter = await createAdapter(model, pafi({ share: 0.02 }));
  expect(new Map([...adapter.storedEntries()].sort())).toEqual(new Map([...entries].sort()));
  adapter.setVectors(under(numbers, "value."));
  await backward(model, adapter.native, expectedOf("gqa").batch);
  const gradients = adapter.gradients();
  const expected = under(numbers, "grad.");
  expect([...expected.keys()].sort()).toEqual([...gradients.keys()].sort());
  for (const [name, gradient] of expected)
    expect([name, relativeError(gradients.get(name)!, gradient) < 1e-5]).toEqual([name, true]);
});

/** Gradients of every vector of every RED case, and of every weight, against PyTorch's. */
import { runJob } from "../../lib/job";
import type { LanguageModel } from "../../lib/model/model";
import { adapterOf, backward, expectedOf, loadFixture, relativeError, tensorsOf, under } from "./fixtures";

const fixtures = ["mha", "gqa", "llama3", "bias", "gqa_bf16", "linear_rope"];

describe.each(fixtures)("%s in fp32", (fixture) => {
  const expected = expectedOf(fixture);
  let model: LanguageModel;
  let tensors: Map<string, Float32Array>;
  beforeAll(async () => {
    model = await loadFixture(fixture, { dtype: "float32" });
    tensors = await tensorsOf(fixture);
  });
  afterAll(() => model?.dispose());

  test.each(expected.red)("$name: the loss and each vector's gradient, stored and recomputed", async (one) => {
    using adapter = adapterOf(model, tensors, one);
    const loss = await backward(model, adapter.native, expected.batch);
    expect(Math.abs(loss / one.float64Loss - 1)).toBeLessThan(2e-6);
    const gradients = adapter.gradients();
    const wanted = under(tensors, `${one.name}.grad.`);
    expect([...gradients.keys()].sort()).toEqual([...wanted.keys()].sort());
    for (const [name, values] of wanted)
      expect([name, relativeError(gradients.get(name)!, values) < 1e-4]).toEqual([name, true]);
    expect(await backward(model, adapter.native, expected.batch, true)).toBe(loss);
    expect(adapter.gradients()).toEqual(gradients);
  });

  if (fixture === "linear_rope") return; // gradients of its weights are not stored
  test("each weight's gradient with all of them trainable", async () => {
    using own = await loadFixture(fixture, { dtype: "float32" });
    const parameters = await runJob(() => own.native.makeTrainable());
    const loss = await backward(own, parameters, expected.batch);
    expect(Math.abs(loss / expected.full.float64Loss - 1)).toBeLessThan(2e-6);
    const wanted = under(tensors, "full.grad.");
    expect([...parameters.names].sort()).toEqual([...wanted.keys()].sort());
    for (const [index, name] of parameters.names.entries())
      expect([name, relativeError(parameters.gradient(index), wanted.get(name)!) < 1e-4]).toEqual([name, true]);
    const gradients = parameters.names.map((_, index) => parameters.gradient(index));
    await backward(own, parameters, expected.batch, true);
    expect(parameters.names.map((_, index) => parameters.gradient(index))).toEqual(gradients);
  });
});

/** Of PyTorch's distance to fp32 in bf16: how far ours may go, for each vector of each layer and each weight apart. */
const bound = 1.5;

function expectNear(name: string, ours: Float32Array, theirs: Float32Array, fp32: Float32Array): void {
  const [mine, pytorch] = [relativeError(ours, fp32), relativeError(theirs, fp32)];
  expect([name, mine <= bound * pytorch, mine, pytorch]).toEqual([name, true, mine, pytorch]);
}

describe("gqa_bf16 in bf16", () => {
  const expected = expectedOf("gqa_bf16");
  let model: LanguageModel;
  let tensors: Map<string, Float32Array>;
  beforeAll(async () => {
    model = await loadFixture("gqa_bf16");
    tensors = await tensorsOf("gqa_bf16");
  });
  afterAll(() => model?.dispose());

  test("the model computes in bf16", () => expect(model.dtype).toBe("bfloat16"));

  test.each(expected.red)("$name: each vector's gradient, stored and recomputed", async (one) => {
    using adapter = adapterOf(model, tensors, one);
    await backward(model, adapter.native, expected.batch);
    const gradients = adapter.gradients();
    const wanted = under(tensors, `${one.name}.grad.`);
    expect([...gradients.keys()].sort()).toEqual([...wanted.keys()].sort());
    for (const [name, fp32] of wanted)
      expectNear(name, gradients.get(name)!, tensors.get(`bf16.${one.name}.grad.${name}`)!, fp32);
    await backward(model, adapter.native, expected.batch, true);
    expect(adapter.gradients()).toEqual(gradients);
  });

  test("all weights, one by one", async () => {
    using own = await loadFixture("gqa_bf16");
    const parameters = await runJob(() => own.native.makeTrainable());
    await backward(own, parameters, expected.batch);
    const wanted = under(tensors, "full.grad.");
    expect([...parameters.names].sort()).toEqual([...wanted.keys()].sort());
    for (const [index, name] of parameters.names.entries())
      expectNear(name, parameters.gradient(index), tensors.get(`bf16.full.grad.${name}`)!, wanted.get(name)!);
  });
});

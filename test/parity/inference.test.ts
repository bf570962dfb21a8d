/** Logits, and the ids of greedy decoding, against transformers'. */
import { runJob } from "../../lib/job";
import type { LanguageModel } from "../../lib/model/model";
import type { NativeAdapter } from "../../lib/native";
import { adapterOf, expectedOf, loadFixture, microBatch, relativeError, tensorsOf } from "./fixtures";

describe.each(["mha", "gqa", "llama3", "bias", "gqa_bf16", "linear_rope"])("%s", (fixture) => {
  const expected = expectedOf(fixture);
  let model: LanguageModel;
  let tensors: Map<string, Float32Array>;
  beforeAll(async () => {
    model = await loadFixture(fixture, { dtype: "float32" });
    Object.defineProperty(model, "eosTokenIds", { value: [] }); // the expected ids go on
    tensors = await tensorsOf(fixture);
  });
  afterAll(() => model?.dispose());

  const logitsOf = (of: LanguageModel, adapter?: NativeAdapter) =>
    runJob(() => of.native.logits(microBatch(expected.batch, adapter ? 1 : 0), adapter ? [adapter] : []));

  test("logits of the whole batch, unedited and edited", async () => {
    expect(relativeError(await logitsOf(model), tensors.get("logits")!)).toBeLessThan(2e-6);
    const edited = expected.red.filter(({ name }) => tensors.has(`${name}.logits`));
    expect(edited.length).toBeGreaterThan(0);
    for (const one of edited) {
      using adapter = adapterOf(model, tensors, one);
      expect(relativeError(await logitsOf(model, adapter.native), tensors.get(`${one.name}.logits`)!)).toBeLessThan(
        5e-6,
      );
    }
  });

  test("greedy ids of each prompt alone", async () => {
    for (const { adapter: name, prompt, ids } of expected.greedy) {
      using adapter =
        name === null ? undefined : adapterOf(model, tensors, expected.red.find((one) => one.name === name)!);
      const { tokenIds } = await model.complete({ tokenIds: prompt, adapter, maxNewTokens: ids.length });
      expect(tokenIds).toEqual(ids);
    }
  });

  test("greedy ids of all prompts at once, in the steps of one engine", async () => {
    const using = expected.greedy.map(({ adapter: name }) =>
      name === null ? null : adapterOf(model, tensors, expected.red.find((one) => one.name === name)!),
    );
    const answers = expected.greedy.map(({ prompt, ids }, at) =>
      model.complete({ tokenIds: prompt, adapter: using[at], maxNewTokens: ids.length }),
    );
    for (const [at, { tokenIds }] of (await Promise.all(answers)).entries())
      expect(tokenIds).toEqual(expected.greedy[at]!.ids);
    for (const adapter of using) adapter?.dispose();
  });

  if (fixture !== "gqa_bf16") return;
  test("logits in bf16 are as near to fp32 as PyTorch's, to half as far again", async () => {
    using own = await loadFixture(fixture);
    const [wanted, theirs] = [tensors.get("logits")!, tensors.get("bf16.logits")!];
    expect(relativeError(await logitsOf(own), wanted)).toBeLessThan(1.5 * relativeError(theirs, wanted));
  });
});

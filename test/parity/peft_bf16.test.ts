/** PEFT's adapters on bf16 bases: as near to fp32 as PyTorch's bf16, to half as far again. */
import { join } from "node:path";
import type { Adapter } from "../../lib/adapter/adapter";
import { loadAdapter } from "../../lib/adapter/load";
import { float32Values, readSafetensors } from "../../lib/files/safetensors";
import type { LanguageModel } from "../../lib/model/model";
import { backward, expectedOf, folderOf, loadFixture, relativeError, under } from "./fixtures";

/** How far from fp32 bf16 may be, as a multiple of PyTorch's distance: of all, on average, and of a single tensor. */
const bound = 1.5;
const ofOne = 3;

describe.each([
  ["gqa_lora", "gqa_bf16"],
  ["gqa_ia3", "gqa_bf16"],
  ["qwen2_lora", "qwen2_bf16"],
])("%s", (name, base) => {
  const folder = join(folderOf("peft_bf16"), name);
  const { batch } = expectedOf(base);
  let model: LanguageModel;
  let adapter: Adapter;
  let tensors: Map<string, Float32Array>;
  beforeAll(async () => {
    model = await loadFixture(base);
    adapter = await loadAdapter(folder, model, { onNotice: () => {} });
    const read = await readSafetensors(join(folder, "expected.safetensors"));
    tensors = new Map([...read].map(([key, tensor]) => [key, float32Values(tensor, key)]));
  });
  afterAll(() => {
    adapter?.dispose();
    model?.dispose();
  });

  test("logits", async () => {
    expect(model.dtype).toBe("bfloat16");
    const found: number[] = [];
    for (const [at, start] of batch.sequenceStarts.slice(0, -1).entries())
      found.push(...(await model.logits(batch.tokenIds.slice(start, batch.sequenceStarts[at + 1]), { adapter })));
    const wanted = tensors.get("logits")!;
    const theirs = relativeError(tensors.get("bf16.logits")!, wanted);
    expect(theirs).toBeGreaterThan(1e-4);
    expect(relativeError(found, wanted)).toBeLessThanOrEqual(bound * theirs);
  });

  test("gradients", async () => {
    await backward(model, adapter.native, batch);
    const gradients = adapter.gradients();
    const names = [...under(tensors, "grad.").keys()];
    expect(names.length).toBe(gradients.size);
    const ratios = names.map((of) => {
      const wanted = tensors.get(`grad.${of}`)!;
      return relativeError(gradients.get(of)!, wanted) / relativeError(tensors.get(`bf16.grad.${of}`)!, wanted);
    });
    const mean = Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
    expect(mean).toBeLessThanOrEqual(bound);
    expect(names.filter((_, at) => ratios[at]! > ofOne)).toEqual([]);
  });
});

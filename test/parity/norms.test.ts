/**
 * LN tuning against PEFT, and BitFit against PyTorch: logits, gradients and ten steps; PEFT's folders, and what is saved again.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Adapter } from "../../lib/adapter/adapter";
import { createAdapter } from "../../lib/adapter/create";
import { loadAdapter } from "../../lib/adapter/load";
import { bitfit } from "../../lib/adapter/methods/bitfit";
import { float32Values, readSafetensors } from "../../lib/files/safetensors";
import type { LanguageModel } from "../../lib/model/model";
import { storedTensors } from "../../lib/model/save";
import { backward, expectedOf, folderOf, loadFixture, relativeError, trainedSteps, under } from "./fixtures";

const quiet = { onNotice: () => {} };
let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "rubricate-norms-"));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

async function readAll(path: string): Promise<Map<string, Float32Array>> {
  const tensors = await readSafetensors(path);
  return new Map([...tensors].map(([key, tensor]) => [key, float32Values(tensor, key)]));
}

/** Vectors of a checkpoint by the canonical names; fused ones are cut, or lie as `c_attn.q_proj`. */
function canonical(model: LanguageModel, given: ReadonlyMap<string, Float32Array>): Map<string, Float32Array> {
  const { tensors, storage } = model.description;
  const specs = model.native.tensorSpecs();
  const own = new Map<string, Float32Array>();
  for (const [stored, { parts }] of storedTensors(tensors, storage)) {
    let begin = 0;
    for (const part of parts) {
      const end = begin + specs[part]!.shape[0]!;
      const cut = given.get(stored.replace(/\w+$/, part.split(".").slice(-2).join(".")));
      if (cut) own.set(part, cut);
      else if (given.has(stored)) own.set(part, given.get(stored)!.slice(begin, end));
      begin = end;
    }
  }
  return own;
}

/** The biases of BitFit that an adapter changes by these, of a base of those. */
const changesOf = (
  names: Iterable<string>,
  values: ReadonlyMap<string, Float32Array>,
  base: ReadonlyMap<string, Float32Array>,
) =>
  new Map(
    [...names].map((name) => {
      const bias = name.replace(/\.bias_change$/, ".bias");
      const from = base.get(bias)!;
      return [name, bias === name ? values.get(bias)! : values.get(bias)!.map((value, at) => value - from[at]!)];
    }),
  );

const cases = [
  ["gqa", "gqa"],
  ["gqa-some", "gqa"],
  ["gpt2", "gpt2"],
  ["gpt2-bitfit", "gpt2"],
  ["qwen2-bitfit", "qwen2"],
] as const;

describe.each(cases)("%s", (name, fixture) => {
  const folder = join(folderOf("norms"), name);
  const isBitfit = name.endsWith("-bitfit");
  const base = expectedOf(fixture);
  const wanted = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8"));
  let model: LanguageModel;
  let expected: Map<string, Float32Array>;
  let weights: Map<string, Float32Array>;
  beforeAll(async () => {
    model = await loadFixture(fixture, { dtype: "float32" });
    expected = await readAll(join(folder, "expected.safetensors"));
    weights = canonical(model, await readAll(join(folderOf(fixture), "model.safetensors")));
  });
  afterAll(() => model?.dispose());

  const expectedVectors = (prefix: string) => canonical(model, under(expected, prefix));

  async function load(): Promise<Adapter> {
    if (!isBitfit) return loadAdapter(folder, model, quiet);
    const adapter = await createAdapter(model, bitfit());
    adapter.setVectors(changesOf(adapter.vectors().keys(), expectedVectors("value."), weights));
    return adapter;
  }

  test("logits", async () => {
    using adapter = await load();
    const { tokenIds, sequenceStarts } = base.batch;
    const found: number[] = [];
    for (const [at, start] of sequenceStarts.slice(0, -1).entries())
      found.push(...(await model.logits(tokenIds.slice(start, sequenceStarts[at + 1]), { adapter })));
    expect(relativeError(found, expected.get("logits")!)).toBeLessThan(1e-5);
  });

  test("the loss and the gradients, stored and recomputed", async () => {
    using adapter = await load();
    const loss = await backward(model, adapter.native, base.batch);
    expect(Math.abs(loss / wanted.loss - 1)).toBeLessThan(2e-6);
    const stored = adapter.gradients();
    const gradients = expectedVectors("grad.");
    const own = new Map([...stored].map(([key, gradient]) => [key.replace(/bias_change$/, "bias"), gradient]));
    expect([...own.keys()].sort()).toEqual([...gradients.keys()].sort());
    for (const [key, gradient] of gradients) {
      // Without rotation the softmax ignores the bias of k: its gradient is 0 up to rounding.
      if (fixture === "gpt2" && key.endsWith("k_proj.bias")) continue;
      expect([key, relativeError(own.get(key)!, gradient) < 1e-5]).toEqual([key, true]);
    }
    await backward(model, adapter.native, base.batch, true);
    expect(adapter.gradients()).toEqual(stored);
  });

  test("ten steps of AdamW", async () => {
    using adapter = await load();
    const losses = (await trainedSteps(model, base.training, { adapter })).map(({ loss }) => loss);
    expect(relativeError(losses, wanted.losses)).toBeLessThan(1e-5);
    const trained = expectedVectors("train.");
    for (const [key, values] of adapter.vectors()) {
      if (key.includes("k_proj.bias")) continue; // a gradient near 0, which AdamW divides by its size
      const bias = key.replace(/bias_change$/, "bias");
      const whole = bias === key ? values : values.map((change, at) => change + weights.get(bias)![at]!);
      expect([key, relativeError(whole, trained.get(bias)!) < 1e-4]).toEqual([key, true]);
    }
    using split = await load();
    await trainedSteps(model, base.training, {
      adapter: split,
      batchSize: 1,
      gradientAccumulationSteps: 4,
      recompute: true,
    });
    expect(split.vectors()).toEqual(adapter.vectors());
  });

  test("saved again, it has the same numbers and configuration, and says its base", async () => {
    using adapter = await load();
    if (!isBitfit) expect(adapter.notices.map(({ code }) => code)).toEqual(["RUBRICATE_BASE_UNKNOWN"]);
    const saved = join(home, name);
    await adapter.savePretrained(saved);
    using again = await loadAdapter(saved, model);
    expect(again.notices).toEqual([]);
    expect(again.config).toEqual(adapter.config);
    expect(again.vectors()).toEqual(adapter.vectors());
    if (isBitfit) return;
    const read = (path: string) => JSON.parse(readFileSync(join(path, "adapter_config.json"), "utf8"));
    const [theirs, ours] = [read(folder), read(saved)];
    for (const key of ["peft_type", "task_type", "modules_to_save", "exclude_modules"])
      expect([key, ours[key]]).toEqual([key, theirs[key]]);
    expect([...ours.target_modules].sort()).toEqual(theirs.target_modules);
    const shapesIn = async (path: string) => {
      const tensors = await readSafetensors(join(path, "adapter_model.safetensors"));
      return Object.fromEntries([...tensors].map(([key, { shape, dtype }]) => [key, [dtype, ...shape]]));
    };
    expect(await shapesIn(saved)).toEqual(await shapesIn(folder));
  });
});

/** (IA)3 against PEFT: adapters that PEFT wrote, their logits, gradients and ten steps; and what is saved again. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ia3Adapter } from "../../lib/adapter/ia3_adapter";
import { float32Values, readSafetensors } from "../../lib/files/safetensors";
import type { LanguageModel } from "../../lib/model/model";
import type { TrainerOptions } from "../../lib/train/options";
import { backward, expectedOf, folderOf, loadFixture, relativeError, trainedSteps, under } from "./fixtures";

const base = expectedOf("gqa");
const quiet = { onNotice: () => {} };
let model: LanguageModel;
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-ia3-"));
  model = await loadFixture("gqa", { dtype: "float32" });
});
afterAll(() => {
  model?.dispose();
  rmSync(home, { recursive: true, force: true });
});

const stepsOf = (options: Partial<TrainerOptions>) => trainedSteps(model, base.training, options);

describe.each(["usual", "inputs", "outputs"])("%s", (name) => {
  const folder = join(folderOf("ia3"), name);
  const wanted = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8"));
  const load = () => Ia3Adapter.fromPretrained(folder, model, quiet);
  const prefix = (of: string) => `base_model.model.model.${of}`;
  let expected: Map<string, Float32Array>;
  beforeAll(async () => {
    const tensors = await readSafetensors(join(folder, "expected.safetensors"));
    expected = new Map([...tensors].map(([key, tensor]) => [key, float32Values(tensor, key)]));
  });

  test("logits as PEFT's", async () => {
    using adapter = await load();
    const { tokenIds, sequenceStarts } = base.batch;
    const found: number[] = [];
    for (const [at, start] of sequenceStarts.slice(0, -1).entries()) {
      const ids = tokenIds.slice(start, sequenceStarts[at + 1]);
      found.push(...(await model.logits(ids, { adapter })));
    }
    expect(relativeError(found, expected.get("logits")!)).toBeLessThan(1e-5);
  });

  test("the loss and the gradients, stored and recomputed", async () => {
    using adapter = await load();
    const loss = await backward(model, adapter.native, base.batch);
    expect(Math.abs(loss / wanted.loss - 1)).toBeLessThan(2e-6);
    const stored = adapter.gradients();
    const gradients = under(expected, "grad.");
    expect([...gradients.keys()].map(prefix).sort()).toEqual([...stored.keys()].sort());
    for (const [of, gradient] of gradients)
      expect([of, relativeError(stored.get(prefix(of))!, gradient) < 1e-5]).toEqual([of, true]);
    await backward(model, adapter.native, base.batch, true);
    expect(adapter.gradients()).toEqual(stored);
  });

  test("ten steps of AdamW", async () => {
    using adapter = await load();
    const steps = await stepsOf({ adapter });
    const losses = steps.map(({ loss }) => loss);
    expect(relativeError(losses, wanted.losses)).toBeLessThan(1e-5);
    for (const [of, values] of under(expected, "train."))
      expect([of, relativeError(adapter.vectors().get(prefix(of))!, values) < 1e-4]).toEqual([of, true]);
    using split = await load();
    await stepsOf({ adapter: split, batchSize: 1, gradientAccumulationSteps: 4, recompute: true });
    expect(split.vectors()).toEqual(adapter.vectors());
  });

  test("saved again, it has the same numbers and configuration, and says its base", async () => {
    using adapter = await load();
    expect(adapter.notices.map(({ code }) => code)).toEqual(["RUBRICATE_BASE_UNKNOWN"]);
    const saved = join(home, name);
    await adapter.savePretrained(saved);
    using again = await Ia3Adapter.fromPretrained(saved, model);
    expect(again.notices).toEqual([]);
    expect(again.config).toEqual(adapter.config);
    expect(again.vectors()).toEqual(adapter.vectors());
    const read = (path: string) => JSON.parse(readFileSync(join(path, "adapter_config.json"), "utf8"));
    const [theirs, ours] = [read(folder), read(saved)];
    for (const key of ["peft_type", "task_type", "fan_in_fan_out", "init_ia3_weights", "modules_to_save"])
      expect([key, ours[key]]).toEqual([key, theirs[key]]);
    for (const key of ["target_modules", "feedforward_modules"]) expect([...ours[key]].sort()).toEqual(theirs[key]);
    const shapesIn = async (path: string) => {
      const tensors = await readSafetensors(join(path, "adapter_model.safetensors"));
      return Object.fromEntries([...tensors].map(([of, { shape, dtype }]) => [of, [dtype, ...shape]]));
    };
    expect(await shapesIn(saved)).toEqual(await shapesIn(folder));
  });
});

/** LoRA adapters: their start, their options, folders of PEFT and of this package. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadAdapter } from "../../lib/adapter/load";
import { LoraAdapter, type LoraAdapterOptions } from "../../lib/adapter/lora_adapter";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { writeInto } from "../../lib/files/atomic";
import { readSafetensors, type StoredDtype, safetensorsPieces } from "../../lib/files/safetensors";
import { limits } from "../../lib/limits";
import { LanguageModel } from "../../lib/model/model";
import { folderOf, loadFixture } from "../parity/fixtures";
import { ids, peft, quiet } from "./lora_support";

let model: LanguageModel;
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-lora-"));
  model = await loadFixture("gqa", { dtype: "float32" });
});
afterAll(() => {
  model?.dispose();
  rmSync(home, { recursive: true, force: true });
});

describe("a new adapter", () => {
  test("changes nothing: A is uniform in 1 / sqrt(inputs), B is 0, by the seed", async () => {
    using adapter = await LoraAdapter.create(model, { rank: 16, targetModules: "all-linear", seed: 3 });
    const { hidden } = model.architecture;
    const vectors = adapter.vectors();
    expect(vectors.size).toBe(2 * 7 * 2);
    const a = vectors.get("base_model.model.model.layers.1.self_attn.k_proj.lora_A.weight")!;
    expect(a).toHaveLength(16 * hidden);
    const bound = 1 / Math.sqrt(hidden);
    expect(Math.max(...a)).toBeLessThan(bound);
    expect(Math.min(...a)).toBeGreaterThanOrEqual(-bound);
    // Of 768 uniform numbers: mean and variance within five standard deviations.
    expect(Math.abs(a.reduce((sum, one) => sum + one, 0) / a.length)).toBeLessThan(
      (5 * bound) / Math.sqrt(3 * a.length),
    );
    const square = a.reduce((sum, one) => sum + one * one, 0) / a.length;
    expect(Math.abs(square / (bound ** 2 / 3) - 1)).toBeLessThan(5 * Math.sqrt(0.8 / a.length));
    for (const [name, values] of vectors)
      if (name.includes("lora_B")) expect(values.every((one) => one === 0)).toBe(true);
    expect(await model.logits(ids, { adapter })).toEqual(await model.logits(ids));
    using same = await LoraAdapter.create(model, { rank: 16, targetModules: "all-linear", seed: 3 });
    using other = await LoraAdapter.create(model, { rank: 16, targetModules: "all-linear", seed: 4 });
    expect(same.vectors()).toEqual(vectors);
    expect(other.vectors()).not.toEqual(vectors);
  });

  test("has PEFT's defaults", async () => {
    using adapter = await LoraAdapter.create(model);
    const targetModules = ["q_proj", "v_proj"];
    expect(adapter.config).toEqual({ rank: 8, alpha: 8, targetModules, layers: [0, 1], rankStabilized: false });
    expect(adapter.method).toBe("lora");
    expect(adapter.parameterCount).toBe(2 * 8 * (48 + 48 + 48 + 16));
  });

  test.each<[string, unknown, RegExp]>([
    ["rank", 0, /Expected an integer from 1 to 8192 for rank/],
    ["rank", limits.mostLoraRank + 1, /Expected an integer from 1 to 8192 for rank/],
    ["rank", 1.5, /for rank/],
    ["alpha", 0, /Expected a number above 0/],
    ["alpha", Number.NaN, /for alpha/],
    ["targetModules", [], /"all-linear" or some of q_proj/],
    ["targetModules", ["q_proj", "q_proj"], /each once/],
    ["targetModules", ["lm_head"], /for targetModules/],
    ["targetModules", "q_proj", /for targetModules/],
    ["layers", [2], /layer numbers from 0 to 1/],
    ["rankStabilized", 1, /for rankStabilized/],
    ["seed", -1, /for seed/],
    ["dropout", 0.1, /dropout/],
  ])("refuses %s: %p", async (name, value, message) => {
    await expect(LoraAdapter.create(model, { [name]: value } as LoraAdapterOptions)).rejects.toMatchObject({
      code: "ERR_ARGUMENT",
      message: expect.stringMatching(message),
    });
  });

  test("takes the largest rank", async () => {
    using adapter = await LoraAdapter.create(model, {
      rank: limits.mostLoraRank,
      layers: [0],
      targetModules: ["k_proj"],
    });
    expect(adapter.parameterCount).toBe(limits.mostLoraRank * (48 + 16));
  });
});

test("of a model without a gate, all-linear leaves gate_proj out, and naming it is refused", async () => {
  using plain = await loadFixture("gpt2");
  using adapter = await LoraAdapter.create(plain, { targetModules: "all-linear", rank: 2 });
  const targetModules = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"];
  expect(adapter.config.targetModules).toEqual(targetModules);
  const folder = join(home, "gpt2");
  await adapter.savePretrained(folder);
  using loaded = await LoraAdapter.fromPretrained(folder, plain);
  expect(loaded.config).toEqual(adapter.config);
  expect(loaded.vectors()).toEqual(adapter.vectors());
  await expect(LoraAdapter.create(plain, { targetModules: ["gate_proj"] })).rejects.toMatchObject({
    code: "ERR_ARGUMENT",
    message: expect.stringContaining("modules other than gate_proj"),
  });
  const gated = changed({ target_modules: ["gate_proj", "q_proj"] });
  await expect(LoraAdapter.fromPretrained(gated, plain, quiet)).rejects.toMatchObject({
    code: "ERR_ADAPTER_FORMAT",
    message: expect.stringContaining("Expected an adapter without gate_proj"),
  });
});

/** A copy of PEFT's folder with other fields in its configuration. */
function changed(fields: object): string {
  const folder = mkdtempSync(join(home, "peft-"));
  cpSync(peft, folder, { recursive: true });
  const path = join(folder, "adapter_config.json");
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...fields }));
  return folder;
}

describe("a folder of PEFT", () => {
  test.each<[string, unknown]>([
    ["use_dora", true],
    ["rank_pattern", { q_proj: 2 }],
    ["alpha_pattern", { q_proj: 2 }],
    ["modules_to_save", ["lm_head"]],
    ["bias", "all"],
    ["lora_bias", true],
    ["fan_in_fan_out", true],
    ["use_qalora", true],
    ["use_bdlora", { nblocks: 2 }],
    ["layer_replication", [[0, 2]]],
    ["target_parameters", ["x"]],
    ["trainable_token_indices", [1]],
    ["alora_invocation_tokens", [1]],
    ["exclude_modules", ["k_proj"]],
    ["an_option_of_later", 1],
    ["init_lora_weights", "pissa"],
    ["target_modules", "q_proj|v_proj"],
    ["target_modules", ["lm_head"]],
    ["task_type", "SEQ_CLS"],
    ["r", 0],
    ["lora_alpha", "8"],
    ["layers_to_transform", [0, 0]],
    ["use_rslora", 1],
    ["rubricate", {}],
  ])("is refused with %s: %p", async (name, value) => {
    await expect(LoraAdapter.fromPretrained(changed({ [name]: value }), model, quiet)).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringContaining(name),
    });
  });

  test("is taken with fields that change nothing, and with later ones that are off", async () => {
    const fields = {
      lora_dropout: 0.1,
      use_later: false,
      later: null,
      later_list: [],
      revision: "main",
      inference_mode: false,
    };
    using adapter = await LoraAdapter.fromPretrained(changed(fields), model, quiet);
    using plain = await LoraAdapter.fromPretrained(peft, model, quiet);
    expect(adapter.vectors()).toEqual(plain.vectors());
  });

  test.each<[string, object, string]>([
    ["another rank", { r: 5 }, "shape [5, 48]"],
    ["a module too many in the file", { target_modules: ["q_proj"] }, "Expected no tensor"],
    ["a layer too many in the file", { layers_to_transform: 0 }, "Expected no tensor"],
    ["a layer that the model has not", { layers_to_transform: [0, 7] }, "for layer 7"],
  ])("with %s does not fit", async (_, fields, message) => {
    await expect(LoraAdapter.fromPretrained(changed(fields), model, quiet)).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringContaining(message),
    });
  });

  test.each<[StoredDtype, (value: number) => number]>([
    ["BF16", (value) => (value < 0 ? 0xbf80 : 0x3f80)],
    ["F16", (value) => (value < 0 ? 0x8001 : 0x3e00)],
  ])("is read in %s", async (dtype, bits) => {
    const folder = changed({});
    const tensors = await readSafetensors(join(peft, "adapter_model.safetensors"));
    const stored = [...tensors].map(([name, { shape, data }]) => {
      const values = new Float32Array(data.slice().buffer);
      return { name, dtype, shape, data: () => new Uint8Array(Uint16Array.from(values, bits).buffer) };
    });
    await writeInto(folder, [{ name: "adapter_model.safetensors", data: safetensorsPieces(stored) }]);
    using adapter = await LoraAdapter.fromPretrained(folder, model, quiet);
    const expected = dtype === "BF16" ? [-1, 1] : [-(2 ** -24), 1.5];
    for (const values of adapter.vectors().values()) expect([...new Set(values)].sort()).toEqual(expected);
  });

  test("is told apart from a RED adapter", async () => {
    using red = RedAdapter.create(model);
    await red.savePretrained(join(home, "red"));
    using one = await loadAdapter(peft, model, quiet);
    using two = await loadAdapter(join(home, "red"), model);
    expect([one.method, two.method]).toEqual(["lora", "red"]);
    await expect(RedAdapter.fromPretrained(peft, model)).rejects.toMatchObject({
      message: expect.stringContaining("load it with LoraAdapter.fromPretrained or loadAdapter"),
    });
    await expect(LoraAdapter.fromPretrained(join(home, "red"), model)).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringContaining("has no peft_type"),
    });
  });
});

test("an adapter of other weights is refused, and taken with a notice", async () => {
  using other = await loadFixture("mha", { dtype: "float32" });
  using adapter = await LoraAdapter.create(model);
  const folder = join(home, "of-gqa");
  await adapter.savePretrained(folder);
  await expect(LoraAdapter.fromPretrained(folder, other)).rejects.toMatchObject({ code: "ERR_BASE_MISMATCH" });
  const allowed = LoraAdapter.fromPretrained(folder, other, { allowBaseMismatch: true, ...quiet });
  await expect(allowed).rejects.toMatchObject({ code: "ERR_ADAPTER_FORMAT" }); // its shapes do not fit
  const changed = join(home, "changed");
  cpSync(folderOf("gqa"), changed, { recursive: true });
  const weights = join(changed, "model.safetensors");
  const bytes = readFileSync(weights);
  for (let at = bytes.length - 4000; at < bytes.length; at += 4) bytes.writeFloatLE(0.25, at);
  writeFileSync(weights, bytes);
  using near = await LanguageModel.fromPretrained(changed, { dtype: "float32", device: "cpu" });
  await expect(LoraAdapter.fromPretrained(folder, near)).rejects.toMatchObject({ code: "ERR_BASE_MISMATCH" });
  using taken = await LoraAdapter.fromPretrained(folder, near, { allowBaseMismatch: true, ...quiet });
  expect(taken.notices.map(({ code }) => code)).toEqual(["RUBRICATE_BASE_MISMATCH"]);
  expect(taken.vectors()).toEqual(adapter.vectors());
});

/** Names of modules in PEFT's adapter_config.json: alone, ends of full names, and full names. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadAdapter } from "../../lib/adapter/load";
import { namedModules } from "../../lib/adapter/peft_modules";
import type { LanguageModel } from "../../lib/model/model";
import { folderOf, loadFixture } from "../parity/fixtures";
import { runCli } from "./cli_support";

const quiet = { onNotice: () => {} };
const ids = Int32Array.of(5, 9, 22, 7, 41, 3);
let home: string;
let model: LanguageModel;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-modules-"));
  model = await loadFixture("gqa", { dtype: "float32" });
});
afterAll(() => {
  model?.dispose();
  rmSync(home, { recursive: true, force: true });
});

/** The target_modules that PEFT 0.21 wrote for "all-linear" and a LLaMA of two layers, in its order. */
const allLinear = [
  "model.layers.0.self_attn.q_proj",
  "model.layers.1.self_attn.q_proj",
  "model.layers.1.mlp.gate_proj",
  "model.layers.0.self_attn.o_proj",
  "model.layers.0.self_attn.k_proj",
  "model.layers.1.self_attn.v_proj",
  "model.layers.0.mlp.down_proj",
  "model.layers.1.self_attn.k_proj",
  "model.layers.1.mlp.up_proj",
  "model.layers.1.mlp.down_proj",
  "model.layers.0.self_attn.v_proj",
  "model.layers.1.self_attn.o_proj",
  "model.layers.0.mlp.gate_proj",
  "model.layers.0.mlp.up_proj",
];
const all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
const full = (modules: readonly string[], layers: readonly number[]) =>
  layers.flatMap((layer) => modules.map((name) => `model.layers.${layer}.${name}`));

test.each<[unknown, unknown]>([
  ["all-linear", { modules: all }],
  [allLinear, { modules: all, layers: [0, 1] }],
  [["down_proj", "k_proj"], { modules: ["k_proj", "down_proj"] }],
  [["self_attn.k_proj", "mlp.down_proj", "q_proj"], { modules: ["q_proj", "k_proj", "down_proj"] }],
  [["layers.10.mlp.up_proj", "model.layers.9.mlp.up_proj"], { modules: ["up_proj"], layers: [9, 10] }],
  [[], { modules: [] }],
  [allLinear.slice(1), undefined],
  [[...allLinear, allLinear[0]], undefined],
  [[...allLinear, "k_proj"], undefined],
  [["k_proj", "self_attn.k_proj"], undefined],
  [["model.layers.0.mlp.up_proj", "layers.0.mlp.up_proj"], undefined],
  [["k_proj", "model.layers.0.mlp.up_proj"], undefined],
  [["mlp.k_proj"], undefined],
  [["self_attn.up_proj"], undefined],
  [["model.layers.0.k_proj"], undefined],
  [["model.layers.00.mlp.up_proj"], undefined],
  [["model.layers.4096.mlp.up_proj"], undefined],
  [["model.self_attn.k_proj"], undefined],
  [["transformer.h.0.mlp.up_proj"], undefined],
  [[".up_proj"], undefined],
  [["constructor"], undefined],
  [["lm_head"], undefined],
  [[7], undefined],
  ["k_proj", undefined],
  [null, undefined],
])("%j", (value, named) => {
  expect(namedModules(value)).toEqual(named);
});

/** A copy of a folder of PEFT with other fields in its configuration. */
function changed(folder: string, fields: object): string {
  const copy = mkdtempSync(join(home, "peft-"));
  cpSync(folderOf(folder), copy, { recursive: true });
  const path = join(copy, "adapter_config.json");
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...fields }));
  return copy;
}

const halves: Readonly<Record<string, string>> = { gate_proj: "mlp", up_proj: "mlp", down_proj: "mlp" };
const withHalf = (name: string) => `${halves[name] ?? "self_attn"}.${name}`;

describe.each(["ia3/usual", "lora/all"])("%s: the same modules by other names", (folder) => {
  const names = () => JSON.parse(readFileSync(join(folderOf(folder), "adapter_config.json"), "utf8"));

  test.each<[string, (name: string) => string[]]>([
    ["ends of full names", (name) => [withHalf(name)]],
    ["full names", (name) => full([withHalf(name)], [1, 0])],
  ])("%s", async (_, write) => {
    const { target_modules, feedforward_modules } = names();
    const fields = { target_modules: target_modules.flatMap(write) };
    const own = { feedforward_modules: feedforward_modules?.flatMap(write) };
    using plain = await loadAdapter(folderOf(folder), model, quiet);
    for (const more of feedforward_modules ? [{}, own] : [{}]) {
      const copy = changed(folder, { ...fields, ...more });
      using same = await loadAdapter(copy, model, quiet);
      expect(same.config).toEqual(plain.config);
      expect(await model.logits(ids, { adapter: same })).toEqual(await model.logits(ids, { adapter: plain }));
      expect((await runCli(["inspect", copy])).status).toBe(0);
    }
  });

  test.each<[string, (modules: string[]) => object, string]>([
    [
      "other layers for one module",
      (modules) => ({ target_modules: full(modules, [0, 1]).slice(1) }),
      "target_modules",
    ],
    ["a layer too many", (modules) => ({ target_modules: full(modules, [0, 1, 2]) }), "layer"],
    ["a layer too few", (modules) => ({ target_modules: full(modules, [1]) }), ""],
    [
      "layers twice",
      (modules) => ({ target_modules: full(modules, [0, 1]), layers_to_transform: [0, 1] }),
      "layers_to_transform",
    ],
    ["another half", () => ({ target_modules: ["mlp.k_proj"] }), "for target_modules in"],
  ])("%s: refused", async (_, fields, says) => {
    const modules = names().target_modules.map(withHalf);
    await expect(loadAdapter(changed(folder, fields(modules)), model, quiet)).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringContaining(says),
    });
  });
});

test.each<[string, object]>([
  ["in other layers", { feedforward_modules: full(["mlp.down_proj"], [0]) }],
  ["that are no targets", { feedforward_modules: ["mlp.up_proj"] }],
  ["of another half", { feedforward_modules: ["self_attn.down_proj"] }],
])("feedforward_modules %s: refused", async (_, fields) => {
  const copy = changed("ia3/usual", {
    target_modules: full(["self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"], [0, 1]),
    ...fields,
  });
  await expect(loadAdapter(copy, model, quiet)).rejects.toMatchObject({
    code: "ERR_ADAPTER_FORMAT",
    message: expect.stringContaining("feedforward_modules"),
  });
});

/** PEFT's adapters of families whose checkpoints store linear layers fused: their logits here, and what is exported for PEFT. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Adapter } from "../../lib/adapter/adapter";
import { Ia3Adapter } from "../../lib/adapter/ia3_adapter";
import { loadAdapter } from "../../lib/adapter/load";
import { LoraAdapter } from "../../lib/adapter/lora_adapter";
import { exportPeft } from "../../lib/adapter/peft_export";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { float32Values, readSafetensors } from "../../lib/files/safetensors";
import type { LanguageModel } from "../../lib/model/model";
import { runCli } from "../unit/cli_support";
import { expectedOf, folderOf, loadFixture, relativeError } from "./fixtures";

const quiet = { onNotice: () => {} };
const families = ["gpt2", "phi3"] as const;
const models = new Map<string, LanguageModel>();
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-peft-"));
  for (const family of families) models.set(family, await loadFixture(family, { dtype: "float32" }));
});
afterAll(() => {
  for (const model of models.values()) model.dispose();
  rmSync(home, { recursive: true, force: true });
});

const logitsOf = async (family: string, adapter: Adapter): Promise<number[]> => {
  const { tokenIds, sequenceStarts } = expectedOf(family).batch;
  const found: number[] = [];
  for (const [at, start] of sequenceStarts.slice(0, -1).entries())
    found.push(...(await models.get(family)!.logits(tokenIds.slice(start, sequenceStarts[at + 1]), { adapter })));
  return found;
};
const configOf = (folder: string) => JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
async function tensorsIn(folder: string, file = "adapter_model.safetensors"): Promise<Map<string, Float32Array>> {
  const tensors = await readSafetensors(join(folder, file));
  return new Map([...tensors].map(([name, tensor]) => [name, float32Values(tensor, name)]));
}

describe.each(["gpt2_lora", "gpt2_all", "gpt2_ia3", "phi3_lora", "phi3_all", "phi3_ia3"])("%s", (name) => {
  const folder = join(folderOf("peft_stored"), name);
  const family = name.slice(0, 4);
  const load = () => loadAdapter(folder, models.get(family)!, quiet);

  test("logits as PEFT's", async () => {
    using adapter = await load();
    const wanted = (await tensorsIn(folder, "expected.safetensors")).get("logits")!;
    expect(relativeError(await logitsOf(family, adapter), wanted)).toBeLessThan(1e-5);
  });

  test("exported for PEFT, it has the tensors that PEFT wrote", async () => {
    using adapter = await load();
    const out = join(home, name);
    expect(await exportPeft(models.get(family)!, adapter, out)).toEqual([out]);
    expect(await tensorsIn(out)).toEqual(await tensorsIn(folder));
    using again = await loadAdapter(out, models.get(family)!);
    expect(again.vectors()).toEqual(adapter.vectors());
  });

  test("saved and loaded, it is the same", async () => {
    using adapter = await load();
    const out = join(home, `${name}-saved`);
    await adapter.savePretrained(out);
    using again = await loadAdapter(out, models.get(family)!);
    expect([again.config, again.vectors()]).toEqual([adapter.config, adapter.vectors()]);
  });
});

/** Random numbers, the same in every run. */
function randomize(adapter: Adapter, around: number): void {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return around + 0.4 * (state / 2 ** 32 - 0.5);
  };
  adapter.setVectors(new Map([...adapter.vectors()].map(([key, values]) => [key, values.map(next)])));
}

/** The update of a stored layer in an exported folder, by its full name: factor * B A, by rows. */
async function updatesIn(folder: string): Promise<Map<string, Float64Array>> {
  const { r, lora_alpha, use_rslora, rank_pattern, alpha_pattern } = configOf(folder);
  const tensors = await tensorsIn(folder);
  const updates = new Map<string, Float64Array>();
  for (const [key, a] of tensors) {
    if (!key.endsWith(".lora_A.weight")) continue;
    const layer = key.slice(0, -".lora_A.weight".length);
    const place = Object.keys(rank_pattern).find((end) => layer.endsWith(`.${end}`));
    const rank = place ? rank_pattern[place] : r;
    const alpha = place ? alpha_pattern[place] : lora_alpha;
    const b = tensors.get(`${layer}.lora_B.weight`)!;
    updates.set(layer, product(a, b, rank, alpha / (use_rslora ? Math.sqrt(rank) : rank)));
  }
  return updates;
}

function product(a: Float32Array, b: Float32Array, rank: number, factor: number): Float64Array {
  const [inputs, outputs] = [a.length / rank, b.length / rank];
  const all = new Float64Array(outputs * inputs);
  for (let row = 0; row < outputs; row++)
    for (let k = 0; k < rank; k++)
      for (let at = 0; at < inputs; at++) all[row * inputs + at]! += factor * b[row * rank + k]! * a[k * inputs + at]!;
  return all;
}

test.each(["usual", "rslora"])(
  "updates of q and v of their own become one of c_attn, with 0 for k: %s",
  async (kind) => {
    const model = models.get("gpt2")!;
    using adapter = await LoraAdapter.create(model, { rank: 2, alpha: 3, rankStabilized: kind === "rslora" });
    randomize(adapter, 0);
    const out = join(home, `own-${kind}`);
    await exportPeft(model, adapter, out);
    const { rank_pattern, target_modules } = configOf(out);
    expect([rank_pattern, target_modules]).toEqual([{ "attn.c_attn": 4 }, ["attn.c_attn"]]);
    const { hidden } = model.architecture;
    const factor = kind === "rslora" ? 3 / Math.sqrt(2) : 3 / 2;
    const updates = await updatesIn(out);
    expect(updates.size).toBe(model.architecture.stacks[0].layers);
    for (const [layer, update] of updates) {
      const number = /h\.(\d+)\./.exec(layer)![1]!;
      const own = (module: string, which: string) =>
        adapter.vectors().get(`base_model.model.model.layers.${number}.self_attn.${module}.lora_${which}.weight`)!;
      const [q, v] = ["q_proj", "v_proj"].map((module) => product(own(module, "A"), own(module, "B"), 2, factor));
      expect(relativeError([...update], [...q!, ...new Float64Array(hidden * hidden), ...v!])).toBeLessThan(1e-12);
    }
    await expect(LoraAdapter.fromPretrained(out, model)).rejects.toThrow(/Expected no rank_pattern/);
  },
);

test.each(families)("RED becomes scales and biases that PEFT applies one after the other: %s", async (family) => {
  const model = models.get(family)!;
  const sites = ["ffn", "q", "v"] as const;
  using adapter = RedAdapter.create(model, { sites, layers: [1] });
  randomize(adapter, 1);
  const out = join(home, `red-${family}`);
  const folders = await exportPeft(model, adapter, out);
  expect(folders).toEqual([join(out, "scale"), join(out, "bias")]);
  const [scales, biases] = await Promise.all(folders.map((folder) => tensorsIn(folder)));
  const place = family === "gpt2" ? "transformer.h.1.attn.c_attn" : "model.layers.1.self_attn.qkv_proj";
  const own = (module: string, part: string) => [...adapter.vectors().get(`layers.1.self_attn.${module}.${part}`)!];
  const { heads, kv_heads, head_dim } = model.architecture.stacks[0].attention;
  expect(heads).toBeGreaterThan(0);
  const none = (value: number) => Array<number>(kv_heads * head_dim).fill(value);
  const name = `base_model.model.${place}`;
  expect([...scales!.get(`${name}.ia3_l`)!]).toEqual([
    ...own("q_proj", "scale"),
    ...none(1),
    ...own("v_proj", "scale"),
  ]);
  expect([...biases!.get(`${name}.lora_B.bias`)!]).toEqual([
    ...own("q_proj", "bias"),
    ...none(0),
    ...own("v_proj", "bias"),
  ]);
  expect(biases!.get(`${name}.lora_A.weight`)!.every((value) => value === 0)).toBe(true);
  expect(configOf(folders[1]!)).toMatchObject({ peft_type: "LORA", r: 1, lora_alpha: 1, lora_bias: true });
  expect(configOf(folders[0]!)).toMatchObject({ peft_type: "IA3", feedforward_modules: [] });
  expect(configOf(folders[0]!).target_modules).toHaveLength(2);
  if (process.env.RUBRICATE_KEEP_EXPORTS)
    writeFileSync(join(out, "logits.json"), JSON.stringify(await logitsOf(family, adapter)));
});

test("rubricate export writes the same, and never over the adapter itself", async () => {
  const model = models.get("gpt2")!;
  using adapter = RedAdapter.create(model);
  randomize(adapter, 1);
  const [own, out] = [join(home, "cli"), join(home, "cli-out")];
  await adapter.savePretrained(own);
  const argv = ["export", "--model", folderOf("gpt2"), "--adapter", own, "--json", "--out"];
  const done = await runCli([...argv, out]);
  expect(done).toMatchObject({ status: 0 });
  const folders = [join(out, "scale"), join(out, "bias")];
  expect(JSON.parse(done.stdout)).toEqual({ type: "exported", folders });
  const direct = await exportPeft(model, adapter, join(home, "cli-direct"));
  for (const [at, folder] of folders.entries()) expect(await tensorsIn(folder)).toEqual(await tensorsIn(direct[at]!));
  expect(await runCli([...argv, out])).toMatchObject({ status: 1, stdout: expect.stringContaining("ERR_FILE") });
  expect(await runCli([...argv, own, "--overwrite"])).toMatchObject({
    status: 1,
    stdout: expect.stringContaining("ERR_FILE"),
  });
});

test("rubricate inspect shows stored layers as they are named, and checks them against the base", async () => {
  const argv = ["inspect", "--adapter", join(folderOf("peft_stored"), "gpt2_ia3"), "--json"];
  const shown = await runCli([...argv, "--model", folderOf("gpt2")]);
  expect(shown.status).toBe(0);
  const { kind, parameters, config, tensors } = JSON.parse(shown.stdout);
  expect([kind, parameters, config.target_modules, tensors.length]).toEqual(["ia3", 336, ["c_attn", "mlp.c_proj"], 4]);
  expect((await runCli(argv)).status).toBe(0);
  const other = await runCli([...argv, "--model", folderOf("gqa")]);
  expect(other).toMatchObject({ status: 1, stdout: expect.stringContaining("ERR_ADAPTER_FORMAT") });
});

test("what PEFT has no form for is refused, and nothing is written", async () => {
  const model = models.get("gpt2")!;
  const out = join(home, "refused");
  using norm = RedAdapter.create(model, { variant: "ln" });
  await expect(exportPeft(model, norm, out)).rejects.toMatchObject({ code: "ERR_ARGUMENT" });
  using inputs = Ia3Adapter.create(model, {
    targetModules: ["q_proj", "k_proj", "v_proj"],
    feedforwardModules: ["q_proj", "k_proj", "v_proj"],
  });
  randomize(inputs, 1);
  await expect(exportPeft(model, inputs, out)).rejects.toThrow(
    /same scale of the inputs of all of q_proj, k_proj, v_proj/,
  );
  using lora = await LoraAdapter.create(model);
  await expect(exportPeft(model, lora, model.dir)).rejects.toMatchObject({ code: "ERR_FILE" });
  await exportPeft(model, lora, out);
  await expect(exportPeft(model, lora, out)).rejects.toMatchObject({ code: "ERR_FILE" });
  await exportPeft(model, lora, out, { overwrite: true });
  await expect(exportPeft(models.get("phi3")!, lora, out)).rejects.toMatchObject({ code: "ERR_FOREIGN" });
});

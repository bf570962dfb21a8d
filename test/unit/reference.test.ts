/** Adapters of RED's reference implementation: RedAdapter.fromReference, rubricate import, rubricate inspect. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadAdapter } from "../../lib/adapter/load";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { float32Values, readSafetensors } from "../../lib/files/safetensors";
import type { LanguageModel } from "../../lib/model/model";
import { folderOf, loadFixture } from "../parity/fixtures";
import { runCli } from "./cli_support";
import { writeVectors } from "./torch_archives";

const ids = Int32Array.of(5, 9, 22, 7, 41, 3);
const fileOf = (name: string) => join(folderOf("reference"), name, "delta_vector.pth");
let home: string;
let llama: LanguageModel;
let gpt2: LanguageModel;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-reference-"));
  llama = await loadFixture("gqa", { dtype: "float32" });
  gpt2 = await loadFixture("gpt2", { dtype: "float32" });
});
afterAll(() => {
  llama?.dispose();
  gpt2?.dispose();
  rmSync(home, { recursive: true, force: true });
});

/** The vectors as torch.load returns them, by the names of the file, and PyTorch's logits. */
async function expectedOf(name: string) {
  const vectors = await readSafetensors(join(folderOf("reference"), name, "vectors.safetensors"));
  const logits = await readSafetensors(join(folderOf("reference"), name, "logits.safetensors"));
  const numbers = (key: string) => float32Values(vectors.get(key)!, key);
  return { numbers, logits: float32Values(logits.get("logits")!, "logits") };
}

const gpt2Modules = { down_proj: "mlp.c_proj", o_proj: "attn.c_proj" } as const;
const parts = { scale: "activation_scaling", bias: "activation_bias" } as const;

test.each(["llama", "gpt2", "gpt2_more"])("%s: vectors equal torch's, and logits those of PyTorch", async (name) => {
  const model = name === "llama" ? llama : gpt2;
  const { numbers, logits } = await expectedOf(name);
  using adapter = await RedAdapter.fromReference(fileOf(name), model);
  const { hidden, stacks } = model.architecture;
  const sites = name === "gpt2_more" ? ["q", "k", "v", "attention", "ffn"] : ["ffn"];
  const layers = Array.from({ length: stacks[0].layers }, (_, layer) => layer);
  expect(adapter.config).toEqual({ variant: "all", sites, layers, hidden });
  let largest = 0;
  for (const [vector, values] of adapter.vectors()) {
    const [, layer, block, projection, part] = vector.split(".") as [string, string, string, string, "scale" | "bias"];
    const own = gpt2Modules[projection as keyof typeof gpt2Modules];
    const module = name === "llama" ? `${block}.${projection}` : (own ?? "attn.c_attn");
    const key = `${name === "llama" ? "model.layers" : "transformer.h"}.${layer}.${module}.delta_vector.${parts[part]}`;
    const start = module === "attn.c_attn" ? ["q", "k", "v"].indexOf(projection[0]!) * hidden : 0;
    expect(values).toEqual(numbers(key).subarray(start, start + hidden));
    largest = Math.max(largest, ...values);
  }
  expect(largest).toBe(74);
  const computed = await model.logits(ids, { adapter });
  const size = Math.max(...logits.map(Math.abs));
  const flat = Array.from(computed);
  expect(flat).toHaveLength(logits.length);
  for (const [at, value] of flat.entries()) expect(Math.abs(value - logits[at]!) / size).toBeLessThan(1e-5);
});

/** A file for the model `llama` (2 layers of width 48), whose names and shapes are changed. */
function fileWith(names: readonly string[], options: Partial<Parameters<typeof writeVectors>[2]> = {}) {
  const path = join(home, "delta_vector.pth");
  writeVectors(path, names, { width: 48, ...options });
  return path;
}
const vector = (layer: number | string, part: string, module = "mlp.down_proj") =>
  `model.layers.${layer}.${module}.delta_vector.activation_${part}`;
const both = (part: string) => [vector(0, part), vector(1, part)];
const all = [...both("bias"), ...both("scaling")];
const norm = [...both("ln.weight"), ...both("ln.bias")];

test.each([
  ["all", all],
  ["scale", both("scaling")],
  ["bias", both("bias")],
  ["ln", [...all, ...norm]],
])("variant %s, in any order of names and as vectors of one dimension", async (variant, names) => {
  for (const order of [names, [...names].reverse()]) {
    const adapter = await RedAdapter.fromReference(fileWith(order, { shape: [48] }), llama);
    expect(adapter.config.variant).toBe(variant);
    for (const values of adapter.vectors().values()) expect(values.every((one) => one === 1)).toBe(true);
    adapter.dispose();
  }
});

test.each<[what: string, names: readonly string[], says: RegExp, ...options: [Parameters<typeof fileWith>[1]?]]>([
  ["nothing", [], /Expected RED's vectors .* it has none/],
  [
    "a missing layer",
    [vector(0, "bias"), vector(0, "scaling")],
    /a tensor model\.layers\.1\..*activation_scaling.* found none/,
  ],
  ["a missing vector", all.slice(1), /a tensor model\.layers\.0\..*activation_bias.* found none/],
  ["too many layers", [...all, vector(2, "bias"), vector(2, "scaling")], /layers from 0 to 1.*layers\.2\./],
  ["a layer twice", [...all, vector("01", "bias")], /names model\.layers\.N\.MODULE.*layers\.01/],
  ["another width", all, /shape \[1, 48\] for .* found \[2, 24\]/, { shape: [2, 24] }],
  ["a smaller width", all, /shape \[1, 48\] for .* found \[1, 32\]/, { shape: [1, 32] }],
  [
    "a site that there is not",
    [...all, vector(0, "bias", "mlp.nothing")],
    /with MODULE one of .*mlp\.down_proj.*nothing/,
  ],
  ["a name of the prototype", [...all, vector(0, "bias", "constructor")], /with MODULE one of/],
  ["a part that there is not", [...all, vector(0, "shift")], /activation_shift/],
  ["a layer norm alone", norm, /both with activation_ln/],
  ["the base's weights", [...all, "model.layers.0.mlp.down_proj.update_layer.weight"], /update_layer/],
  ["GPT-2's", ["transformer.h.0.mlp.c_proj.delta_vector.activation_bias"], /family, llama, .* those of GPT-2:/],
  [
    "RoBERTa's",
    ["encoder.layer.0.output.dense.delta_vector.activation_bias"],
    /those of RoBERTa, a family that is not supported/,
  ],
  [
    "T5's",
    ["decoder.block.0.layer.2.DenseReluDense.wo.delta_vector.activation_bias"],
    /those of T5, a family that is not/,
  ],
  ["infinity", all, /finite numbers but found Infinity at 0/, { value: Number.POSITIVE_INFINITY }],
])("refuses %s", async (_, names, says, ...options) => {
  await expect(RedAdapter.fromReference(fileWith(names, ...options), llama)).rejects.toEqual(
    expect.objectContaining({ code: "ERR_ADAPTER_FORMAT", message: expect.stringMatching(says) }),
  );
});

test("a layer norm over GPT-2's q, k and v together is refused", async () => {
  const names = ["bias", "scaling", "ln.weight", "ln.bias"].map(
    (part) => `transformer.h.0.attn.c_attn.delta_vector.activation_${part}`,
  );
  await expect(RedAdapter.fromReference(fileWith(names), gpt2)).rejects.toThrow(
    /no layer norm over q, k and v together/,
  );
  await expect(RedAdapter.fromReference(fileOf("llama"), gpt2)).rejects.toThrow(/family, gpt2, .* those of LLaMA/);
});

test("rubricate import writes an adapter's folder, once", async () => {
  const out = join(home, "adapter");
  const argv = ["import", "--model", folderOf("gqa"), "--device", "cpu", "--from", fileOf("llama"), "--out", out];
  const { status, stdout } = await runCli([...argv, "--json"]);
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    adapter: out,
    variant: "all",
    sites: ["ffn"],
    layers: [0, 1],
    parameters: 192,
  });
  using imported = await RedAdapter.fromReference(fileOf("llama"), llama);
  using loaded = await loadAdapter(out, llama);
  expect(loaded.vectors()).toEqual(imported.vectors());
  const again = await runCli(argv);
  expect(again).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/Expected no adapter in .*--overwrite replaces it/),
  });
  expect((await runCli([...argv, "--overwrite"])).status).toBe(0);
});

test("rubricate import of a wrong file writes nothing", async () => {
  const out = join(home, "nothing");
  const from = join(folderOf("reference"), "views.pth");
  const failed = await runCli(["import", "--model", folderOf("gqa"), "--device", "cpu", "--from", from, "--out", out]);
  expect(failed).toMatchObject({ status: 1, stderr: expect.stringMatching(/ERR_ADAPTER_FORMAT/) });
  expect(existsSync(out)).toBe(false);
});

test("rubricate inspect says what a .pth file is, and what to do", async () => {
  const { status, stderr } = await runCli(["inspect", fileOf("llama")]);
  expect(status).toBe(2);
  expect(stderr).toMatch(/is named as a file of torch\.save.*rubricate import --model DIR --from .* --out DIR/);
});

/** HiWi on weights and GIFT with an activation: which weights they read, their options, and versions of them. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MethodConfig } from "../../lib/adapter/adapter";
import { createAdapter } from "../../lib/adapter/create";
import { loadAdapter } from "../../lib/adapter/load";
import { mergeAdapter } from "../../lib/adapter/merge";
import { gift } from "../../lib/adapter/methods/gift";
import { hiwi } from "../../lib/adapter/methods/hiwi";
import { runJob } from "../../lib/job";
import { LanguageModel } from "../../lib/model/model";
import { loadFixture } from "../parity/fixtures";

const quiet = { onNotice: () => {} };
const home = mkdtempSync(join(tmpdir(), "rubricate-adapted-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** A matrix of a model's checkpoint, by rows. */
async function matrixOf(model: LanguageModel, name: string, shape: readonly [number, number]): Promise<Float32Array> {
  const { data } = await runJob(() => model.native.mergedTensor([{ name, shape }], "float32", false));
  return new Float32Array(data.buffer, data.byteOffset, data.length / 4);
}

/** a [m, k] times b [k, n], or its transpose [n, k]. */
function product(a: Float32Array, b: Float32Array, m: number, k: number, n: number, transposed = false): Float32Array {
  return Float32Array.from({ length: m * n }, (_, at) => {
    const [row, column] = [Math.floor(at / n), at % n];
    let sum = 0;
    for (let i = 0; i < k; i++) sum += a[row * k + i]! * b[transposed ? column * k + i : i * n + column]!;
    return sum;
  });
}

const numbers = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, at) => Math.sin(1 + at * (seed + 1) * 0.7) / 2);

// Parts of a fused tensor, transposed ones, and both, each computed in float32 and in bfloat16.
describe.each([
  ["phi3_bf16", "self_attn.v_proj"],
  ["gpt2", "self_attn.v_proj"],
  ["gpt2_bf16", "mlp.up_proj"],
  ["gqa_bf16", "self_attn.v_proj"],
] as const)("%s", (fixture, module) => {
  test.each(["float32", "bfloat16"] as const)("changes the weight that it reads, in %s", async (dtype) => {
    using model = await loadFixture(fixture, { dtype });
    const name = `layers.1.${module}`;
    const site = module === "mlp.up_proj" ? "up" : "v";
    const options = { rank: 2, sites: [site], layers: [1] } as const;
    using ofWeight = await createAdapter(model, hiwi({ ...options, target: "weights" }));
    const [down, up] = [ofWeight.native.shapes[0]!, ofWeight.native.shapes[1]!];
    const outputs = up[0]!;
    const inputs = model.architecture.hidden;
    expect([down, up]).toEqual([
      [2, outputs],
      [outputs, 2],
    ]);
    const [a, b] = [numbers(2 * outputs, 1), numbers(2 * outputs, 2)];
    ofWeight.setVectors(
      new Map([
        [`${name}.hiwi_down`, a],
        [`${name}.hiwi_up`, b],
      ]),
    );
    const w = await matrixOf(model, `${name}.weight`, [outputs, inputs]);
    const relu = product(a, w, 2, outputs, inputs).map((x) => Math.max(x, 0));
    await expectMerged(model, ofWeight, name, w, product(b, relu, outputs, 2, inputs), outputs);

    using ofGift = await createAdapter(model, gift({ ...options, activation: "tanh" }));
    const [q, p] = [numbers(2 * inputs, 3), numbers(2 * inputs, 4)];
    const names = ofGift.native.names;
    ofGift.setVectors(
      new Map([
        [names[0]!, q],
        [names[1]!, p],
      ]),
    );
    const tanh = product(w, p, outputs, inputs, 2, true).map(Math.tanh);
    await expectMerged(model, ofGift, name, w, product(tanh, q, outputs, 2, inputs, true), outputs);
  });

  async function expectMerged(
    model: LanguageModel,
    adapter: Awaited<ReturnType<typeof createAdapter>>,
    name: string,
    weight: Float32Array,
    change: Float32Array,
    outputs: number,
  ): Promise<void> {
    const dir = join(home, `${fixture}-${model.dtype}-${adapter.method}`);
    await mergeAdapter(model, adapter, dir, { dtype: "float32" });
    using merged = await LanguageModel.fromPretrained(dir, { dtype: "float32" });
    const got = await matrixOf(merged, `${name}.weight`, [outputs, weight.length / outputs]);
    const largest = Math.max(...change.map(Math.abs));
    // The model computes with weights rounded to bfloat16, where the checkpoint's are float32.
    const allowed = fixture === "gpt2" && model.dtype === "bfloat16" ? 2 ** -6 : 1e-5;
    expect(largest).toBeGreaterThan(0.01);
    for (const [at, value] of got.entries())
      expect(Math.abs(value - weight[at]! - change[at]!)).toBeLessThan(allowed * (largest + 1));
  }
});

describe("hiwi's target", () => {
  test("is the biases where the base has some at all sites, else the weights", async () => {
    using llama = await loadFixture("gqa", { dtype: "float32" });
    using gpt2 = await loadFixture("gpt2", { dtype: "float32" });
    const targetOf = async (model: LanguageModel, options = {}) =>
      ((await createAdapter(model, hiwi(options))).config as MethodConfig).target;
    expect(await targetOf(llama)).toBe("weights");
    expect(await targetOf(gpt2)).toBeUndefined();
    expect(await targetOf(gpt2, { target: "biases" })).toBeUndefined();
    expect(await targetOf(gpt2, { target: "weights" })).toBe("weights");
  });

  test("is the biases of a folder that names none, and another one is refused", async () => {
    using model = await loadFixture("gpt2", { dtype: "float32" });
    using adapter = await createAdapter(model, hiwi({ rank: 2 }), { seed: 1 });
    const dir = join(home, "biases");
    await adapter.savePretrained(dir);
    const path = join(dir, "adapter_config.json");
    const document = JSON.parse(readFileSync(path, "utf8"));
    expect(document.config).toEqual({ rank: 2, activation: "relu", sites: ["up", "ffn"], layers: [0, 1] });
    expect((await loadAdapter(dir, model, quiet)).vectors()).toEqual(adapter.vectors());
    const other = join(home, "other");
    cpSync(dir, other, { recursive: true });
    document.config.target = "bias";
    writeFileSync(join(other, "adapter_config.json"), JSON.stringify(document));
    await expect(loadAdapter(other, model, quiet)).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringMatching(/Expected one of biases, weights for target but received "bias"/),
    });
  });
});

describe("a version", () => {
  test("serves until the values change, and many requests at once make few", async () => {
    using model = await loadFixture("gqa", { dtype: "float32" });
    using adapter = await createAdapter(model, hiwi({ target: "weights", rank: 2 }), { seed: 1 });
    const published = () => runJob(() => model.native.publish(adapter.native));
    const all = await Promise.all([published(), published(), published()]);
    expect(new Set(all.map(({ id }) => id)).size).toBe(1);
    expect((await published()).id).toBe(all[0]!.id);
    adapter.setVectors(adapter.vectors());
    const after = await published();
    expect(after.id).not.toBe(all[0]!.id);
    expect((await published()).id).toBe(after.id);
  });

  test("is made by a job, which uses the adapter until it ends", async () => {
    using model = await loadFixture("gqa", { dtype: "float32" });
    using adapter = await createAdapter(model, hiwi({ target: "weights", rank: 2 }), { seed: 1 });
    const job = model.native.publish(adapter.native);
    expect(() => adapter.setVectors(adapter.vectors())).toThrow(expect.objectContaining({ code: "ERR_BUSY" }));
    await job.promise;
    adapter.setVectors(adapter.vectors());
  });
});

/** When blocks are recomputed in the backward pass, with the real core. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ia3Adapter, type Ia3AdapterOptions } from "../../lib/adapter/ia3_adapter";
import type { Ia3Module } from "../../lib/adapter/ia3_config";
import { LoraAdapter, type LoraAdapterOptions } from "../../lib/adapter/lora_adapter";
import { RedAdapter, type RedAdapterOptions } from "../../lib/adapter/red_adapter";
import { float32Tensor, readSafetensors, type StoredTensor, safetensorsPieces } from "../../lib/files/safetensors";
import { LanguageModel } from "../../lib/model/model";
import { type NativeMicroBatch, native } from "../../lib/native";
import { recomputeRule, storedBytesPerToken, storedShare } from "../../lib/train/recompute";

const embedded = join(__dirname, "../../lib/embedded/default");
const still = { learningRate: 0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, decayToZero: false };

/** Sequences of 64 tokens with four supervised tokens each, so that the head's share is small. */
function microBatch(sequences: number, slot: 0 | 1, ids: number): NativeMicroBatch {
  const length = 64;
  return {
    tokenIds: Int32Array.from({ length: sequences * length }, (_, at) => (at * 7 + 3) % ids),
    sequenceStarts: Int32Array.from({ length: sequences + 1 }, (_, at) => at * length),
    targets: Int32Array.from({ length: sequences * length }, (_, at) => (at % length < length - 4 ? -1 : at % ids)),
    slots: new Int32Array(sequences).fill(slot),
  };
}

type Spec = RedAdapterOptions | LoraAdapterOptions | Ia3AdapterOptions;

function adapterOf(model: LanguageModel, spec: Spec) {
  if ("rank" in spec) return LoraAdapter.create(model, spec);
  if ("feedforwardModules" in spec) return Ia3Adapter.create(model, spec);
  return RedAdapter.create(model, spec as RedAdapterOptions);
}

/** Peak memory of jobs, in bytes, during one step of a new model. */
async function peakOf(dtype: "float32" | "bfloat16", spec: Spec | undefined, sequences: number, folder = embedded) {
  using model = await LanguageModel.fromPretrained(folder, { dtype });
  const adapter = spec && (await adapterOf(model, spec));
  const parameters = adapter?.native ?? (await model.native.makeTrainable().promise);
  const optimizer = new (native().Optimizer)(parameters);
  const tenants = [{ parameters, optimizer, options: { ...still, maxGradNorm: 0 } }];
  const microBatches = [microBatch(sequences, adapter ? 1 : 0, Math.min(500, model.vocabularySize))];
  await model.native.trainStep({ tenants, microBatches, recompute: false, update: false }).promise;
  const found = { peak: model.memory().workspacePeak, perToken: storedBytesPerToken(model, adapter) };
  optimizer.dispose();
  adapter?.dispose();
  return found;
}

/** Growth of the peak per token in bytes: measured, and counted by the rule. */
async function growthOf(dtype: "float32" | "bfloat16", spec: Spec | undefined, folder = embedded) {
  const [small, large] = [await peakOf(dtype, spec, 2, folder), await peakOf(dtype, spec, 8, folder)];
  return { measured: (large.peak - small.peak) / (6 * 64), counted: small.perToken };
}

test.each<["float32" | "bfloat16", Spec]>([
  ["float32", {}],
  ["bfloat16", {}],
  ["float32", { sites: ["attention"] }],
  ["bfloat16", { variant: "scale", sites: ["ffn", "attention"] }],
  ["bfloat16", { sites: ["q", "k", "v"] }],
  ["bfloat16", { variant: "ln", sites: ["ffn", "attention"] }],
  ["bfloat16", { variant: "bias" }],
  ["float32", { sites: ["gate", "up"] }],
  ["bfloat16", { rank: 8 }],
  ["float32", { rank: 16, targetModules: "all-linear" }],
  ["float32", { rank: 4, targetModules: ["o_proj", "down_proj"] }],
  ["bfloat16", { variant: "ln", sites: ["gate"] }],
])("in %s with %j, storing one more layer costs the counted bytes", async (dtype, spec) => {
  const [all, fewer] = [
    await growthOf(dtype, { ...spec, layers: [0, 1, 2, 3] }),
    await growthOf(dtype, { ...spec, layers: [1, 2, 3] }),
  ];
  expect(all.measured - fewer.measured).toBe(all.counted - fewer.counted);
  expect(all.counted / all.measured).toBeGreaterThan(0.8); // the rest belongs to the current block
});

test.each<["float32" | "bfloat16", readonly Ia3Module[]]>([
  ["float32", ["k_proj", "v_proj", "down_proj"]],
  ["bfloat16", ["q_proj", "k_proj", "gate_proj"]],
  ["float32", ["o_proj", "up_proj", "down_proj"]],
])("in %s with scaled inputs of %j, storing costs the counted bytes", async (dtype, modules) => {
  const { measured, counted } = await growthOf(dtype, { targetModules: modules, feedforwardModules: modules });
  expect(counted / measured).toBeGreaterThan(0.8); // the rest belongs to the current block
  expect(counted).toBeLessThanOrEqual(measured);
});

/** The embedded model with norms of heads. */
async function normedModel(folder: string): Promise<void> {
  const config = JSON.parse(readFileSync(join(embedded, "config.json"), "utf8"));
  const head_dim = config.hidden_size / config.num_attention_heads;
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, model_type: "qwen3", head_dim }));
  const stored = await readSafetensors(join(embedded, "model.safetensors"));
  const tensors: StoredTensor[] = [...stored].map(([name, tensor]) => ({
    name,
    dtype: tensor.dtype as "F32" | "BF16",
    shape: tensor.shape,
    data: () => tensor.data,
  }));
  for (let layer = 0; layer < config.num_hidden_layers; layer++)
    for (const norm of ["q_norm", "k_norm"])
      tensors.push(
        float32Tensor(`model.layers.${layer}.self_attn.${norm}.weight`, [head_dim], new Float32Array(head_dim).fill(1)),
      );
  const pieces: Uint8Array[] = [];
  for await (const piece of safetensorsPieces(tensors)) pieces.push(piece);
  writeFileSync(join(folder, "model.safetensors"), Buffer.concat(pieces));
}

describe("with norms of heads", () => {
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "rubricate-recompute-"));
    await normedModel(folder);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each(["float32", "bfloat16"] as const)("in %s, one more layer costs the counted bytes", async (dtype) => {
    const grown = (layers: number[]) => growthOf(dtype, { layers }, folder);
    const [all, fewer] = [await grown([0, 1, 2, 3]), await grown([1, 2, 3])];
    expect(all.measured - fewer.measured).toBe(all.counted - fewer.counted);
  });
});

/** A GPT-2 of four layers. */
async function gpt2Model(folder: string): Promise<void> {
  const [hidden, layers, vocabulary, positions] = [96, 4, 512, 64];
  const sizes = { n_embd: hidden, n_layer: layers, n_head: 4, vocab_size: vocabulary, n_positions: positions };
  writeFileSync(join(folder, "config.json"), JSON.stringify({ model_type: "gpt2", ...sizes }));
  const tensors: StoredTensor[] = [];
  const add = (name: string, shape: number[], value?: number) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length: count }, (_, at) => value ?? Math.sin(at) / 10);
    tensors.push(float32Tensor(`transformer.${name}`, shape, values));
  };
  const norm = (name: string) => {
    add(`${name}.weight`, [hidden], 1);
    add(`${name}.bias`, [hidden], 0);
  };
  const linear = (name: string, inputs: number, outputs: number) => {
    add(`${name}.weight`, [inputs, outputs]);
    add(`${name}.bias`, [outputs]);
  };
  add("wte.weight", [vocabulary, hidden]);
  add("wpe.weight", [positions, hidden]);
  norm("ln_f");
  for (let layer = 0; layer < layers; layer++) {
    norm(`h.${layer}.ln_1`);
    norm(`h.${layer}.ln_2`);
    linear(`h.${layer}.attn.c_attn`, hidden, 3 * hidden);
    linear(`h.${layer}.attn.c_proj`, hidden, hidden);
    linear(`h.${layer}.mlp.c_fc`, hidden, 4 * hidden);
    linear(`h.${layer}.mlp.c_proj`, 4 * hidden, hidden);
  }
  const pieces: Uint8Array[] = [];
  for await (const piece of safetensorsPieces(tensors)) pieces.push(piece);
  writeFileSync(join(folder, "model.safetensors"), Buffer.concat(pieces));
}

describe("of a GPT-2", () => {
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "rubricate-recompute-"));
    await gpt2Model(folder);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each<["float32" | "bfloat16", RedAdapterOptions]>([
    ["float32", {}],
    ["bfloat16", {}],
    ["float32", { sites: ["attention"] }],
    ["bfloat16", { variant: "scale", sites: ["ffn", "attention"] }],
    ["bfloat16", { sites: ["q", "k", "v"] }],
    ["float32", { variant: "ln", sites: ["up"] }],
  ])("in %s with %j, one more layer costs the counted bytes", async (dtype, spec) => {
    const grown = (layers: number[]) => growthOf(dtype, { ...spec, layers }, folder);
    const [all, fewer] = [await grown([0, 1, 2, 3]), await grown([1, 2, 3])];
    expect(all.measured - fewer.measured).toBe(all.counted - fewer.counted);
  });
});

test("with all weights trained, most of the memory's growth is counted", async () => {
  const { measured, counted } = await growthOf("bfloat16", undefined);
  expect(counted / measured).toBeGreaterThan(0.9);
  expect(counted / measured).toBeLessThanOrEqual(1);
});

describe("recompute", () => {
  let model: LanguageModel;
  beforeAll(async () => {
    model = await LanguageModel.fromPretrained(embedded);
  });
  afterAll(() => model?.dispose());
  afterEach(() => jest.restoreAllMocks());

  /** Free memory that allows storing exactly this many tokens. */
  const enoughFor = (tokens: number, adapter: RedAdapter) =>
    model.memory().mapped + (tokens * storedBytesPerToken(model, adapter)) / storedShare;

  test("auto compares what the largest micro-batch stores with half of the free memory less the weights", () => {
    using adapter = RedAdapter.create(model);
    const available = jest.spyOn(process, "availableMemory");
    for (const [free, expected] of [
      [enoughFor(192, adapter), false],
      [enoughFor(192, adapter) - 1e3, true],
      [model.memory().mapped / 2, true],
    ] as const) {
      available.mockReturnValue(free);
      expect(recomputeRule("auto", model, adapter)(192)).toBe(expected);
    }
    for (const choice of [true, false]) expect(recomputeRule(choice, model, adapter)(192)).toBe(choice);
  });
});

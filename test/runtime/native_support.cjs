// Helpers of the child processes of runtime tests: the addon without TypeScript, and a tiny model from the fixtures.
const { readFileSync } = require("node:fs");
const { join } = require("node:path");

const native = require("node-gyp-build")(join(__dirname, "../.."));
const folder = join(__dirname, "../parity/fixtures/gqa");
const { batch } = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8"));

/** The fixture's config.json in the form that the core reads. */
const architecture = JSON.stringify({
  version: 1,
  family: "llama",
  vocabulary: 128,
  hidden: 48,
  context: 128,
  tied_embeddings: true,
  stacks: [
    {
      layers: 2,
      norm: { kind: "rms", eps: 1e-5 },
      position: { kind: "rope", inv_freq: [0, 1, 2, 3].map((i) => Math.fround(500 ** (-i / 4))), factor: 1 },
      attention: {
        heads: 6,
        kv_heads: 2,
        head_dim: 8,
        scale: 8 ** -0.5,
        mask: "causal",
        qkv_bias: false,
        output_bias: false,
      },
      feed_forward: { kind: "swiglu", size: 88, bias: false },
    },
  ],
});

/** RED's plan: a scale and a bias after the feed-forward of both layers. */
const plan = JSON.stringify({
  parameters: [0, 1].flatMap((layer) =>
    ["scale", "bias"].map((part, at) => ({
      name: `layers.${layer}.mlp.down_proj.${part}`,
      shape: [48],
      start: 1 - at,
    })),
  ),
  sites: [0, 1].map((layer) => ({ layer, site: "down_proj", scale: 2 * layer, bias: 2 * layer + 1 })),
});

const load = () =>
  native.loadModel({
    architecture,
    files: [join(folder, "model.safetensors")],
    prefix: "model.",
    stored: {},
    ignored: [],
  }).promise;

const options = {
  learningRate: 0.01,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  decayToZero: false,
  maxGradNorm: 1,
};

const microBatch = {
  tokenIds: Int32Array.from(batch.tokenIds),
  sequenceStarts: Int32Array.from(batch.sequenceStarts),
  targets: Int32Array.from(batch.targets),
  slots: new Int32Array(batch.sequenceStarts.length - 1).fill(1),
};

/** A loaded model with an adapter and its optimizer. */
async function trainee() {
  const model = await load();
  const adapter = new native.Adapter(architecture, plan);
  const optimizer = new native.Optimizer(adapter);
  /** A NativeJob of one optimizer step over `microBatches` times the same micro-batch; 1,000 take about a second. */
  const step = (microBatches = 1) =>
    model.trainStep({
      tenants: [{ parameters: adapter, optimizer, options }],
      microBatches: Array(microBatches).fill(microBatch),
      recompute: false,
      update: true,
    });
  return { model, adapter, optimizer, step };
}

module.exports = { native, architecture, plan, load, microBatch, options, trainee };

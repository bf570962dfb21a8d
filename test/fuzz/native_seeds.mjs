/** A few small seed inputs for each native fuzz target. */

const architecture = {
  version: 1,
  family: "llama",
  vocabulary: 61,
  hidden: 24,
  context: 300,
  tied_embeddings: true,
  stacks: [
    {
      layers: 3,
      norm: { kind: "rms", eps: 1e-5 },
      position: { kind: "rope", inv_freq: [1, 0.5, 0.25], factor: 1 },
      attention: {
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        scale: 0.4,
        mask: "causal",
        qkv_bias: false,
        output_bias: true,
      },
      feed_forward: { kind: "swiglu", size: 40, bias: false },
    },
  ],
};

/** If the first byte is odd, the target corrects the header's length, with 0xff as the header's end. */
function safetensors(header, bytes) {
  return Buffer.concat([
    Buffer.from([1]),
    Buffer.from(JSON.stringify(header)),
    Buffer.from([0xff]),
    Buffer.alloc(bytes),
  ]);
}

const entry = (dtype, shape, begin, end) => ({ dtype, shape, data_offsets: [begin, end] });

export const seeds = {
  json: [
    '{"a":[1,-2.5e3,"\\u00e9\\ud83d\\ude00",null,true,false,{}],"":{"b":[]}}',
    '[[[0]], {"dtype":"F32","shape":[2,2]}]',
    '"text"',
    JSON.stringify(architecture),
  ].map((text) => Buffer.from(text)),
  safetensors: [
    safetensors({ a: entry("F32", [2, 2], 0, 16), b: entry("BF16", [3], 16, 22) }, 22),
    safetensors({ __metadata__: { format: "pt" }, half: entry("F4", [2], 0, 1), none: entry("I64", [0, 7], 1, 1) }, 1),
    Buffer.from("\u0008\0\0\0\0\0\0\0{}      "),
  ],
  architecture: [
    architecture,
    { ...architecture, tied_embeddings: false, context: 16777216, vocabulary: 16777216 },
  ].map((document) => Buffer.from(JSON.stringify(document))),
};

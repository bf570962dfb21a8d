/** Phi-3 of the short context: what transformers (5.18) makes of its config.json, or that it is refused by name. */
import { describeModel } from "../../lib/model/families";

const sizes = {
  hidden_size: 32,
  num_attention_heads: 4,
  intermediate_size: 40,
  num_hidden_layers: 2,
  vocab_size: 50,
};
const describeIt = (changes: object = {}) => describeModel({ model_type: "phi3", ...sizes, ...changes }, "config.json");
const refused = (says: RegExp) => expect.objectContaining({ code: "ERR_CONFIG", message: expect.stringMatching(says) });

test("defaults", () => {
  const { architecture, bosTokenId, eosTokenIds } = describeIt();
  expect(architecture).toMatchObject({ family: "phi3", context: 4096, tied_embeddings: false });
  const [{ attention, norm, feed_forward }] = architecture.stacks;
  expect(attention).toMatchObject({ heads: 4, kv_heads: 4, head_dim: 8, qkv_bias: false, output_bias: false });
  expect([norm, feed_forward]).toEqual([
    { kind: "rms", eps: 1e-5 },
    { kind: "swiglu", size: 40, bias: false },
  ]);
  expect([bosTokenId, eosTokenIds]).toEqual([1, [32000]]);
  expect(describeIt({ eos_token_id: null }).eosTokenIds).toEqual([]);
});

test("the window of Phi-3-mini-4k, in all layers", () => {
  const found = (changes: object) => {
    const { architecture } = describeIt(changes);
    const { window, window_layers } = architecture.stacks[0].attention;
    return [architecture.context, window, window_layers];
  };
  expect(found({ sliding_window: 2047 })).toEqual([4096, 2047, undefined]);
  expect(found({ sliding_window: null })).toEqual([4096, undefined, undefined]);
  expect(found({ sliding_window: 4096 })).toEqual([4096, undefined, undefined]);
});

test("q, k and v, and gate and up, are rows of one stored matrix", () => {
  const { parts } = describeIt({ num_key_value_heads: 2 }).storage;
  const rows = Object.values(parts).map(({ name, begin, total }) => [name.split(".")[3], begin, total]);
  expect(rows).toEqual([
    ["qkv_proj", 0, 64],
    ["qkv_proj", 32, 64],
    ["qkv_proj", 48, 64],
    ["gate_up_proj", 0, 80],
    ["gate_up_proj", 40, 80],
  ]);
});

test.each([
  [{ rope_scaling: { type: "longrope", short_factor: [1, 1, 1, 1] } }, /"default": .* for type .*"longrope"/],
  [{ rope_scaling: { rope_type: "linear", factor: 2 } }, /"default": .* for rope_type .*"linear"/],
  [{ partial_rotary_factor: 1.25 }, /1 to 8 components of a head .* for partial_rotary_factor .* received 1.25/],
  [{ rope_parameters: { partial_rotary_factor: 0.1 } }, /1 to 8 .* for partial_rotary_factor in .*rope_parameters/],
  [{ hidden_act: "gelu" }, /"silu" or "swish" for hidden_act/],
  [{ sliding_window: 0 }, /for sliding_window/],
])("%p is refused", (changes, says) => {
  expect(() => describeIt(changes)).toThrow(refused(says));
});

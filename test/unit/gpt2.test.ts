/** GPT-2: what transformers (5.18) makes of its config.json, its stored tensors, and where it differs from the other families. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { readSafetensors, type StoredTensor, safetensorsPieces } from "../../lib/files/safetensors";
import { LanguageModel } from "../../lib/index";
import { limits } from "../../lib/limits";
import { describeModel } from "../../lib/model/families";
import { runCli } from "./cli_support";

const sizes = { n_embd: 32, n_head: 4, n_layer: 2, vocab_size: 60000 };
const describeIt = (changes: object = {}) => describeModel({ model_type: "gpt2", ...sizes, ...changes }, "config.json");
const stackOf = (changes: object) => describeIt(changes).architecture.stacks[0];
const refused = (says: RegExp) => expect.objectContaining({ code: "ERR_CONFIG", message: expect.stringMatching(says) });

const fixture = join(__dirname, "..", "parity", "fixtures", "gpt2");
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "rubricate-gpt2-"));
});
afterEach(() => rmSync(root, { recursive: true }));

/** A copy of the fixture whose tensors were changed. */
async function folderWith(change: (tensors: Map<string, Omit<StoredTensor, "name">>) => void, config: object = {}) {
  const folder = join(root, "model");
  cpSync(fixture, folder, { recursive: true });
  const tensors = new Map<string, Omit<StoredTensor, "name">>(
    [...(await readSafetensors(join(folder, "model.safetensors")))].map(([name, { dtype, shape, data }]) => [
      name,
      { dtype: dtype as StoredTensor["dtype"], shape, data: async () => data },
    ]),
  );
  change(tensors);
  const pieces: Uint8Array[] = [];
  for await (const piece of safetensorsPieces([...tensors].map(([name, tensor]) => ({ name, ...tensor }))))
    pieces.push(piece);
  writeFileSync(join(folder, "model.safetensors"), Buffer.concat(pieces));
  const path = join(folder, "config.json");
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...config }));
  return folder;
}
const load = (folder: string) => LanguageModel.fromPretrained(folder, { device: "cpu" });

describe("config.json", () => {
  test("defaults", () => {
    const { architecture, bosTokenId, eosTokenIds } = describeModel({ model_type: "gpt2" }, "config.json");
    expect(architecture).toEqual({
      version: 1,
      family: "gpt2",
      vocabulary: 50257,
      hidden: 768,
      context: 1024,
      tied_embeddings: true,
      stacks: [
        {
          layers: 12,
          norm: { kind: "layer", eps: 1e-5 },
          position: { kind: "learned" },
          attention: {
            heads: 12,
            kv_heads: 12,
            head_dim: 64,
            scale: 0.125,
            mask: "causal",
            qkv_bias: true,
            output_bias: true,
          },
          feed_forward: { kind: "gelu_tanh", size: 3072, bias: true },
        },
      ],
    });
    expect([bosTokenId, eosTokenIds]).toEqual([50256, [50256]]);
  });

  test("124,439,808 parameters, as transformers counts them", () => {
    const { parameterCount, tensors } = describeModel({ model_type: "gpt2" }, "config.json");
    expect(parameterCount).toBe(124439808);
    expect(tensors).toHaveLength(3 + 1 + 12 * 16);
    expect(tensors).not.toContain("layers.0.mlp.gate_proj.weight");
  });

  test("the other names of the sizes, which transformers prefers", () => {
    const other = { hidden_size: 64, num_attention_heads: 2, num_hidden_layers: 3, max_position_embeddings: 77 };
    const { architecture } = describeModel({ model_type: "gpt2", ...other }, "config.json");
    expect(architecture).toMatchObject({
      hidden: 64,
      context: 77,
      stacks: [{ layers: 3, attention: { head_dim: 32 } }],
    });
    expect(describeIt({ ...other, n_positions: 5 }).architecture).toEqual({ ...architecture, vocabulary: 60000 });
  });

  test.each([
    ["gelu_new", "gelu_tanh"],
    ["gelu_pytorch_tanh", "gelu_tanh"],
    ["gelu", "gelu"],
  ])("activation_function %s", (activation_function, kind) => {
    expect(stackOf({ activation_function }).feed_forward.kind).toBe(kind);
  });

  test("n_inner, scales, ids", () => {
    expect(stackOf({ n_inner: 40 }).feed_forward.size).toBe(40);
    expect(stackOf({ n_inner: null }).feed_forward.size).toBe(128);
    expect(stackOf({ scale_attn_weights: false }).attention.scale).toBe(1);
    expect(stackOf({ scale_attn_by_inverse_layer_idx: true }).attention.scale_by_layer).toBe(true);
    expect(stackOf({ reorder_and_upcast_attn: true })).toEqual(stackOf({}));
    expect(describeIt({ eos_token_id: null, bos_token_id: 3 })).toMatchObject({ eosTokenIds: [], bosTokenId: 3 });
    expect(describeIt({ vocab_size: 97 })).toMatchObject({ eosTokenIds: [], bosTokenId: undefined });
  });

  test("the map of stored tensors does not grow with the layers: the core gets it on the event loop's thread", () => {
    const partsOf = (n_layer: number) => Object.keys(describeIt({ n_layer }).storage.parts);
    expect(partsOf(limits.maxLayers)).toEqual(partsOf(1));
  });

  test.each([
    [{ activation_function: "relu" }, /"gelu_new", "gelu_pytorch_tanh" or "gelu" for activation_function .*"relu"/],
    [{ activation_function: "constructor" }, /for activation_function/],
    [{ add_cross_attention: true }, /false for add_cross_attention in config.json but received true/],
    [{ n_head: 5 }, /divide n_embd \(32\) for n_head in config.json but received 5/],
    [{ n_head: 32 }, /heads of an even size .* for n_head/],
    [{ n_embd: 0 }, /for n_embd/],
    [{ n_layer: 1e9 }, /1 to 4096 for n_layer/],
    [{ num_hidden_layers: "2" }, /for num_hidden_layers/],
    [{ layer_norm_epsilon: 0 }, /for layer_norm_epsilon/],
    [{ n_positions: 1.5 }, /for n_positions/],
    [{ scale_attn_weights: 1 }, /true or false for scale_attn_weights/],
  ])("%p is refused", (changes, says) => {
    expect(() => describeIt(changes)).toThrow(refused(says));
  });
});

describe("stored tensors", () => {
  test("a fused tensor of another size is refused, and one that is stored the other way round", async () => {
    const shrunk = await folderWith((tensors) => {
      const { dtype, data } = tensors.get("transformer.h.1.attn.c_attn.weight")!;
      const first = async () => (await (data as () => Promise<Uint8Array>)()).slice(0, 24 * 48 * 4);
      tensors.set("transformer.h.1.attn.c_attn.weight", { dtype, shape: [24, 48], data: first });
    });
    await expect(load(shrunk)).rejects.toMatchObject({
      code: "ERR_SHAPE",
      message: "Expected shape [24, 72] for transformer.h.1.attn.c_attn.weight but the checkpoint has [24, 48]",
    });
    const transposed = await folderWith((tensors) => {
      const { dtype, data } = tensors.get("transformer.h.0.mlp.c_fc.weight")!;
      tensors.set("transformer.h.0.mlp.c_fc.weight", { dtype, shape: [96, 24], data });
    });
    await expect(load(transposed)).rejects.toMatchObject({
      code: "ERR_SHAPE",
      message: "Expected shape [24, 96] for transformer.h.0.mlp.c_fc.weight but the checkpoint has [96, 24]",
    });
  });

  test("missing and unknown ones are named as the checkpoint names them, each once", async () => {
    const missing = await folderWith((tensors) => tensors.delete("transformer.h.0.attn.c_attn.bias"));
    await expect(load(missing)).rejects.toMatchObject({
      code: "ERR_TENSOR_MISSING",
      message: 'The checkpoint lacks 1 tensors that the model needs: "transformer.h.0.attn.c_attn.bias"',
    });
    const unknown = await folderWith((tensors) =>
      tensors.set("transformer.h.2.attn.bias", tensors.get("transformer.ln_f.bias")!),
    );
    await expect(load(unknown)).rejects.toMatchObject({
      code: "ERR_TENSOR_UNEXPECTED",
      message: expect.stringContaining('"transformer.h.2.attn.bias"'), // there are two layers
    });
  });

  test("a tied head may be stored, under its own name alone or equal to the table", async () => {
    using plain = await load(fixture);
    const expected = await plain.logits([3, 1, 4]);
    for (const alone of [false, true]) {
      const folder = await folderWith((tensors) => {
        tensors.set("lm_head.weight", tensors.get("transformer.wte.weight")!);
        if (alone) tensors.delete("transformer.wte.weight");
      });
      using model = await load(folder);
      expect(await model.logits([3, 1, 4])).toEqual(expected);
      expect(model.notices.filter(({ code }) => code === "RUBRICATE_HEAD_NOT_TIED")).toEqual([]);
    }
  });
});

test("a sequence ends at the table of positions", async () => {
  using model = await load(fixture);
  expect(model.contextLength).toBe(64);
  expect(await model.logits(Array(64).fill(1))).toHaveLength(64 * 96);
  await expect(model.logits(Array(65).fill(1))).rejects.toMatchObject({ code: "ERR_CONTEXT_LENGTH" });
});

test("the site gate is refused; up is before the activation", async () => {
  using model = await load(fixture);
  expect(() => RedAdapter.create(model, { sites: ["ffn", "gate"] })).toThrow(
    expect.objectContaining({
      code: "ERR_ARGUMENT",
      message: expect.stringMatching(/gate, which .* lacks, for sites/),
    }),
  );
  using adapter = RedAdapter.create(model, { sites: ["up"] });
  expect(adapter.vectors().get("layers.0.mlp.up_proj.scale")).toHaveLength(96);
});

test("inspect shows the model", async () => {
  const argv = ["inspect", "--model", fixture, "--device", "cpu", "--json"];
  const [event] = (await runCli(argv)).stdout.split("\n");
  expect(JSON.parse(event!)).toMatchObject({
    family: "gpt2",
    context: 64,
    feedForward: 96,
    qkvBias: true,
    outputBias: true,
    feedForwardBias: true,
    ropeFactor: null,
  });
});

/** Merging: a folder that computes what base and adapter compute; what cannot be merged is refused. */

import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Adapter } from "../../lib/adapter/adapter";
import type { RedSite, RedVariant } from "../../lib/adapter/config";
import { Ia3Adapter } from "../../lib/adapter/ia3_adapter";
import { mergeAdapter } from "../../lib/adapter/merge";
import { readSafetensors } from "../../lib/files/safetensors";
import type { LanguageModel } from "../../lib/model/model";
import { folderOf } from "../parity/fixtures";
import { nodeArguments } from "./cli_support";
import { temporaryFolder } from "./failing_files";
import { allSites, fill, ids, load, loraOf, redOf, sitesOf } from "./merge_support";

let root: string;
beforeEach(() => {
  root = temporaryFolder();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));
const at = (...names: string[]) => join(root, ...names);
function largestDifference(one: Float32Array, other: Float32Array): number {
  expect(one).toHaveLength(other.length);
  return one.reduce((largest, value, index) => Math.max(largest, Math.abs(value - other[index]!)), 0);
}

/** Merges, and compares the logits of the folder with those of base and adapter, in fp32. */
async function expectMerged(model: LanguageModel, adapter: Adapter, out = at("merged")) {
  await mergeAdapter(model, adapter, out);
  using merged = await load(out);
  const expected = await model.logits(ids, { adapter });
  expect(largestDifference(await model.logits(ids), expected)).toBeGreaterThan(0.01); // the adapter matters
  expect(largestDifference(await merged.logits(ids), expected)).toBeLessThan(1e-5);
  return merged.architecture;
}

describe("the merged folder computes what base and adapter compute", () => {
  test.each<[string, RedVariant, RedSite[]]>([
    ["gqa", "all", ["ffn"]],
    ["gqa", "all", allSites],
    ["gqa", "scale", allSites],
    ["gqa", "bias", ["ffn", "q"]],
    ["bias", "all", allSites],
    ["llama3", "all", allSites],
    ["qwen2", "all", ["q", "k", "v"]],
    ["qwen2_tied", "scale", allSites],
    ["qwen3", "all", ["attention", "q"]],
    ["mistral", "scale", allSites],
    ["phi3", "scale", allSites],
    ["gpt2", "all", sitesOf("gpt2")],
    ["gpt2_old", "bias", ["v"]],
  ])("RED on %s, %s at %p", async (fixture, variant, sites) => {
    using model = await load(folderOf(fixture));
    await expectMerged(model, await redOf(model, variant, sites));
  });

  test.each(["gqa", "qwen2", "qwen3", "phi3", "gpt2"])("LoRA on %s", async (fixture) => {
    using model = await load(folderOf(fixture));
    await expectMerged(model, await loraOf(model, fixture === "gqa"));
  });

  test.each(["gqa", "bias", "qwen3", "phi3", "gpt2"])("(IA)3 on %s", async (fixture) => {
    using model = await load(folderOf(fixture));
    const adapter = Ia3Adapter.create(model, {
      feedforwardModules: ["q_proj", "down_proj"],
      targetModules: ["q_proj", "k_proj", "v_proj", "down_proj"],
    });
    await expectMerged(model, fill(await adapter));
  });
});

test("numbers that change while the folder is written are not merged", async () => {
  using model = await load(folderOf("gqa"));
  using adapter = await loraOf(model);
  const expected = await model.logits(ids, { adapter });
  const zeros = new Map([...adapter.vectors()].map(([name, values]) => [name, new Float32Array(values.length)]));
  await mergeAdapter(model, adapter, at("merged"), { onProgress: () => adapter.setVectors(zeros) });
  using merged = await load(at("merged"));
  expect(largestDifference(await merged.logits(ids), expected)).toBeLessThan(1e-5);
});

test("a base without biases: config.json says which group has them, and the others of the group are zeros", async () => {
  using model = await load(folderOf("gqa"));
  const [{ attention, feed_forward }] = await expectMerged(model, await redOf(model, "bias", ["q"])).then(
    ({ stacks }) => stacks,
  );
  expect([attention.qkv_bias, attention.output_bias, feed_forward.bias]).toEqual([true, true, false]);
  const config = JSON.parse(readFileSync(at("merged/config.json"), "utf8"));
  const base = JSON.parse(readFileSync(join(folderOf("gqa"), "config.json"), "utf8"));
  expect(config).toEqual({ ...base, attention_bias: true });
  const tensors = await readSafetensors(at("merged/model.safetensors"));
  expect(tensors.get("model.layers.0.self_attn.o_proj.bias")!.data.every((byte) => byte === 0)).toBe(true);
  expect(tensors.get("model.layers.1.self_attn.q_proj.bias")!.data.some((byte) => byte !== 0)).toBe(true);
});

test("what the adapter does not change keeps its bytes, and weights are rounded once to the checkpoint's dtype", async () => {
  using model = await load(folderOf("gqa_bf16"));
  const before = await readSafetensors(join(folderOf("gqa_bf16"), "model.safetensors"));
  await mergeAdapter(model, await redOf(model, "scale", ["ffn"]), at("merged"));
  const after = await readSafetensors(at("merged/model.safetensors"));
  expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
  const changed = [...after].filter(([name, { data }]) => !Buffer.from(data).equals(before.get(name)!.data));
  expect(changed.map(([name]) => name)).toEqual(
    [...after.keys()].filter((name) => name.endsWith("mlp.down_proj.weight")),
  );
  expect([...after.values()].every(({ dtype }) => dtype === "BF16")).toBe(true);
  // scale * w in double is at most half a unit in the last place of bfloat16 away, and an fp32 rounding.
  const widen = (data: Uint8Array) =>
    Float32Array.from(
      new Uint16Array(data.slice().buffer),
      (half) => new Float32Array(Uint32Array.of(half << 16).buffer)[0]!,
    );
  using adapter = await redOf(model, "scale", ["ffn"]);
  for (const [name, { data, shape }] of changed) {
    const scale = adapter.vectors().get(`${name.replace(/^model\.|\.weight$/g, "")}.scale`)!;
    const [own, old] = [widen(data), widen(before.get(name)!.data)];
    for (const [index, value] of own.entries()) {
      const exact = scale[Math.floor(index / shape[1]!)]! * old[index]!;
      expect(Math.abs(value - exact)).toBeLessThanOrEqual(
        2 ** (Math.floor(Math.log2(Math.abs(exact))) - 8) * (1 + 2 ** -12),
      );
    }
  }
});

test("dtype float32 keeps what rounding to bfloat16 would lose", async () => {
  using model = await load(folderOf("gqa_bf16"));
  using adapter = await redOf(model, "all", allSites);
  const expected = await model.logits(ids, { adapter });
  const away = async (dtype: "auto" | "float32") => {
    await mergeAdapter(model, adapter, at(dtype), { dtype });
    using merged = await load(at(dtype));
    return largestDifference(await merged.logits(ids), expected);
  };
  const [rounded, exact] = [await away("auto"), await away("float32")];
  expect(exact).toBeLessThan(1e-5);
  expect(rounded).toBeGreaterThan(10 * exact);
  using merged = await load(at("float32"), "auto");
  expect(merged.dtype).toBe("float32");
});

/** Splits a folder's weights into shards by the parity of a tensor's place. */
async function shardedCopy(fixture: string, to: string): Promise<Map<string, string>> {
  cpSync(folderOf(fixture), to, { recursive: true });
  const bytes = readFileSync(join(to, "model.safetensors"));
  const length = Number(bytes.readBigUInt64LE());
  const { __metadata__: _, ...header } = JSON.parse(bytes.subarray(8, 8 + length).toString("utf8"));
  const files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const map = new Map<string, string>();
  for (const [part, file] of files.entries()) {
    const own: Record<string, unknown> = {};
    const pieces: Buffer[] = [];
    let end = 0;
    for (const name of Object.keys(header)
      .sort()
      .filter((_name, index) => index % 2 === part)) {
      const [from, until] = header[name].data_offsets;
      own[name] = { ...header[name], data_offsets: [end, end + until - from] };
      end += until - from;
      pieces.push(bytes.subarray(8 + length + from, 8 + length + until));
      map.set(name, file);
    }
    const text = Buffer.from(JSON.stringify(own));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(text.length));
    writeFileSync(join(to, file), Buffer.concat([size, text, ...pieces]));
  }
  writeFileSync(join(to, "model.safetensors.index.json"), JSON.stringify({ weight_map: Object.fromEntries(map) }));
  rmSync(join(to, "model.safetensors"));
  return map;
}

test.each(["gqa", "qwen2_tied", "gpt2"])("a base in shards (%s): as many shards, with their index", async (fixture) => {
  const shards = await shardedCopy(fixture, at("base"));
  using model = await load(at("base"));
  const variant = fixture === "qwen2_tied" ? "scale" : "all";
  await expectMerged(model, await redOf(model, variant, ["ffn", "q"]));
  const index = JSON.parse(readFileSync(at("merged/model.safetensors.index.json"), "utf8"));
  const files = readdirSync(at("merged")).filter((name) => name.endsWith(".safetensors"));
  expect(files).toEqual(["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
  let bytes = 0;
  const placed: Record<string, string> = {};
  for (const file of files)
    for (const [name, { data }] of await readSafetensors(at("merged", file))) {
      placed[name] = file;
      bytes += data.length;
    }
  expect(index).toEqual({ metadata: { total_size: bytes }, weight_map: placed });
  for (const [name, file] of Object.entries(placed)) if (shards.has(name)) expect(file).toBe(shards.get(name));
  if (fixture === "gqa") {
    const bias = "model.layers.1.mlp.down_proj.bias";
    expect(placed[bias]).toBe(placed[bias.replace("bias", "weight")]);
  }
});

const errorOf = async (work: Promise<unknown>) => {
  const error = await work.then(
    () => ({ code: "none", message: "" }),
    (thrown) => thrown as { code: string; message: string },
  );
  return `${error.code}: ${error.message}`;
};

describe("refused", () => {
  test.each<[string, RedVariant, RedSite[], RegExp]>([
    ["gqa", "ln", ["ffn"], /^ERR_MERGE: Expected only linear steps to merge but layer 0, site ffn has a layer norm/],
    ["gpt2", "ln", ["q"], /^ERR_MERGE: .* layer 0, site q has a layer norm/],
    [
      "mistral",
      "all",
      ["ffn"],
      /^ERR_MERGE: Expected a place for the bias of layer 0, site ffn but a model of model_type mistral has none at down_proj/,
    ],
    ["phi3", "bias", ["v"], /^ERR_MERGE: .* bias of layer 0, site v but a model of model_type phi3 has none at v_proj/],
    [
      "qwen2",
      "all",
      ["q", "attention"],
      /^ERR_MERGE: .* bias of layer 0, site attention but a model of model_type qwen2/,
    ],
    ["qwen3", "bias", ["up"], /^ERR_MERGE: .* bias of layer 0, site up but a model of model_type qwen3/],
  ])("on %s, RED %s at %p", async (fixture, variant, sites, says) => {
    using model = await load(folderOf(fixture));
    expect(await errorOf(mergeAdapter(model, await redOf(model, variant, sites), at("merged")))).toMatch(says);
    expect(existsSync(at("merged"))).toBe(false);
  });

  test("arguments", async () => {
    using model = await load(folderOf("gqa"));
    using other = await load(folderOf("gqa"));
    using adapter = await redOf(model, "scale", ["ffn"]);
    const merge = (...args: unknown[]) => errorOf((mergeAdapter as (...given: unknown[]) => Promise<void>)(...args));
    expect(await merge({}, adapter, at("m"))).toMatch(/^ERR_ARGUMENT: Expected a LanguageModel for model/);
    expect(await merge(model, null, at("m"))).toMatch(/^ERR_ARGUMENT: .* for adapter but received null/);
    expect(await merge(model, adapter, 7)).toMatch(/^ERR_ARGUMENT: .* for dir but received 7/);
    expect(await merge(model, adapter, at("m"), { dtype: "int8" })).toMatch(/^ERR_ARGUMENT: .* for dtype/);
    expect(await merge(model, adapter, at("m"), { overwrites: true })).toMatch(/^ERR_ARGUMENT: .*overwrite/);
    expect(await merge(other, adapter, at("m"))).toMatch(/^ERR_FOREIGN/);
    expect(await merge(model, adapter, at("m"), { signal: AbortSignal.abort() })).toMatch(/^ERR_ABORTED/);
    writeFileSync(at("file"), "");
    expect(await merge(model, adapter, at("file"))).toMatch(/^ERR_FILE/);
    expect(existsSync(at("m"))).toBe(false);
  });

  test("weights that overflow leave nothing", async () => {
    using model = await load(folderOf("gqa"));
    using adapter = await loraOf(model);
    adapter.setVectors(new Map([...adapter.vectors()].map(([name, values]) => [name, values.fill(1e30)])));
    expect(await errorOf(mergeAdapter(model, adapter, at("new/merged")))).toMatch(
      /^ERR_NOT_FINITE: .*down_proj.weight/,
    );
    expect(existsSync(at("new"))).toBe(false);
  });

  test("a folder with a model or an adapter, unless it is to be overwritten", async () => {
    cpSync(folderOf("gqa"), at("base"), { recursive: true });
    using model = await load(at("base"));
    using adapter = await redOf(model, "all", ["ffn"]);
    await adapter.savePretrained(at("adapter"));
    cpSync(folderOf("gqa"), at("model"), { recursive: true });
    for (const folder of ["model", "adapter"]) {
      const before = readdirSync(at(folder));
      expect(await errorOf(mergeAdapter(model, adapter, at(folder)))).toMatch(
        /^ERR_FILE: Expected a folder without a model or an adapter .* but found .*overwrite: true/,
      );
      expect(readdirSync(at(folder))).toEqual(before);
    }
    const expected = await model.logits(ids, { adapter });
    for (const folder of ["adapter", "model"]) {
      await mergeAdapter(model, adapter, at(folder), { overwrite: true });
      using merged = await load(at(folder));
      expect(largestDifference(await merged.logits(ids), expected)).toBeLessThan(1e-5);
    }
    expect(existsSync(at("adapter/adapter_config.json"))).toBe(false);
  });

  test.each(["base", "link", "linked"])("the model's own folder, with overwrite, too: %s", async (out) => {
    cpSync(folderOf("gqa"), at("base"), { recursive: true });
    symlinkSync(at("base"), at("link"));
    mkdirSync(at("linked"));
    renameSync(at("base/model.safetensors"), at("linked/model.safetensors"));
    symlinkSync(at("linked/model.safetensors"), at("base/model.safetensors"));
    const before = readFileSync(at("base/model.safetensors"));
    using model = await load(at("base"));
    using adapter = await redOf(model, "all", ["ffn"]);
    for (const overwrite of [false, true])
      expect(await errorOf(mergeAdapter(model, adapter, at(out), { overwrite }))).toMatch(
        /^ERR_FILE: Expected a folder other than the model's .* has files of the model at .*overwrite: true does not/,
      );
    expect(readFileSync(at("base/model.safetensors"))).toEqual(before);
    expect(readdirSync(at("linked"))).toEqual(["model.safetensors"]);
  });
});

describe("a folder that gets a model while the merge runs", () => {
  test("two merges at once: one ends well and is kept, the other is refused", async () => {
    using model = await load(folderOf("gqa"));
    using first = await redOf(model, "all", ["ffn"]);
    using second = await redOf(model, "scale", ["q"]);
    const ends = await Promise.all([first, second].map((one) => errorOf(mergeAdapter(model, one, at("merged")))));
    expect([...ends].sort()).toEqual([expect.stringMatching(/^ERR_FILE: Expected a folder without a model/), "none: "]);
    using merged = await load(at("merged"));
    const expected = await model.logits(ids, { adapter: ends[0] === "none: " ? first : second });
    expect(largestDifference(await merged.logits(ids), expected)).toBeLessThan(1e-5);
    expect(readdirSync(at("merged")).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("by another program, after the weights are staged: it stays", async () => {
    using model = await load(folderOf("gqa"));
    using adapter = await redOf(model, "all", ["ffn"]);
    const onProgress = ({ writtenBytes, totalBytes }: { writtenBytes: number; totalBytes: number }) => {
      if (writtenBytes === totalBytes) writeFileSync(at("merged/config.json"), "theirs");
    };
    expect(await errorOf(mergeAdapter(model, adapter, at("merged"), { onProgress }))).toMatch(
      /^ERR_FILE: Expected a folder without a model or an adapter .* but found config\.json/,
    );
    expect(readdirSync(at("merged"))).toEqual(["config.json"]);
    expect(readFileSync(at("merged/config.json"), "utf8")).toBe("theirs");
  });
});

test.each([1, 5, 20])("aborted at piece %i: nothing is left, and an existing folder is as it was", async (piece) => {
  using model = await load(folderOf("gqa"));
  using adapter = await redOf(model, "all", allSites);
  mkdirSync(at("kept"));
  writeFileSync(at("kept/notes.txt"), "mine");
  for (const out of ["new/merged", "kept"]) {
    const controller = new AbortController();
    let pieces = 0;
    const onProgress = () => {
      if (++pieces === piece) controller.abort();
    };
    expect(await errorOf(mergeAdapter(model, adapter, at(out), { signal: controller.signal, onProgress }))).toMatch(
      /^ERR_ABORTED/,
    );
  }
  expect(readdirSync(root)).toEqual(["kept"]);
  expect(readdirSync(at("kept"))).toEqual(["notes.txt"]);
  const thrown = new Error("mine");
  const onProgress = () => {
    throw thrown;
  };
  await expect(mergeAdapter(model, adapter, at("new"), { onProgress })).rejects.toBe(thrown);
  expect(existsSync(at("new"))).toBe(false);
});

test("killed in the middle: the folder holds no model, and the next merge needs no overwrite", async () => {
  using model = await load(folderOf("gqa"));
  using adapter = await redOf(model, "all", ["ffn"]);
  await adapter.savePretrained(at("adapter"));
  const library = join(__dirname, "..", "..", "lib", "index.ts");
  const program = `
    const { LanguageModel, RedAdapter, mergeAdapter } = require(${JSON.stringify(library)});
    (async () => {
      const model = await LanguageModel.fromPretrained(${JSON.stringify(folderOf("gqa"))}, { device: "cpu" });
      const adapter = await RedAdapter.fromPretrained(${JSON.stringify(at("adapter"))}, model);
      let pieces = 0;
      const onProgress = () => ++pieces === 12 && process.kill(process.pid, "SIGKILL");
      await mergeAdapter(model, adapter, ${JSON.stringify(at("merged"))}, { onProgress });
    })();`;
  const { signal } = spawnSync(process.execPath, [...nodeArguments.slice(0, 2), "-e", program], { encoding: "utf8" });
  expect(signal).toBe("SIGKILL");
  expect(readdirSync(at("merged")).filter((name) => !name.startsWith(".rubricate-new-"))).toEqual([]);
  expect(await errorOf(load(at("merged")))).toMatch(/^ERR_FILE/);
  await expectMerged(model, adapter);
});

/** Methods that train some entries of matrices: how entries are chosen, folders and checkpoints that hold them, bad ones. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAdapter } from "../../lib/adapter/create";
import { loadAdapter } from "../../lib/adapter/load";
import { LoraAdapter } from "../../lib/adapter/lora_adapter";
import { defineMethod, type Method } from "../../lib/adapter/method";
import { pafi } from "../../lib/adapter/methods/pafi";
import { sara } from "../../lib/adapter/methods/sara";
import { PlanBuilder } from "../../lib/adapter/plan";
import { int32Values } from "../../lib/adapter/plan_indices";
import { entriesBelow, smallestEntries } from "../../lib/adapter/smallest_entries";
import { float32Tensor, int32Tensor, readSafetensors, safetensorsPieces } from "../../lib/files/safetensors";
import type { LanguageModel } from "../../lib/model/model";
import { atOnce } from "../../lib/steps";
import { storedBytesPerToken } from "../../lib/train/recompute";
import { Trainer } from "../../lib/train/trainer";
import { examplesOf, expectedOf, loadFixture } from "../parity/fixtures";
import { runCli } from "./cli_support";

const quiet = { onNotice: () => {} };
let model: LanguageModel;
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-sparse-"));
  model = await loadFixture("gqa", { dtype: "float32" });
});
afterAll(() => {
  model?.dispose();
  rmSync(home, { recursive: true, force: true });
});

describe("the smallest entries", () => {
  /** By magnitude, then by place. */
  const sorted = (weight: Float32Array, count: number) =>
    Int32Array.from([...weight.keys()].sort((a, b) => Math.abs(weight[a]!) - Math.abs(weight[b]!) || a - b))
      .slice(0, count)
      .sort();

  test("are those that sorting gives, and of equal ones the first", () => {
    const weight = Float32Array.from(
      { length: 500 },
      (_, at) => (((at * 7919) % 101) - 50) / (at % 3 === 0 ? 64 : 1e30),
    );
    weight[7] = -0;
    for (const count of [1, 2, 5, 6, 50, 167, 333, 499, 500])
      expect(atOnce(smallestEntries(weight, count))).toEqual(sorted(weight, count));
    const equal = Float32Array.from([2, -1, 1, -1, 1, 0.5]);
    expect([...atOnce(smallestEntries(equal, 3))]).toEqual([1, 2, 5]);
  });

  test("of more than one portion, and of a part of a buffer", () => {
    const all = Float32Array.from({ length: 70_002 }, (_, at) => Math.fround(Math.sin(at * at)));
    const weight = all.subarray(1);
    expect(atOnce(smallestEntries(weight, 700))).toEqual(sorted(weight, 700));
  });

  test("below a threshold", () => {
    const weight = Float32Array.from([0.5, -0.25, 0.25, -0, 1, -0.125]);
    expect([...atOnce(entriesBelow(weight, 0.25))]).toEqual([3, 5]);
    expect([...atOnce(entriesBelow(weight, 1e-9))]).toEqual([3]);
  });
});

test("a share below one entry trains one, and a threshold below all magnitudes the smallest", async () => {
  using one = await createAdapter(model, pafi({ share: 1e-6, sites: ["q"], layers: [1] }));
  using same = await createAdapter(model, sara({ threshold: 1e-30, sites: ["q"], layers: [1] }));
  expect(one.parameterCount).toBe(1);
  expect(same.storedEntries()).toEqual(one.storedEntries());
  using share = await createAdapter(model, sara({ share: 1e-6, sites: ["q"], layers: [1] }));
  expect(share.config).toEqual({
    threshold: null,
    share: 1e-6,
    reselectAt: 0.5,
    rankLoss: 0,
    sites: ["q"],
    layers: [1],
  });
  expect(share.storedEntries()).toEqual(one.storedEntries());
});

test("the defaults are all linear layers, 0.5 % or below 0.0001", async () => {
  using adapter = await createAdapter(model, pafi);
  const sites = ["q", "k", "v", "attention", "gate", "up", "ffn"];
  expect(adapter.config).toEqual({ share: 0.005, sites, layers: [0, 1] });
  using other = await createAdapter(model, sara);
  expect(other.config).toEqual({ threshold: 0.0001, share: null, reselectAt: 0.5, rankLoss: 0, sites, layers: [0, 1] });
});

test.each([
  [pafi({ share: 0 }), /a number above 0, at most 1, for share but received 0/],
  [pafi({ share: 1.5 }), /at most 1, for share/],
  [pafi({ share: "1" as never }), /for share/],
  [sara({ threshold: 0 }), /a number above 0, .* for threshold but received 0/],
  [sara({ threshold: 0.1, share: 0.1 }), /no threshold beside a share/],
  [pafi({ sites: ["o"] as never }), /some of ffn/],
])("wrong options are refused: %#", async (call, message) => {
  await expect(createAdapter(model, call)).rejects.toMatchObject({
    code: "ERR_ARGUMENT",
    message: expect.stringMatching(message),
  });
});

describe("a folder", () => {
  const index = "layers.1.self_attn.q_proj.index";
  const delta = "layers.1.self_attn.q_proj.delta";
  let saved: string;
  beforeAll(async () => {
    saved = join(home, "saved");
    using adapter = await createAdapter(model, pafi({ share: 0.002, sites: ["q"], layers: [1] }));
    adapter.setVectors(new Map([[delta, Float32Array.of(1, 2, 3, 4, 5)]]));
    await adapter.savePretrained(saved);
  });
  /** A copy with other tensors. */
  const changed = async (name: string, tensors: Parameters<typeof safetensorsPieces>[0]) => {
    const dir = join(home, name);
    cpSync(saved, dir, { recursive: true });
    const pieces: Uint8Array[] = [];
    for await (const piece of safetensorsPieces(tensors)) pieces.push(piece);
    writeFileSync(join(dir, "adapter_model.safetensors"), Buffer.concat(pieces));
    return dir;
  };
  const values = float32Tensor(delta, [5], Float32Array.of(1, 2, 3, 4, 5));

  test("stores the entries as I32, and no plan; they are not chosen again", async () => {
    const tensors = await readSafetensors(join(saved, "adapter_model.safetensors"));
    expect([...tensors.keys()].sort()).toEqual([delta, index]);
    expect(tensors.get(index)).toMatchObject({ dtype: "I32", shape: [5] });
    expect(JSON.parse(readFileSync(join(saved, "adapter_config.json"), "utf8"))).toMatchObject({
      kind: "pafi",
      config: { share: 0.002, sites: ["q"], layers: [1] },
      constants: null,
    });
    const other = await changed("others", [values, int32Tensor(index, Int32Array.of(0, 3, 9, 2000, 2303))]);
    using adapter = await loadAdapter(other, model, quiet);
    expect([...adapter.storedEntries().get(index)!]).toEqual([0, 3, 9, 2000, 2303]);
    expect([...adapter.vectors().get(delta)!]).toEqual([1, 2, 3, 4, 5]);
    await adapter.savePretrained(join(home, "again"));
    const again = await readSafetensors(join(home, "again", "adapter_model.safetensors"));
    expect([...int32Values(again.get(index)!.data)]).toEqual([0, 3, 9, 2000, 2303]);
  });

  test.each<[string, () => Parameters<typeof safetensorsPieces>[0], RegExp]>([
    ["no entries", () => [values], /Expected a tensor "layers.1.self_attn.q_proj.index" but found none/],
    [
      "float entries",
      () => [values, float32Tensor(index, [5], new Float32Array(5))],
      /Expected I32 for .*index but found F32/,
    ],
    [
      "too few entries",
      () => [values, int32Tensor(index, Int32Array.of(1, 2))],
      /Expected shape \[5\] for .*index but found \[2\]/,
    ],
    [
      "descending entries",
      () => [values, int32Tensor(index, Int32Array.of(0, 3, 2, 4, 5))],
      /ascending numbers, each once, for .*index but found 2 after 3 at 2/,
    ],
    ["an entry twice", () => [values, int32Tensor(index, Int32Array.of(0, 3, 3, 4, 5))], /found 3 after 3 at 2/],
    [
      "an entry past the end",
      () => [values, int32Tensor(index, Int32Array.of(0, 1, 2, 3, 2304))],
      /from 0 to 2303 .*found 2304 at 4/,
    ],
    [
      "a negative entry",
      () => [values, int32Tensor(index, Int32Array.of(-1, 1, 2, 3, 4))],
      /from 0 to 2303 .*found -1 at 0/,
    ],
    [
      "another tensor",
      () => [values, int32Tensor(index, Int32Array.of(0, 1, 2, 3, 4)), int32Tensor("x.index", Int32Array.of(0))],
      /Expected no tensor "x.index"/,
    ],
  ])("with %s is refused", async (name, tensors, message) => {
    const dir = await changed(name.replaceAll(" ", "-"), tensors());
    await expect(loadAdapter(dir, model, quiet)).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringMatching(message),
    });
  });

  test("is shown by inspect without the entries", async () => {
    const { stdout, status } = await runCli(["inspect", "--adapter", saved, "--json"]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ kind: "pafi", parameters: 5, tensors: [{ name: delta, numbers: 5 }] });
  });
});

test("a training step keeps the inputs of updated layers, as LoRA's does beside 4 bytes for its rank", async () => {
  using adapter = await createAdapter(model, pafi({ sites: ["ffn"] }));
  using lora = await LoraAdapter.create(model, { rank: 1, targetModules: ["down_proj"] });
  expect(storedBytesPerToken(model, adapter)).toBe(storedBytesPerToken(model, lora) - 2 * 4);
});

test("inspect --method sara counts by --share, not by a threshold, which needs the weights", async () => {
  const { stderr, status } = await runCli(["inspect", "--model", model.dir, "--method", "sara"]);
  expect(status).not.toBe(0);
  expect(stderr).toMatch(/options that say how many numbers sara trains, such as --share/);
});

test("a run resumes only with the entries of its checkpoint", async () => {
  const train = expectedOf("gqa").training.batches.flatMap((step) => step.flatMap(examplesOf));
  const outputDir = join(home, "run");
  const choose = (first: number) =>
    defineMethod({
      kind: "one_row",
      options: [],
      check: () => ({}),
      plan(_, base) {
        const builder = new PlanBuilder();
        const linear = base.linear(0, "ffn");
        builder.site({ ...linear.at, sparse: builder.sparse(linear, 4) });
        return builder.plan;
      },
      choose: () => Int32Array.of(first, 100, 101, 102),
    });
  const run = async (first: number, maxSteps: number, resume: boolean) => {
    const adapter = await createAdapter(model, choose(first));
    const options = {
      batchSize: 4,
      checkpointEverySteps: 1,
      learningRate: 0.01,
      schedule: "constant",
      loggers: [],
    } as const;
    const events = new Trainer({ model, adapter, train, outputDir, maxSteps, resume, ...options }).run();
    for await (const event of events) if (event.type === "checkpoint" && !resume) break;
    return adapter;
  };
  await run(7, 3, false);
  await expect(run(8, 3, true)).rejects.toMatchObject({
    code: "ERR_CHECKPOINT",
    message: expect.stringMatching(/the 4 entries of the adapter for layers.0.mlp.down_proj.index .*but found others/),
  });
  const resumed = await run(7, 3, true);
  expect(Math.abs(resumed.vectors().get("layers.0.mlp.down_proj.delta")![1]!)).toBeGreaterThan(0);
});

const own: Method<object> = {
  kind: "own",
  options: [],
  check: () => ({}),
  plan(_, base) {
    const builder = new PlanBuilder();
    const linear = base.linear(0, "q");
    builder.site({ ...linear.at, sparse: builder.sparse(linear, 2) });
    return builder.plan;
  },
  choose: () => Int32Array.of(0, 5),
};
test.each<[string, Partial<Method<object>>, RegExp]>([
  ["no choose", { choose: undefined as never }, /a function choose for the method own/],
  [
    "numbers in an array",
    { choose: () => [0, 5] as never },
    /an Int32Array of 2 for the entries of layers.0.*index that method own/,
  ],
  ["too few", { choose: () => Int32Array.of(1) }, /an Int32Array of 2/],
  ["descending ones", { choose: async () => Int32Array.of(5, 0) }, /ascending numbers, each once.*received 0 after 5/],
  ["one out of range", { choose: () => Int32Array.of(0, 2304) }, /numbers from 0 to 2303.*received 2304 at 1/],
  [
    "a count of 0",
    {
      plan: (config, base) => ({
        ...own.plan(config, base),
        indices: [{ ...own.plan(config, base).indices![0]!, count: 0 }],
      }),
    },
    /an integer from 1 to 2304 for the count of/,
  ],
  [
    "an index without a matrix",
    { plan: (config, base) => ({ ...own.plan(config, base), indices: [{ name: "x", of: "y", shape: [3] } as never] }) },
    /the name and the two sizes of a matrix/,
  ],
])("a method of one's own with %s is refused", async (_, change, message) => {
  const made = createAdapter(model, defineMethod({ ...own, ...change }));
  await expect(made).rejects.toMatchObject({ code: "ERR_PLAN", message: expect.stringMatching(message) });
});

test("defineMethod refuses a choose that is no function", () => {
  expect(() => defineMethod({ ...own, choose: 3 as never })).toThrow(/a function for choose/);
});

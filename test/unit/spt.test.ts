/** SPT: which weights are marked, what an adapter makes of the marks, its folders, and its flags. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAdapter } from "../../lib/adapter/create";
import { loadAdapter } from "../../lib/adapter/load";
import { methodBase } from "../../lib/adapter/method_adapter";
import { type SptConfig, type SptOptions, spt } from "../../lib/adapter/methods/spt";
import { type Sensitivities, sensitiveMatrices, sensitiveVectors } from "../../lib/adapter/sensitivities";
import { readSafetensors } from "../../lib/files/safetensors";
import type { LanguageModel } from "../../lib/model/model";
import { atOnce } from "../../lib/steps";
import { sensitivities } from "../../lib/train/sensitivities";
import { TopEntries } from "../../lib/train/top_entries";
import { examplesOf, expectedOf, folderOf, loadFixture } from "../parity/fixtures";
import { runCli } from "./cli_support";

let model: LanguageModel;
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-spt-"));
  model = await loadFixture("gpt2", { dtype: "float32" });
});
afterAll(() => {
  model?.dispose();
  rmSync(home, { recursive: true, force: true });
});
const train = expectedOf("gpt2").training.batches.flatMap((step) => step.flatMap(examplesOf));

describe("the largest numbers of many tensors", () => {
  const top = (count: number, ...tensors: number[][]) => {
    const entries = new TopEntries(count);
    for (const [at, tensor] of tensors.entries()) atOnce(entries.add(at, Float32Array.from(tensor)));
    return [...atOnce(entries.marked(tensors.map((_, at) => `${at}`)))].map(([name, places]) => [name, ...places]);
  };

  test("of equal ones the first, in the order of tensors and places", () => {
    expect(top(3, [1, 2, 1, 0], [2, 1, 3])).toEqual([
      ["0", 1],
      ["1", 0, 2],
    ]);
    expect(top(2, [1, 1, 1, 1, 1], [1, 1])).toEqual([["0", 0, 1]]);
    expect(top(4, [5, 1, 1, 7], [1, 6, 1])).toEqual([
      ["0", 0, 1, 3],
      ["1", 1],
    ]);
    expect(top(1, [1e-45, 3e-45])).toEqual([["0", 1]]);
    expect(top(1, [1, 1 + 2 ** -23])).toEqual([["0", 1]]);
  });

  test("those that sorting gives, whenever they come", () => {
    const tensors = [0, 1, 2].map((tensor) =>
      Array.from({ length: 4000 }, (_, at) => Math.fround(((at * 7919 + tensor * 31) % 1009) / 128)),
    );
    for (const count of [1, 7, 100, 1500, 11_000]) {
      const all = tensors.flatMap((tensor, at) => tensor.map((value, place) => ({ value, at, place })));
      all.sort((a, b) => b.value - a.value || a.at - b.at || a.place - b.place);
      const chosen = all.slice(0, count);
      const expected = tensors.map((_, at) => [
        `${at}`,
        ...chosen.flatMap((one) => (one.at === at ? [one.place] : [])).sort((a, b) => a - b),
      ]);
      expect(top(count, ...tensors)).toEqual(expected.filter(({ length }) => length > 1));
    }
  });

  test("are refused where fewer have a gradient", () => {
    expect(() => top(4, [0, 1, 0], [2, 3])).toThrow(/at most 3, the weights with a gradient other than 0, for budget/);
  });
});

test("a budget above the number of weights, and data without sequences to learn from, are refused", async () => {
  await expect(sensitivities(model, { train, budget: 1e9 })).rejects.toMatchObject({
    code: "ERR_ARGUMENT",
    message: expect.stringMatching(/at most \d+, the weights that spt can train, for budget but received 1000000000/),
  });
  await expect(sensitivities(model, { train: [], budget: 1 })).rejects.toMatchObject({ code: "ERR_DATA" });
  const signal = AbortSignal.abort();
  await expect(sensitivities(model, { train, budget: 1, signal })).rejects.toMatchObject({ code: "ERR_ABORTED" });
});

test("the share that a run evaluates with has no part in it", async () => {
  const options = { budget: 200, batches: 3, batchSize: 4, seed: 5 };
  const { marked } = await sensitivities(model, { train, eval: 0.25, ...options });
  expect((await sensitivities(model, { train, eval: 0.25, ...options })).marked).toEqual(marked);
  expect((await sensitivities(model, { train, ...options })).marked).not.toEqual(marked);
});

/** Marks of a base: so many first places of these tensors. */
const marks = (counts: Readonly<Record<string, number>>): Sensitivities => ({
  budget: Object.values(counts).reduce((sum, count) => sum + count, 0),
  marked: new Map(
    Object.entries(counts).map(([name, count]) => [name, Int32Array.from({ length: count }, (_, at) => at)]),
  ),
});
const q = "layers.0.self_attn.q_proj";

test("matrices and vectors have what their marks give them", async () => {
  const base = methodBase(model);
  const { shape } = sensitiveMatrices(base).find(({ name }) => name === `${q}.weight`)!;
  const many = (8 * (shape[0] + shape[1])) / 4;
  const width = base.architecture.hidden;
  const vectors = [`${q}.bias`, "layers.1.input_layernorm.weight", "norm.bias"];
  expect(sensitiveVectors(base).map(({ name }) => name)).toEqual(expect.arrayContaining(vectors));
  const sensitivities = marks({
    [`${q}.weight`]: many - 1,
    "layers.1.self_attn.q_proj.weight": many,
    "layers.0.mlp.up_proj.weight": 3,
    [vectors[0]!]: width / 4,
    [vectors[1]!]: width / 4 - 1,
    [vectors[2]!]: width,
  });
  using adapter = await createAdapter(model, spt({ sensitivities, alpha: 4, beta: 4 }));
  expect(adapter.config).toEqual({
    ...{ budget: sensitivities.budget, rank: 8, alpha: 4, beta: 4 },
    sparse: [
      { name: `${q}.weight`, count: many - 1 },
      { name: "layers.0.mlp.up_proj.weight", count: 3 },
    ],
    lowRank: ["layers.1.self_attn.q_proj.weight"],
    vectors: [vectors[0], vectors[2]],
  });
  expect([...adapter.vectors()].map(([name, { length }]) => [name, length]).sort()).toEqual([
    ["layers.0.mlp.up_proj.delta", 3],
    [`${q}.bias_change`, width],
    [`${q}.delta`, many - 1],
    ["layers.1.self_attn.q_proj.spt_A", 8 * shape[1]],
    ["layers.1.self_attn.q_proj.spt_B", 8 * shape[0]],
    ["norm.bias", width],
  ]);
  const dir = join(home, "parts");
  await adapter.savePretrained(dir);
  using loaded = await loadAdapter(dir, model, { onNotice: () => {} });
  expect(loaded.config).toEqual(adapter.config);
  expect(loaded.storedEntries()).toEqual(adapter.storedEntries());
  const path = join(dir, "adapter_config.json");
  const document = JSON.parse(readFileSync(path, "utf8")) as { config: SptConfig };
  const changed: [Partial<SptConfig>, RegExp][] = [
    [{ sparse: [{ name: `${q}.weight`, count: 0 }] }, /1 to 576 weights of a matrix that is not in lowRank/],
    [{ lowRank: [`${q}.weight`] }, /a matrix that is not in lowRank, for sparse of layers.0.self_attn.q_proj.weight/],
    [{ vectors: ["norm.bias", `${q}.bias`] }, /tensors of the base in the order of the model/],
    [{ vectors: undefined as never }, /Expected sensitivities for the method spt/],
    [{ lowRank: ["x"] }, /tensors of the base in the order of the model/],
  ];
  for (const [change, message] of changed) {
    writeFileSync(path, JSON.stringify({ ...document, config: { ...document.config, ...change } }));
    await expect(loadAdapter(dir, model, { onNotice: () => {} })).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringMatching(message),
    });
  }
});

test.each<[string, SptOptions, RegExp]>([
  ["no sensitivities", {}, /Expected sensitivities for the method spt, .*rubricate train finds them itself/],
  [
    "other things",
    { sensitivities: { budget: 3 } as never },
    /what sensitivities\(model, .* returns for sensitivities/,
  ],
  [
    "another budget",
    { sensitivities: marks({ [`${q}.weight`]: 3 }), budget: 4 },
    /3, that of the sensitivities, for budget/,
  ],
  ["another model", { sensitivities: marks({ "layers.99.mlp.up_proj.weight": 3 }) }, /those of this model/],
  ["too many places", { sensitivities: marks({ [`${q}.bias`]: 999 }) }, /at most 24 places/],
  [
    "marks that train nothing",
    { sensitivities: marks({ "norm.bias": 1 }) },
    /marks a weight of a matrix, or enough numbers/,
  ],
  ["alpha 0", { sensitivities: marks({ [`${q}.weight`]: 3 }), alpha: 0 }, /a number above 0 for alpha/],
  ["beta below 0", { sensitivities: marks({ [`${q}.weight`]: 3 }), beta: -1 }, /for beta/],
  ["rank 0", { sensitivities: marks({ [`${q}.weight`]: 3 }), rank: 0 }, /for rank/],
])("%s: refused", async (_, options, message) => {
  await expect(createAdapter(model, spt(options))).rejects.toMatchObject({
    code: "ERR_ARGUMENT",
    message: expect.stringMatching(message),
  });
});

test("places that do not ascend or are out of range are refused", async () => {
  for (const places of [[5, 3], [576]]) {
    const marked = new Map([[`${q}.weight`, Int32Array.from(places)]]);
    const adapter = createAdapter(model, spt({ sensitivities: { budget: places.length, marked } }));
    await expect(adapter).rejects.toMatchObject({ code: "ERR_PLAN" });
  }
});

test("train finds the weights itself, and resumes; inspect and train without a budget say what they need", async () => {
  const data = join(home, "rows.jsonl");
  const row = (at: number) => JSON.stringify({ prompt: `What is ${at}?`, completion: ` It is ${at * at}.` });
  writeFileSync(data, Array.from({ length: 12 }, (_, at) => row(at)).join("\n"));
  const argv = (out: string, ...more: string[]) => [
    ...[
      "train",
      "--model",
      "embedded",
      "--data",
      data,
      "--out",
      join(home, out),
      "--method",
      "spt",
      "--batch-size",
      "4",
    ],
    ...["--max-steps", "3", "--checkpoint-every-steps", "1", "--keep-checkpoints", "5", "--json", ...more],
  ];
  const { status, stderr } = await runCli(argv("out", "--budget", "500"));
  expect(stderr).toContain("finding the 500 weights that the data is most sensitive to");
  expect(status).toBe(0);
  const saved = (out: string) => readSafetensors(join(home, out, "adapter_model.safetensors"));
  const whole = await saved("out");
  const { config } = JSON.parse(readFileSync(join(home, "out", "adapter_config.json"), "utf8")) as {
    config: SptConfig;
  };
  expect(config.budget).toBe(500);
  for (const step of [2, 3]) rmSync(join(home, "out", `checkpoint-${step}`), { recursive: true });
  expect((await runCli(argv("out", "--budget", "500", "--resume"))).status).toBe(0);
  expect(await saved("out")).toEqual(whole);
  expect((await runCli(argv("none"))).stderr).toContain(
    "Expected --budget with --method spt: how many weights to mark",
  );
  for (const more of [[], ["--budget", "500"]]) {
    const inspected = await runCli(["inspect", "--model", folderOf("gpt2"), "--method", "spt", ...more]);
    expect(inspected.stderr).toMatch(/do not depend on the training data but received spt: inspect --adapter counts/);
  }
});

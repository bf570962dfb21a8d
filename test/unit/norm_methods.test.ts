/** LN tuning and BitFit: first values, what they refuse, PEFT's folders, merging, sharing a step. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Adapter } from "../../lib/adapter/adapter";
import { createAdapter } from "../../lib/adapter/create";
import { loadAdapter } from "../../lib/adapter/load";
import { mergeAdapter } from "../../lib/adapter/merge";
import type { MethodCall } from "../../lib/adapter/method";
import { defineMethod } from "../../lib/adapter/method";
import { bitfit } from "../../lib/adapter/methods/bitfit";
import { lora } from "../../lib/adapter/methods/lora";
import { norms } from "../../lib/adapter/methods/norms";
import { PlanBuilder } from "../../lib/adapter/plan";
import { Random } from "../../lib/data/random";
import { float32Values, readSafetensors } from "../../lib/files/safetensors";
import { LanguageModel } from "../../lib/model/model";
import { MultiTrainer } from "../../lib/train/multi_trainer";
import { Trainer } from "../../lib/train/trainer";
import { examplesOf, expectedOf, folderOf, loadFixture } from "../parity/fixtures";
import { runCli } from "./cli_support";

const quiet = { onNotice: () => {} };
const ids = Int32Array.of(5, 9, 22, 7, 41, 3);
let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "rubricate-norm-methods-"));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** Moves every number a little. */
function moved<T extends Adapter>(adapter: T, seed = 1): T {
  const random = new Random(seed, [2, 1]);
  const vectors = [...adapter.vectors()].map(([name, values]): [string, Float32Array] => [
    name,
    values.map((value) => value + 0.4 * (random.uint32() / 2 ** 31 - 1)),
  ]);
  adapter.setVectors(new Map(vectors));
  return adapter;
}

describe.each<[string, string, MethodCall]>([
  ["gqa", "norms", norms()],
  ["gpt2", "norms", norms()],
  ["gpt2", "bitfit", bitfit()],
  ["qwen2", "bitfit", bitfit()],
  ["qwen3", "norms", norms({ targetNorms: ["ffn_norm"] })],
])("on %s, %s", (fixture, _, method) => {
  test.each(["float32", "bfloat16"] as const)("a new adapter changes nothing (%s)", async (dtype) => {
    using model = await loadFixture(fixture, { dtype });
    using adapter = await createAdapter(model, method);
    expect(await model.logits(ids, { adapter })).toEqual(await model.logits(ids));
  });

  test("a merged folder computes what base and adapter compute", async () => {
    using model = await loadFixture(fixture, { dtype: "float32" });
    using adapter = moved(await createAdapter(model, method));
    const out = join(home, `${fixture}-${method.kind}`);
    await mergeAdapter(model, adapter, out);
    using merged = await LanguageModel.fromPretrained(out, { dtype: "float32", device: "cpu", ...quiet });
    const expected = await model.logits(ids, { adapter });
    const most = (a: Float32Array, b: Float32Array) => Math.max(...a.map((value, at) => Math.abs(value - b[at]!)));
    expect(most(await model.logits(ids), expected)).toBeGreaterThan(0.01);
    expect(most(await merged.logits(ids), expected)).toBeLessThan(1e-5);
    expect(merged.architecture).toEqual(model.architecture); // no new biases
  });
});

test("the norms begin as the base's, under the names of its tensors", async () => {
  using model = await loadFixture("gqa", { dtype: "float32" });
  using adapter = await createAdapter(model, norms());
  const tensors = await readSafetensors(join(folderOf("gqa"), "model.safetensors"));
  expect([...adapter.vectors().keys()]).toEqual([
    "layers.0.input_layernorm.weight",
    "layers.0.post_attention_layernorm.weight",
    "layers.1.input_layernorm.weight",
    "layers.1.post_attention_layernorm.weight",
    "norm.weight",
  ]);
  for (const [name, values] of adapter.vectors())
    expect([name, values]).toEqual([name, float32Values(tensors.get(`model.${name}`)!, name)]);
});

test.each<[string, MethodCall, RegExp]>([
  [
    "a base without biases",
    bitfit(),
    /Expected a base that has biases for the method bitfit but received a model of model_type llama/,
  ],
  ["no norm", norms({ targetNorms: [] }), /some of attention_norm, ffn_norm, final_norm, each once for targetNorms/],
  ["a norm twice", norms({ targetNorms: ["ffn_norm", "ffn_norm"] }), /each once for targetNorms/],
  ["an unknown norm", norms({ targetNorms: ["norm"] as never }), /each once for targetNorms/],
  ["another option", norms({ sites: ["ffn"] } as never), /Unknown option "sites" for norms/],
])("createAdapter refuses %s", async (_, method, message) => {
  using model = await loadFixture("gqa", { dtype: "float32" });
  await expect(createAdapter(model, method)).rejects.toMatchObject({
    code: "ERR_ARGUMENT",
    message: expect.stringMatching(message),
  });
});

test("a method of one's own that begins as a tensor that the base has not is refused", async () => {
  using model = await loadFixture("gqa", { dtype: "float32" });
  const own = defineMethod({
    kind: "own",
    options: [],
    check: () => ({}),
    plan() {
      const builder = new PlanBuilder();
      builder.site({ layer: 0, site: "input_layernorm", own: { weight: builder.ofBase("layers.0.norm.weight", 48) } });
      return builder.plan;
    },
  });
  await expect(createAdapter(model, own)).rejects.toThrow(/layers\.0\.norm\.weight/);
});

describe("a folder of PEFT's LN tuning", () => {
  const changed = (name: string, changes: object) => {
    const dir = join(home, name.replaceAll(" ", "-"));
    cpSync(join(folderOf("norms"), "gqa"), dir, { recursive: true });
    const path = join(dir, "adapter_config.json");
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...changes }));
    return dir;
  };
  const all = ["input_layernorm", "post_attention_layernorm", "norm"];
  let model: LanguageModel;
  beforeAll(async () => {
    model = await loadFixture("gqa", { dtype: "float32" });
  });
  afterAll(() => model?.dispose());

  test.each<[string, object, RegExp]>([
    ["with a pattern", { target_modules: ".*norm" }, /names of norms of the model.* for target_modules/],
    ["without targets", { target_modules: [] }, /names of norms of the model/],
    ["of another module", { target_modules: [...all, "q_proj"] }, /names of norms of the model/],
    ["of one layer", { target_modules: ["layers.0.input_layernorm", "norm"] }, /of all layers, for target_modules/],
    ["of fewer norms", { target_modules: ["norm"] }, /Expected no tensor/],
    ["with excluded modules", { exclude_modules: ["norm"] }, /no exclude_modules/],
    ["with saved modules", { modules_to_save: ["lm_head"] }, /no modules_to_save/],
    ["with an unknown field", { use_bias: true }, /no use_bias/],
    ["of another task", { task_type: "SEQ_CLS" }, /"CAUSAL_LM" or null for task_type/],
  ])("%s is refused", async (name, changes, message) => {
    const loading = loadAdapter(changed(name, changes), model, quiet);
    await expect(loading).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringMatching(message),
    });
  });

  test("with full names is read", async () => {
    const full = [0, 1].flatMap((layer) => all.slice(0, 2).map((name) => `model.layers.${layer}.${name}`));
    using adapter = await loadAdapter(changed("full names", { target_modules: [...full, "model.norm"] }), model, quiet);
    expect(adapter.config).toEqual({ targetNorms: ["attention_norm", "ffn_norm", "final_norm"] });
  });

  test("is shown by inspect, with and without its base", async () => {
    const dir = join(folderOf("norms"), "gqa");
    const { stdout } = await runCli(["inspect", dir, "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ kind: "norms", parameters: 240, base: null, rubricate: null });
    const { stdout: text } = await runCli(["inspect", dir, "--model", folderOf("gqa")]);
    expect(text).toMatch(/method +norms/);
    expect(text).toMatch(/base +not recorded/);
  });
});

test.each<[string, object, string[], number]>([
  ["LLaMA-2-7B", {}, ["--method", "norms"], 266_240],
  ["LLaMA-2-7B", {}, ["--method", "norms", "--target-norms", "final_norm"], 4096],
  ["GPT-2", { model_type: "gpt2" }, ["--method", "norms"], 25 * 2 * 768],
  ["GPT-2", { model_type: "gpt2" }, ["--method", "bitfit"], 12 * (3 + 1 + 4 + 1 + 2) * 768 + 768],
  ["Qwen2.5-0.5B", { model_type: "qwen2" }, ["--method", "bitfit"], 24 * (896 + 2 * 128)],
])("inspect counts those of %s", async (name, changes, args, parameters) => {
  const sizes: Record<string, object> = {
    "LLaMA-2-7B": { hidden_size: 4096, intermediate_size: 11008, num_attention_heads: 32, num_hidden_layers: 32 },
    "GPT-2": {},
    "Qwen2.5-0.5B": {
      hidden_size: 896,
      intermediate_size: 4864,
      num_attention_heads: 14,
      num_key_value_heads: 2,
      num_hidden_layers: 24,
    },
  };
  const path = join(home, "config.json");
  const rest = { vocab_size: 32000, max_position_embeddings: 4096, rms_norm_eps: 1e-5, eos_token_id: 2 };
  const own = "model_type" in changes && changes.model_type === "gpt2" ? {} : { ...rest, hidden_act: "silu" };
  writeFileSync(path, JSON.stringify({ model_type: "llama", ...own, ...sizes[name], ...changes }));
  const { stdout, stderr } = await runCli(["inspect", "--model", path, "--json", ...args]);
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toMatchObject({ parameters });
});

test("trained together in one step, each has the bits of training alone", async () => {
  using model = await loadFixture("gpt2", { dtype: "float32" });
  const steps = expectedOf("gpt2").training.batches.slice(0, 3);
  const methods: MethodCall[] = [norms(), bitfit(), lora({ rank: 2 })];
  const trained = async (calls: readonly MethodCall[]) => {
    const adapters = await Promise.all(calls.map((call) => createAdapter(model, call, { seed: 1 })));
    const trainer = new MultiTrainer({ model });
    const train = steps.flatMap((step) => step.flatMap(examplesOf));
    const options = { train, learningRate: 0.01, batchSize: 4, epochs: 1, loggers: [] };
    const runs = adapters.map((adapter, at) => trainer.add(`tenant${at}`, { adapter, ...options }));
    await Promise.all(runs.map(({ done }) => done));
    return adapters.map((adapter) => adapter.vectors());
  };
  const together = await trained(methods);
  for (const [at, call] of methods.entries()) expect((await trained([call]))[0]).toEqual(together[at]);
});

test.each<[string, string, MethodCall]>([
  ["LN tuning", "gqa", norms()],
  ["BitFit", "gpt2", bitfit()],
])("a run of %s resumes with the bits of one that was not stopped", async (_, fixture, method) => {
  using model = await loadFixture(fixture);
  const train = expectedOf(fixture).training.batches.flatMap((step) => step.flatMap(examplesOf));
  const trained = async (outputDir: string, stop?: number, resume = false) => {
    const adapter = await createAdapter(model, method);
    const options = { batchSize: 4, maxSteps: 4, checkpointEverySteps: 1, loggers: [] };
    for await (const event of new Trainer({ model, adapter, train, outputDir, resume, ...options }).run())
      if (event.type === "checkpoint" && event.step === stop) break;
    return adapter.vectors();
  };
  const whole = await trained(join(home, `${fixture}-whole`));
  await trained(join(home, `${fixture}-parts`), 2);
  expect(await trained(join(home, `${fixture}-parts`), undefined, true)).toEqual(whole);
});

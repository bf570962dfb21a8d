/** (IA)3 adapters: their start, options, folders of PEFT and of this package, training, resuming, serving, the command line. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ia3Adapter, type Ia3AdapterOptions } from "../../lib/adapter/ia3_adapter";
import { ia3Plan } from "../../lib/adapter/ia3_plan";
import { loadAdapter } from "../../lib/adapter/load";
import { LoraAdapter } from "../../lib/adapter/lora_adapter";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { writeInto } from "../../lib/files/atomic";
import {
  float32Tensor,
  float32Values,
  readSafetensors,
  type StoredDtype,
  safetensorsPieces,
} from "../../lib/files/safetensors";
import { LanguageModel } from "../../lib/model/model";
import { Engine } from "../../lib/serve/engine";
import { MultiTrainer } from "../../lib/train/multi_trainer";
import { Trainer } from "../../lib/train/trainer";
import { examplesOf, expectedOf, folderOf, loadFixture } from "../parity/fixtures";
import { runCli } from "./cli_support";

const peft = join(folderOf("ia3"), "usual");
const quiet = { onNotice: () => {} };
const ids = Int32Array.of(5, 9, 22, 7, 41, 3);
const train = expectedOf("gqa").training.batches.flatMap((step) => step.flatMap(examplesOf));
let model: LanguageModel;
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-ia3-"));
  model = await loadFixture("gqa", { dtype: "float32" });
});
afterAll(() => {
  model?.dispose();
  rmSync(home, { recursive: true, force: true });
});

const nameOf = (module: string) => `base_model.model.model.layers.1.${module}.ia3_l`;

describe("a new adapter", () => {
  test("changes nothing: all scales are 1", async () => {
    using adapter = Ia3Adapter.create(model, { targetModules: "all-linear" });
    for (const values of adapter.vectors().values()) expect(values.every((one) => one === 1)).toBe(true);
    expect(adapter.vectors().size).toBe(2 * 7);
    expect(await model.logits(ids, { adapter })).toEqual(await model.logits(ids));
  });

  test("scales the outputs of k and v and the input of down_proj, as in the paper", () => {
    using adapter = Ia3Adapter.create(model);
    const targetModules = ["k_proj", "v_proj", "down_proj"];
    expect(adapter.config).toEqual({ targetModules, feedforwardModules: ["down_proj"] });
    expect(adapter.method).toBe("ia3");
    expect(adapter.vectors().get(nameOf("mlp.down_proj"))).toHaveLength(88);
    expect(adapter.parameterCount).toBe(2 * (16 + 16 + 88));
  });

  test("of LLaMA-2-7B's shape has 614,400 numbers", () => {
    const attention = { ...model.architecture.stacks[0].attention, heads: 32, kv_heads: 32, head_dim: 128 };
    const feed_forward = { ...model.architecture.stacks[0].feed_forward, size: 11008 };
    const stack = { ...model.architecture.stacks[0], layers: 32, attention, feed_forward };
    const { parameters } = ia3Plan(
      { ...model.architecture, hidden: 4096, stacks: [stack] },
      { targetModules: ["k_proj", "v_proj", "down_proj"], feedforwardModules: ["down_proj"] },
    );
    expect(parameters.reduce((sum, { shape }) => sum + shape[0]!, 0)).toBe(614_400);
  });

  test("takes other feed-forward modules, or none", () => {
    using inputs = Ia3Adapter.create(model, { targetModules: ["up_proj", "q_proj"], feedforwardModules: ["up_proj"] });
    expect(inputs.vectors().get(nameOf("mlp.up_proj"))).toHaveLength(48);
    using none = Ia3Adapter.create(model, { targetModules: ["down_proj"], feedforwardModules: [] });
    expect(none.vectors().get(nameOf("mlp.down_proj"))).toHaveLength(48);
    using without = Ia3Adapter.create(model, { targetModules: ["q_proj"] });
    expect(without.config.feedforwardModules).toEqual([]);
  });

  test.each<[string, unknown, RegExp]>([
    ["targetModules", [], /"all-linear" or some of q_proj/],
    ["targetModules", ["q_proj", "q_proj"], /each once/],
    ["targetModules", ["lm_head"], /for targetModules/],
    ["targetModules", "q_proj", /for targetModules/],
    [
      "feedforwardModules",
      ["q_proj"],
      /Expected some of targetModules \(k_proj, v_proj, down_proj\), each once, for feed.* but received "q_proj"/,
    ],
    ["feedforwardModules", ["v_proj", "v_proj"], /each once/],
    ["feedforwardModules", "down_proj", /for feedforwardModules/],
    ["layers", [0], /layers/],
  ])("refuses %s: %p", (name, value, message) => {
    expect(() => Ia3Adapter.create(model, { [name]: value } as Ia3AdapterOptions)).toThrow(
      expect.objectContaining({ code: "ERR_ARGUMENT", message: expect.stringMatching(message) }),
    );
  });
});

test("of a model without a gate, all-linear leaves gate_proj out, and naming it is refused", async () => {
  using plain = await loadFixture("gpt2");
  using adapter = Ia3Adapter.create(plain, { targetModules: "all-linear" });
  expect(adapter.config.targetModules).not.toContain("gate_proj");
  const folder = join(home, "gpt2");
  await adapter.savePretrained(folder);
  using loaded = await Ia3Adapter.fromPretrained(folder, plain);
  expect(loaded.config).toEqual(adapter.config);
  expect(() => Ia3Adapter.create(plain, { targetModules: ["gate_proj"] })).toThrow(
    expect.objectContaining({ message: expect.stringContaining("modules other than gate_proj") }),
  );
  const gated = changed({ target_modules: ["gate_proj", "down_proj"] });
  await expect(Ia3Adapter.fromPretrained(gated, plain, quiet)).rejects.toMatchObject({
    code: "ERR_ADAPTER_FORMAT",
    message: expect.stringContaining("Expected an adapter without gate_proj"),
  });
});

/** A copy of PEFT's folder with other fields in its configuration. */
function changed(fields: object): string {
  const folder = mkdtempSync(join(home, "peft-"));
  cpSync(peft, folder, { recursive: true });
  const path = join(folder, "adapter_config.json");
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...fields }));
  return folder;
}

describe("a folder of PEFT", () => {
  test.each<[string, unknown]>([
    ["modules_to_save", ["lm_head"]],
    ["fan_in_fan_out", true],
    ["exclude_modules", ["k_proj"]],
    ["an_option_of_later", 1],
    ["target_modules", "k_proj|v_proj"],
    ["target_modules", ["lm_head"]],
    ["target_modules", null],
    ["feedforward_modules", "down_proj"],
    ["feedforward_modules", ["mlp.k_proj"]],
    ["feedforward_modules", ["up_proj"]],
    ["task_type", "SEQ_2_SEQ_LM"],
    ["rubricate", {}],
  ])("is refused with %s: %p", async (name, value) => {
    await expect(Ia3Adapter.fromPretrained(changed({ [name]: value }), model, quiet)).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringContaining(name),
    });
  });

  test("is taken with fields that change nothing, with later ones that are off, and without feed-forward modules", async () => {
    const fields = { later: null, revision: "main", inference_mode: false, init_ia3_weights: false };
    using plain = await Ia3Adapter.fromPretrained(peft, model, quiet);
    for (const more of [{}, { feedforward_modules: null }]) {
      using adapter = await Ia3Adapter.fromPretrained(changed({ ...fields, ...more }), model, quiet);
      expect(adapter.config).toEqual(plain.config);
      expect(adapter.vectors()).toEqual(plain.vectors());
    }
  });

  test.each<[string, object, string]>([
    ["a scale of an output as an input's", { feedforward_modules: ["v_proj"] }, "shape [1, 48]"],
    ["a module too many in the file", { target_modules: ["k_proj", "down_proj"] }, "Expected no tensor"],
    ["a module too few", { target_modules: ["k_proj", "v_proj", "down_proj", "q_proj"] }, "Expected a tensor"],
  ])("with %s does not fit", async (_, fields, message) => {
    const folder = changed(fields);
    const loaded = Ia3Adapter.fromPretrained(folder, model, quiet);
    await expect(loaded).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringContaining(message),
    });
    expect((await runCli(["inspect", folder])).status).toBe(1);
  });

  test("must have columns for outputs and rows for inputs, and finite numbers", async () => {
    const tensors = await readSafetensors(join(peft, "adapter_model.safetensors"));
    const written = async (
      change: (name: string, shape: readonly number[], values: Float32Array) => readonly number[],
    ) => {
      const folder = changed({});
      const stored = [...tensors].map(([name, tensor]) => {
        const values = float32Values(tensor, name);
        return float32Tensor(name, change(name, tensor.shape, values), values);
      });
      await writeInto(folder, [{ name: "adapter_model.safetensors", data: safetensorsPieces(stored) }]);
      return Ia3Adapter.fromPretrained(folder, model, quiet);
    };
    const format = (message: string) => ({ code: "ERR_ADAPTER_FORMAT", message: expect.stringContaining(message) });
    await expect(written((_, shape) => [...shape].reverse())).rejects.toMatchObject(format("but found [1, 16]"));
    await expect(written((_, shape) => [Math.max(...shape)])).rejects.toMatchObject(format("but found [16]"));
    const broken = written((name, shape, values) => {
      if (name === nameOf("mlp.down_proj")) values[3] = Number.NaN;
      return shape;
    });
    await expect(broken).rejects.toMatchObject(format("found NaN at 3"));
  });

  test.each<[StoredDtype, number]>([
    ["BF16", 0x3f80],
    ["F16", 0x3c00],
  ])("is read in %s", async (dtype, one) => {
    const folder = changed({});
    const tensors = await readSafetensors(join(peft, "adapter_model.safetensors"));
    const stored = [...tensors].map(([name, { shape, data }]) => ({
      name,
      dtype,
      shape,
      data: () => new Uint8Array(new Uint16Array(data.byteLength / 4).fill(one).buffer),
    }));
    await writeInto(folder, [{ name: "adapter_model.safetensors", data: safetensorsPieces(stored) }]);
    using adapter = await Ia3Adapter.fromPretrained(folder, model, quiet);
    for (const values of adapter.vectors().values()) expect([...new Set(values)]).toEqual([1]);
  });

  test("is told apart from those of other methods", async () => {
    using one = await loadAdapter(peft, model, quiet);
    using two = await loadAdapter(join(folderOf("lora"), "all"), model, quiet);
    expect([one.method, two.method]).toEqual(["ia3", "lora"]);
    await expect(RedAdapter.fromPretrained(peft, model)).rejects.toMatchObject({
      message: expect.stringContaining("load it with Ia3Adapter.fromPretrained or loadAdapter"),
    });
    await expect(LoraAdapter.fromPretrained(peft, model)).rejects.toMatchObject({
      message: expect.stringContaining('Expected "LORA" for peft_type'),
    });
    await expect(Ia3Adapter.fromPretrained(join(folderOf("lora"), "all"), model)).rejects.toMatchObject({
      message: expect.stringContaining('Expected "IA3" for peft_type'),
    });
    using red = RedAdapter.create(model);
    await red.savePretrained(join(home, "red"));
    await expect(Ia3Adapter.fromPretrained(join(home, "red"), model)).rejects.toMatchObject({
      message: expect.stringContaining("has no peft_type"),
    });
  });
});

test("an adapter of other weights is refused", async () => {
  using other = await loadFixture("mha", { dtype: "float32" });
  using adapter = Ia3Adapter.create(model);
  const folder = join(home, "of-gqa");
  await adapter.savePretrained(folder);
  await expect(Ia3Adapter.fromPretrained(folder, other)).rejects.toMatchObject({ code: "ERR_BASE_MISMATCH" });
});

test("a MultiTrainer trains (IA)3, LoRA and RED with the bits of each alone", async () => {
  const options = { train, maxSteps: 4, batchSize: 4, learningRate: 0.01 };
  const make = async () => [
    Ia3Adapter.create(model),
    await LoraAdapter.create(model, { rank: 3, targetModules: "all-linear" }),
    RedAdapter.create(model),
    Ia3Adapter.create(model, { targetModules: "all-linear", feedforwardModules: ["gate_proj", "o_proj"] }),
  ];
  const [alone, together] = [await make(), await make()];
  for (const adapter of alone) {
    const events = new Trainer({ model, adapter, ...options }).run();
    while (!(await events.next()).done);
  }
  const trainer = new MultiTrainer({ model });
  const runs = together.map((adapter, at) => trainer.add(`${at}`, { adapter, ...options }));
  await Promise.all(runs.map(({ done }) => done));
  await trainer.close();
  for (const [at, adapter] of together.entries()) expect(adapter.vectors()).toEqual(alone[at]!.vectors());
  for (const values of alone[0]!.vectors().values()) expect(values.some((one) => one !== 1)).toBe(true);
  for (const adapter of [...alone, ...together]) adapter.dispose();
});

test("a run resumes from its checkpoint with the bits of one that was not interrupted, and its folders are adapters", async () => {
  const options = (adapter: Ia3Adapter, outputDir: string, resume: boolean) => ({
    ...{ model, adapter, train, outputDir, resume, maxSteps: 6, batchSize: 4, learningRate: 0.01 },
  });
  const run = async (adapter: Ia3Adapter, outputDir: string, stopAt: number, resume: boolean) => {
    const controller = new AbortController();
    try {
      for await (const event of new Trainer(options(adapter, outputDir, resume)).run({ signal: controller.signal }))
        if (event.type === "step" && event.step === stopAt) controller.abort();
    } catch (error) {
      expect(error).toMatchObject({ code: "ERR_ABORTED" });
    }
  };
  const [wholeDir, splitDir] = [join(home, "whole"), join(home, "split")];
  using whole = Ia3Adapter.create(model);
  await run(whole, wholeDir, 0, false);
  using first = Ia3Adapter.create(model);
  await run(first, splitDir, 3, false);
  using checkpoint = await loadAdapter(join(splitDir, "checkpoint-3"), model);
  expect(checkpoint.vectors()).toEqual(first.vectors());
  using second = Ia3Adapter.create(model);
  await run(second, splitDir, 0, true);
  expect(second.vectors()).toEqual(whole.vectors());
  using other = Ia3Adapter.create(model, { feedforwardModules: [] });
  const refused = new Trainer(options(other, splitDir, true));
  await expect(refused.run().next()).rejects.toMatchObject({ code: "ERR_CHECKPOINT" });
});

test("a trainer takes the adapter's method, and no other", async () => {
  using adapter = Ia3Adapter.create(model);
  const few = train.slice(0, 1);
  expect(() => new Trainer({ model, adapter, train: few, method: "lora" })).toThrow(
    expect.objectContaining({ message: expect.stringMatching(/Expected "ia3", that of the adapter/) }),
  );
  const { value } = await new Trainer({ model, adapter, train: few, maxSteps: 1 }).run().next();
  expect(value).toMatchObject({ type: "start", learningRate: 0.06, learningRateFrom: "default" });
});

test("an engine answers for (IA)3, RED, LoRA and the base at once as for each alone, and decodes as forwards do", async () => {
  using ia3 = await Ia3Adapter.fromPretrained(peft, model, quiet);
  using lora = await LoraAdapter.fromPretrained(join(folderOf("lora"), "all"), model, quiet);
  using red = RedAdapter.create(model);
  red.setVectors(new Map([["layers.0.mlp.down_proj.bias", new Float32Array(48).fill(0.5)]]));
  const call = { tokenIds: ids, maxNewTokens: 12 };
  const alone = [];
  for (const adapter of [ia3, red, lora, undefined]) alone.push((await model.complete({ ...call, adapter })).tokenIds);
  const tokens = [...ids];
  for (let at = 0; at < call.maxNewTokens; at++) {
    const logits = (await model.logits(Int32Array.from(tokens), { adapter: ia3 })).slice(-model.vocabularySize);
    tokens.push(logits.indexOf(Math.max(...logits)));
  }
  expect([...alone[0]!]).toEqual(tokens.slice(ids.length));
  const engine = new Engine({ model });
  try {
    await engine.adapters.set("ia3", ia3);
    await engine.adapters.set("red", red);
    await engine.adapters.set("lora", lora);
    const answers = await Promise.all(
      ["ia3", "red", "lora", undefined].map((adapter) => engine.complete({ ...call, adapter })),
    );
    expect(answers.map(({ tokenIds }) => tokenIds)).toEqual(alone);
    expect(new Set(alone.map(String)).size).toBe(4);
    expect(engine.adapters.get("ia3")!.config).toEqual(ia3.config);
  } finally {
    await engine.close();
  }
});

describe("the command line", () => {
  const training = (out: string) => {
    const rows = join(home, "rows.jsonl");
    writeFileSync(rows, Array.from({ length: 8 }, (_, i) => `{"prompt":"say ${i}","completion":"yes"}\n`).join(""));
    return ["train", "--model", "embedded", "--data", rows, "--out", join(home, out)];
  };

  test("trains, inspects and generates with an (IA)3 adapter", async () => {
    const out = join(home, "cli");
    const modules = ["--target-modules", "v_proj,up_proj", "--feedforward-modules", "up_proj"];
    const trained = await runCli([...training("cli"), "--max-steps", "2", "--method", "ia3", ...modules]);
    expect(trained).toMatchObject({ status: 0 });
    expect(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8"))).toMatchObject({
      peft_type: "IA3",
      target_modules: ["v_proj", "up_proj"],
      feedforward_modules: ["up_proj"],
    });
    const inspected = await runCli(["inspect", out, "--model", "embedded", "--json"]);
    expect(inspected).toMatchObject({ status: 0 });
    const shown = JSON.parse(inspected.stdout);
    using base = await LanguageModel.fromPretrained(join(__dirname, "../../lib/embedded/default"));
    using same = Ia3Adapter.create(base, { targetModules: ["v_proj", "up_proj"], feedforwardModules: ["up_proj"] });
    expect(shown).toMatchObject({ kind: "ia3", feedforwardModules: ["up_proj"], notices: [] });
    expect(shown.parameters).toBe(same.parameterCount);
    expect((await runCli(["inspect", out])).stdout).toMatch(
      /\(IA\)3 adapter .*\nscales outputs v_proj of \d layers\nscales inputs +up_proj of/,
    );
    const generating = [
      "generate",
      "--model",
      "embedded",
      "--adapter",
      out,
      "--prompt",
      "say",
      "--max-new-tokens",
      "2",
    ];
    expect(await runCli(generating)).toMatchObject({ status: 0 });
  });

  test.each([
    [["--method", "ia3", "--sites", "ffn"], "Expected no --sites with --method ia3"],
    [["--method", "ia3", "--rank", "4"], "Expected no --rank with --method ia3"],
    [["--method", "ia3", "--layers", "0"], "Expected no --layers with --method ia3"],
    [
      ["--method", "lora", "--feedforward-modules", "down_proj"],
      "Expected no --feedforward-modules with --method lora",
    ],
    [["--feedforward-modules", "down_proj"], "Expected no --feedforward-modules with --method red"],
    [["--method", "ia3", "--feedforward-modules", "ffn"], "--feedforward-modules"],
  ])("refuses %p", async (flags, message) => {
    const { status, stderr } = await runCli([...training("none"), ...flags]);
    expect([status, stderr]).toEqual([2, expect.stringContaining(message)]);
  });
});

/** Work with LoRA adapters: training, also beside RED, resuming, serving, the command line. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadAdapter } from "../../lib/adapter/load";
import { LoraAdapter } from "../../lib/adapter/lora_adapter";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import type { LanguageModel } from "../../lib/model/model";
import { Engine } from "../../lib/serve/engine";
import { MultiTrainer } from "../../lib/train/multi_trainer";
import { Trainer } from "../../lib/train/trainer";
import { examplesOf, expectedOf, loadFixture } from "../parity/fixtures";
import { runCli } from "./cli_support";
import { ids, peft, quiet } from "./lora_support";

let model: LanguageModel;
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-lora-runs-"));
  model = await loadFixture("gqa", { dtype: "float32" });
});
afterAll(() => {
  model?.dispose();
  rmSync(home, { recursive: true, force: true });
});

test("a MultiTrainer trains LoRA of two ranks and RED with the bits of each alone", async () => {
  const train = expectedOf("gqa").training.batches.flatMap((step) => step.flatMap(examplesOf));
  const options = { train, maxSteps: 4, batchSize: 4, learningRate: 0.01 };
  const make = async () => [
    await LoraAdapter.create(model, { rank: 2, seed: 1 }),
    await LoraAdapter.create(model, { rank: 3, seed: 2 }),
    RedAdapter.create(model),
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
  for (const adapter of [...alone, ...together]) adapter.dispose();
});

test("a run resumes from its checkpoint with the bits of one that was not interrupted, and its folders are adapters", async () => {
  const train = expectedOf("gqa").training.batches.flatMap((step) => step.flatMap(examplesOf));
  const run = async (adapter: LoraAdapter, outputDir: string, stopAt: number, resume: boolean) => {
    const controller = new AbortController();
    const trainer = new Trainer({
      model,
      adapter,
      train,
      outputDir,
      resume,
      maxSteps: 6,
      batchSize: 4,
      learningRate: 0.01,
    });
    try {
      for await (const event of trainer.run({ signal: controller.signal }))
        if (event.type === "step" && event.step === stopAt) controller.abort();
    } catch (error) {
      expect(error).toMatchObject({ code: "ERR_ABORTED" });
    }
  };
  const spec = { rank: 3, alpha: 6, targetModules: "all-linear" } as const;
  using whole = await LoraAdapter.create(model, spec);
  await run(whole, join(home, "whole"), 0, false);
  using first = await LoraAdapter.create(model, spec);
  await run(first, join(home, "split"), 3, false);
  using checkpoint = await loadAdapter(join(home, "split", "checkpoint-3"), model);
  expect(checkpoint.vectors()).toEqual(first.vectors());
  using second = await LoraAdapter.create(model, spec);
  await run(second, join(home, "split"), 0, true);
  expect(second.vectors()).toEqual(whole.vectors());
  using other = await LoraAdapter.create(model, { ...spec, alpha: 7 });
  const refused = new Trainer({
    model,
    adapter: other,
    train,
    outputDir: join(home, "split"),
    resume: true,
    maxSteps: 6,
    batchSize: 4,
    learningRate: 0.01,
  });
  await expect(refused.run().next()).rejects.toMatchObject({ code: "ERR_CHECKPOINT" });
});

test("a trainer takes the adapter's method, and no other", async () => {
  using adapter = await LoraAdapter.create(model);
  const train = [{ tokenIds: Int32Array.of(1, 2), supervised: Uint8Array.of(0, 1), line: 1 }];
  expect(() => new Trainer({ model, adapter, train, method: "red" })).toThrow(
    expect.objectContaining({
      code: "ERR_ARGUMENT",
      message: expect.stringMatching(/Expected "lora", that of the adapter/),
    }),
  );
  const { value } = await new Trainer({ model, adapter, train, maxSteps: 1 }).run().next();
  expect(value).toMatchObject({ type: "start", learningRate: 0.005, learningRateFrom: "default" });
});

test("an engine answers for LoRA, RED and the base at once as for each alone", async () => {
  using lora = await LoraAdapter.fromPretrained(peft, model, quiet);
  using red = RedAdapter.create(model);
  red.setVectors(new Map([["layers.0.mlp.down_proj.bias", new Float32Array(48).fill(0.5)]]));
  const call = { tokenIds: ids, maxNewTokens: 12 };
  const alone = [];
  for (const adapter of [lora, red, undefined]) alone.push((await model.complete({ ...call, adapter })).tokenIds);
  const engine = new Engine({ model });
  try {
    await engine.adapters.set("lora", lora);
    await engine.adapters.set("red", red);
    const answers = await Promise.all(
      ["lora", "red", undefined].map((adapter) => engine.complete({ ...call, adapter })),
    );
    expect(answers.map(({ tokenIds }) => tokenIds)).toEqual(alone);
    expect(new Set(alone.map(String)).size).toBe(3);
    expect(engine.adapters.get("lora")!.config).toEqual(lora.config);
  } finally {
    await engine.close();
  }
});

describe("the command line", () => {
  const rows = () => {
    const path = join(home, "rows.jsonl");
    writeFileSync(path, Array.from({ length: 8 }, (_, i) => `{"prompt":"say ${i}","completion":"yes"}\n`).join(""));
    return path;
  };

  test("trains, inspects and generates with a LoRA adapter", async () => {
    const out = join(home, "cli");
    const training = [
      "train",
      "--model",
      "embedded",
      "--data",
      rows(),
      "--out",
      out,
      "--max-steps",
      "2",
      "--method",
      "lora",
    ];
    const flags = ["--rank", "2", "--alpha", "4", "--target-modules", "q_proj,o_proj", "--layers", "0-1"];
    expect(await runCli([...training, ...flags])).toMatchObject({ status: 0 });
    const config = JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({
      r: 2,
      lora_alpha: 4,
      target_modules: ["q_proj", "o_proj"],
      layers_to_transform: [0, 1],
    });
    const inspected = await runCli(["inspect", out, "--model", "embedded", "--json"]);
    expect(inspected).toMatchObject({ status: 0 });
    expect(JSON.parse(inspected.stdout)).toMatchObject({
      kind: "lora",
      rank: 2,
      alpha: 4,
      layers: [0, 1],
      notices: [],
    });
    expect((await runCli(["inspect", out])).stdout).toMatch(
      /LoRA adapter .*\n.*q_proj, o_proj of 2 layers\n.*rank +2, alpha 4/,
    );
    const generated = await runCli([
      "generate",
      "--model",
      "embedded",
      "--adapter",
      out,
      "--prompt",
      "say",
      "--max-new-tokens",
      "2",
    ]);
    expect(generated).toMatchObject({ status: 0 });
  });

  test.each([
    [["--method", "lora", "--sites", "ffn"], "Expected no --sites with --method lora"],
    [["--rank", "4"], "Expected no --rank with --method red"],
    [["--method", "full", "--alpha", "4"], "Expected no --alpha with --method full"],
    [["--method", "lora", "--target-modules", "ffn"], "--target-modules"],
    [["--method", "lora", "--rank", "0"], "--rank"],
  ])("refuses %p", async (flags, message) => {
    const training = ["train", "--model", "embedded", "--data", rows(), "--out", join(home, "none")];
    const { status, stderr } = await runCli([...training, ...flags]);
    expect([status, stderr]).toEqual([2, expect.stringContaining(message)]);
  });
});

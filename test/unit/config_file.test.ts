/** Flags from a JSON file: what each key means, what is refused, and that the command line replaces it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readArguments } from "../../lib/cli/arguments";
import { configArguments } from "../../lib/cli/config_file";
import { trainCommand } from "../../lib/cli/train";
import { trainingOptionsOf } from "../../lib/cli/training_flags";
import { optionEntries } from "../../lib/train/option_table";
import { runCli } from "./cli_support";

const folder = mkdtempSync(join(tmpdir(), "rubricate-config-"));
const file = join(folder, "run.json");
afterAll(() => rmSync(folder, { recursive: true }));

const needed = { model: "m", data: "d", outputDir: "o" };
const valuesOf = (document: unknown, ...argv: string[]) => {
  writeFileSync(file, JSON.stringify(document));
  return readArguments(trainCommand, [...configArguments(file, trainCommand), ...argv]).values;
};
const optionsOf = (document: object) => trainingOptionsOf(valuesOf({ ...needed, ...document }));

/** A value of each option that differs from its default. */
const others = {
  ...{ resume: "auto", method: "full", learningRate: 1e-7, schedule: "cosine", warmupSteps: 3, warmupRatio: 0.5 },
  ...{ epochs: 2, maxSteps: 9, batchSize: 4, packing: { maxTokens: 99 }, gradientAccumulationSteps: 2 },
  ...{ groupByLength: true, shuffle: false, seed: 7, weightDecay: 0.25, weightDecayTarget: "zero", beta1: 0.5 },
  ...{ beta2: 0.5, epsilon: 1e-6, maxGradNorm: 0, evalEverySteps: 5, evalEveryEpoch: false, evalOnStart: true },
  ...{ earlyStopping: { patience: 2, minDelta: 0.5 }, keepBest: false, checkpointEverySteps: 5, keepCheckpoints: 1 },
  ...{ checkpointEveryMinutes: 3, overwrite: true, recompute: "auto", loggers: ["jsonl", "tensorboard"] },
};

test("every option of Trainer with a flag may be a key, with the value that programs give", () => {
  const named = optionEntries.filter(([, { flags }]) => Object.keys(flags).length > 0).map(([name]) => name as string);
  expect(Object.keys({ outputDir: 1, ...others }).sort()).toEqual(named.sort());
  expect(optionsOf(others)).toEqual({ outputDir: "o", ...others });
});

test.each<[object, object]>([
  [
    { packing: true, recompute: true, resume: true },
    { packing: true, recompute: true, resume: true },
  ],
  [{ shuffle: true, packing: false, keepBest: true, evalOnStart: false, resume: false }, {}],
  [{ earlyStopping: { patience: 1 } }, { earlyStopping: { patience: 1 } }],
])("%j", (document, options) => {
  expect(optionsOf(document)).toEqual({ outputDir: "o", ...options });
});

test("flags that are no options of Trainer", () => {
  const document = { eval: 0.1, sites: ["ffn", "q"], layers: [0, 3], threads: 2, dtype: "bfloat16", json: undefined };
  const expected = { model: "m", data: "d", out: "o", eval: "0.1", sites: ["ffn", "q"], layers: [0, 3] };
  expect(valuesOf({ ...needed, ...document })).toEqual({ ...expected, threads: 2, dtype: "bfloat16" });
  expect(valuesOf({ model: "m", data: "d", out: "=o", layers: "0-2", eval: "e" })).toMatchObject({
    out: "=o",
    layers: [0, 1, 2],
    eval: "e",
  });
});

test("the command line replaces a key", () => {
  expect(valuesOf({ ...needed, epochs: 2, sites: ["q"] }, "--epochs", "5", "--sites", "ffn")).toMatchObject({
    epochs: 5,
    sites: ["ffn"],
  });
});

test.each<[unknown, string]>([
  [[1], "Expected an object in FILE but it has [1]"],
  [null, "Expected an object in FILE but it has null"],
  [{ method: "lora", target_modules: ["q_proj"] }, 'Unknown key "target_modules" in FILE; did you mean targetModules?'],
  [{ learning_rate: 1 }, 'Unknown key "learning_rate" in FILE; did you mean learningRate?'],
  [{ num_train_epochs: 1 }, 'Unknown key "num_train_epochs" in FILE; did you mean epochs?'],
  [{ nonsense: 1 }, 'Unknown key "nonsense" in FILE; the keys are model, device, dtype'],
  [{ config: "x" }, 'Unknown key "config" in FILE'],
  [{ help: true }, 'Unknown key "help" in FILE'],
  [{ epochs: "3" }, 'Expected a positive integer for epochs in FILE but received "3"'],
  [{ epochs: 1.5 }, "Expected a positive integer for epochs in FILE but received 1.5"],
  [{ shuffle: "no" }, 'Expected true or false for shuffle in FILE but received "no"'],
  [{ earlyStopping: { patience: 1, delta: 1 } }, 'Unknown key "earlyStopping.delta" in FILE; the keys are patience, minDelta'],
  [{ earlyStopping: { patience: "1" } }, 'Expected a positive integer for earlyStopping.patience in FILE but received "1"'],
  [{ loggers: ["console"] }, "for loggers in FILE"],
  [{ threads: "4" }, 'Expected an integer from 1 to 256 for threads in FILE but received "4"'],
  [{ threads: null }, "for threads in FILE but received null"],
  [{ model: 5 }, "for model in FILE but received 5"],
  [{ sites: [["q"]] }, "for sites in FILE"],
  [{ earlyStopping: [3] }, "Expected { patience, minDelta } for earlyStopping in FILE but received [3]"],
  [{ packing: null }, "Expected true, false or { maxTokens } for packing in FILE but received null"],
])("%j is refused", (document, message) => {
  expect(() => valuesOf(document)).toThrow(message.replace("FILE", file));
}); // biome-ignore format: one file a line

test("the command line says what is wrong with the file, or missing", async () => {
  writeFileSync(file, '{"epochs": 2,');
  const run = (...argv: string[]) => runCli(["train", "--config", file, ...argv]);
  expect(await run()).toMatchObject({ status: 1, stderr: expect.stringContaining("[ERR_JSON]") });
  writeFileSync(file, '{"model": "m", "epoch": 2}');
  expect(await run()).toMatchObject({ status: 2, stderr: expect.stringContaining("did you mean epochs?") });
  writeFileSync(file, '{"model": "m", "data": "d"}');
  expect(await run()).toMatchObject({ status: 2, stderr: expect.stringContaining("Expected --out DIR") });
  writeFileSync(file, '{"model": "m", "data": "d", "outputDir": "o", "epochs": 0}');
  expect(await run()).toMatchObject({ status: 2, stderr: expect.stringContaining("Expected a positive integer for") });
  writeFileSync(file, JSON.stringify({ ...needed, model: join(folder, "none"), method: "full", sites: ["ffn"] }));
  expect(await run()).toMatchObject({ status: 2, stderr: expect.stringContaining("Expected no --sites") });
  expect(await run("--method", "red")).toMatchObject({ status: 1, stderr: expect.stringContaining("[ERR_FILE]") });
  const missing = await runCli(["train", "--config", join(folder, "none.json")]);
  expect(missing).toMatchObject({ status: 1, stderr: expect.stringContaining("[ERR_FILE]") });
});

describe("a YAML file", () => {
  const values = (text: string, name = "run.yaml") => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return readArguments(trainCommand, configArguments(path, trainCommand)).values;
  };

  test.each(["run.yaml", "run.yml", "RUN.YAML"])("%s means what the same JSON means", (name) => {
    const text = `# a run
model: m
data: "d"
outputDir: o
sites: [ffn, attention]
layers:
  - 0
  - 3
learningRate: 1e-3 # as in JSON
shuffle: false
earlyStopping: { patience: 3 }
loggers: &loggers
  - jsonl
`;
    expect(values(text, name)).toEqual(
      valuesOf({
        ...needed,
        ...{ sites: ["ffn", "attention"], layers: [0, 3], learningRate: 1e-3, shuffle: false },
        ...{ earlyStopping: { patience: 3 }, loggers: ["jsonl"] },
      }),
    );
    expect(values(JSON.stringify({ ...needed, ...others }))).toEqual(valuesOf({ ...needed, ...others }));
  });

  test.each([
    ["a key twice", "seed: 1\nseed: 2\n", /^Expected YAML in .*run\.yaml: .*unique.* \(line 2, column 1\)$/],
    ["two documents", "seed: 1\n---\nseed: 2\n", /^Expected YAML in .*multiple documents/],
    [
      "another language's tag",
      "seed: !!python/object:os.system 1\n",
      /^Expected YAML in .*Unresolved tag.*line 1, column 7/,
    ],
    ["an indentation that is wrong", "seed: 1\n  epochs: 2\n", /^Expected YAML in .*\(line \d, column \d+\)$/],
    ["an alias of nothing", "seed: *none\n", /^Expected YAML in .*none/],
    [
      "aliases that multiply",
      `a: &a [x,x,x,x,x,x,x,x,x,x]\n${[..."bcdefgh"].map((name, at) => `${name}: &${name} [${`*${"abcdefg"[at]},`.repeat(9)}1]\n`).join("")}`,
      /^Expected YAML in .*alias/,
    ],
    ["brackets without end", "[".repeat(50_000), /^Expected YAML in /],
    ["nothing", "", /^Expected an object in .*run\.yaml but it has null$/],
    ["a list", "- seed\n", /^Expected an object in /],
    ["an unknown key", "sead: 1\n", /^Unknown key "sead" in .*did you mean seed/],
    ["a text for a boolean", "shuffle: no\n", /for shuffle in .*run\.yaml but received "no"$/],
    ["a text for a number", 'seed: "1"\n', /for seed in .*run\.yaml but received "1"$/],
    ["a number that is none", "learningRate: .nan\n", /for learningRate in /],
  ])("%s is refused by name", (_, text, says) => {
    const started = performance.now();
    expect(() => values(text)).toThrow(says);
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  test("the file is named by the command, which loads nothing", async () => {
    const path = join(folder, "run.yaml");
    writeFileSync(path, "seed: [1");
    expect(await runCli(["train", "--config", path])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining(`Expected YAML in ${path}: `),
    });
  });
});

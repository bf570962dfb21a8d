/** Every option of a run: its default, the values that it takes and refuses, its flag, and its part in a run's identity. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { readArguments } from "../../lib/cli/arguments";
import { trainCommand } from "../../lib/cli/train";
import { trainingFlags, trainingOptionsOf } from "../../lib/cli/training_flags";
import { RubricateError } from "../../lib/errors";
import { integer } from "../../lib/option_kinds";
import { identityOf } from "../../lib/train/identity";
import { option } from "../../lib/train/option";
import { type OptionName, optionEntries, type TrainingFlagName, trainingOptions } from "../../lib/train/option_table";
import type { TrainerOptions } from "../../lib/train/options";
import { checkedSettings } from "../../lib/train/settings";
import { runCli } from "./cli_support";
import { fakeModel } from "./fake_native";
import {
  all,
  boolean,
  choice,
  count,
  float32,
  largest,
  least32,
  most32,
  nonNegative,
  numbers,
  type Row,
  rate,
} from "./option_table_support";

jest.mock("../../lib/native", () => require("./fake_native"));

const model = fakeModel({ contextLength: 64 });
const adapter = RedAdapter.create(model);
const settingsOf = (options: object) => checkedSettings({ model, adapter, train: [], ...options } as TrainerOptions);

/** Of no option. */
const strangers: readonly unknown[] = [null, 1n, Symbol("s"), () => 1, new Date(0), Number.NaN, [[]], -0.5];
const throwing = new Proxy([], {
  get() {
    throw new Error("no");
  },
});

const evaluated = { eval: 0.5 };
const loggers = "some of jsonl, tensorboard, each once";
const resumable = 'true, false, "auto" or the path of a checkpoint';
const seeds = "an integer from 0 to 2^53 - 1";

const rows: Readonly<Record<OptionName, Row>> = {
  outputDir: {
    default: undefined,
    identity: false,
    takes: [["a", resolve("a")]],
    refuses: [...all("a path", [1, true, {}, "a\0b"]), ["", "a path", ""]],
    flag: "--out",
  },
  resume: {
    default: false,
    identity: false,
    takes: [[true], ["auto"], ["c", resolve("c")]],
    refuses: [...all(resumable, [1, {}, "a\0b"]), ["", resumable, ""]],
    flag: "--resume=",
  },
  overwrite: { ...boolean(false), identity: false },
  method: {
    ...choice("red", "--method", [
      ...["red", "lora", "ia3", "bitfit", "norms", "bottleneck", "melora", "sibo", "gift"],
      ...["pafi", "sara", "spt", "ether", "ether+", "hiwi", "lorta"],
      ...["loretta_rep", "loretta_adp", "full"],
    ]),
    takes: [["red"]],
  },
  learningRate: {
    default: 0.1,
    identity: true,
    takes: [[0], [least32], [most32], ["sweep"]],
    refuses: [
      ...numbers("a number of at least 0", -1, -least32),
      ...numbers(`0 or ${float32}`, least32 / 2, 3.5e38),
      ...all('a number of at least 0 or "sweep"', ["1", false, Number.POSITIVE_INFINITY]),
      ["sweeps", 'a number of at least 0 or "sweep"', "sweeps"],
    ],
    flag: "--learning-rate",
    others: evaluated,
  },
  schedule: choice("linear", "--schedule", ["linear", "cosine", "constant", "constant_with_warmup"]),
  warmupSteps: {
    default: undefined,
    identity: false,
    takes: [[0], [largest]],
    refuses: [...numbers("an integer of at least 0", -1, 0.5, 2 ** 53), ...all("an integer of at least 0", ["0"])],
    flag: "--warmup-steps",
  },
  warmupRatio: {
    default: undefined,
    identity: false,
    takes: [[0], [1]],
    refuses: [...numbers("a number from 0 to 1", -1e-9, 1.000001), ...all("a number from 0 to 1", ["0.5", true])],
    flag: "--warmup-ratio",
  },
  epochs: count(3, true, "--epochs"),
  maxSteps: count(undefined, true, "--max-steps"),
  batchSize: count(8, true, "--batch-size"),
  packing: {
    default: undefined,
    identity: true,
    takes: [[true, { maxTokens: 64 }], [false, undefined], [{ maxTokens: 1 }], [{ maxTokens: largest }]],
    refuses: all("true, false or { maxTokens }", [1, "true"]),
  },
  gradientAccumulationSteps: count(1, true, "--gradient-accumulation-steps"),
  groupByLength: boolean(false),
  shuffle: boolean(true),
  seed: {
    default: 42,
    identity: true,
    takes: [[0], [largest]],
    refuses: [...numbers(seeds, -1, 0.5, 2 ** 53), ...all(seeds, ["1", true])],
    flag: "--seed",
  },
  weightDecay: nonNegative(0, "--weight-decay"),
  weightDecayTarget: choice("identity", "--weight-decay-target", ["identity", "zero"]),
  beta1: rate(0.9, "--beta1"),
  beta2: rate(0.999, "--beta2"),
  epsilon: {
    default: 1e-8,
    identity: true,
    takes: [[least32], [most32]],
    refuses: [...numbers("a positive number", 0, -1), ...numbers(float32, least32 / 2, 3.5e38)],
    flag: "--epsilon",
  },
  maxGradNorm: nonNegative(1, "--max-grad-norm"),
  maxLength: { ...count(64, false), takes: [[1], [64], [largest, 64]] },
  evalEverySteps: count(undefined, true, "--eval-every-steps", evaluated),
  evalEveryEpoch: boolean(false, evaluated),
  evalOnStart: { ...boolean(false, evaluated), identity: false },
  earlyStopping: {
    default: undefined,
    identity: true,
    takes: [[{ patience: 1 }], [{ patience: largest, minDelta: 0 }]],
    refuses: all("{ patience, minDelta }", [3, true, "3"]),
    others: evaluated,
  },
  keepBest: boolean(false, evaluated),
  checkpointEveryMinutes: {
    default: 10,
    identity: false,
    takes: [[0], [1e-9], [0.5], [1e9]],
    refuses: [
      ...numbers("a number of at least 0", -1, Number.POSITIVE_INFINITY),
      ...all("a number of at least 0", ["1"]),
    ],
    flag: "--checkpoint-every-minutes",
    others: { outputDir: "x" },
  },
  checkpointEverySteps: count(undefined, false, "--checkpoint-every-steps", { outputDir: "x" }),
  keepCheckpoints: count(2, false, "--keep-checkpoints"),
  recompute: {
    default: false,
    identity: false,
    takes: [[true], [false], ["auto"]],
    refuses: [...all('true, false or "auto"', [1, "true"]), ["no", 'true, false or "auto"', "no"]],
    flag: "--recompute=",
  },
  loggers: {
    default: [],
    identity: false,
    takes: [[[]], [["jsonl"]], [["tensorboard", "jsonl"]]],
    refuses: [
      [["console"], loggers, "console"],
      [["jsonl", "jsonl"], loggers, "jsonl,jsonl"],
      ...all(loggers, ["jsonl", { length: 0 }, new Array(1), new Array(2 ** 32 - 1)]),
    ],
    flag: "--loggers",
    others: { outputDir: "x" },
  },
};
const table = Object.entries(rows) as [OptionName, Row][];

function refusal(options: object): string {
  try {
    settingsOf(options);
  } catch (error) {
    if (error instanceof RubricateError && error.code === "ERR_ARGUMENT") return error.message;
    throw error;
  }
  return "taken";
}

test("the table has every option, in its order", () => {
  expect(table.map(([name]) => name)).toEqual(optionEntries.map(([name]) => name));
});

test.each(table)("%s: its default, and the values that it accepts", (name, row) => {
  expect(settingsOf({})[name]).toEqual(row.default);
  expect(settingsOf({ [name]: undefined })[name]).toEqual(row.default);
  for (const one of row.takes)
    expect(settingsOf({ ...row.others, [name]: one[0] })[name]).toEqual(one.length === 1 ? one[0] : one[1]);
});

test.each(table)("%s: the values that it refuses", (name, row) => {
  for (const [value, expected] of row.refuses)
    expect(refusal({ ...row.others, [name]: value })).toMatch(`Expected ${expected} for ${name} but received `);
  for (const value of strangers)
    expect(refusal({ ...row.others, [name]: value })).toMatch(/^(Expected .* for|Unknown option .* for) /);
  expect(refusal({ ...row.others, [name]: throwing })).toMatch(/^Expected .* for /);
});

test.each<[object, string]>([
  [{ packing: { maxTokens: 0 } }, "Expected a positive integer for packing.maxTokens but received 0"],
  [{ packing: {} }, "Expected a positive integer for packing.maxTokens but received undefined"],
  [{ earlyStopping: {} }, "Expected a positive integer for earlyStopping.patience but received undefined"],
  [{ earlyStopping: { patience: 1, minDelta: -1 } }, "Expected a number of at least 0 for earlyStopping.minDelta"],
  [{ earlyStopping: { patience: 1, minDelta: null } }, "Expected a number of at least 0 for earlyStopping.minDelta"],
  [{ learning_rate: 1 }, 'Unknown option "learning_rate" for Trainer; did you mean learningRate?'],
  [{ lr: 1 }, 'Unknown option "lr" for Trainer; did you mean learningRate?'],
  [{ numTrainEpochs: 1 }, 'Unknown option "numTrainEpochs" for Trainer; did you mean epochs?'],
  [{ per_device_train_batch_size: 1 }, "did you mean batchSize?"],
  [{ output_dir: "a" }, "did you mean outputDir?"],
  [{ saveSteps: 1 }, "did you mean checkpointEverySteps?"],
  [{ load_best_model_at_end: true }, "did you mean keepBest? (it is on if there is an evaluation)"],
  [{ loggingSteps: 1 }, "; every step is logged: leave it out"],
  [{ train_dataset: [] }, "did you mean train?"],
])("%j is refused", (options, message) => {
  expect(refusal({ ...evaluated, ...options })).toContain(message);
});

const flagged = table.flatMap(([name, { flag, refuses, others }]) =>
  refuses.flatMap(([value, , text]) =>
    flag === undefined || text === undefined ? [] : [{ name, flag, value, text, others }],
  ),
);

test.each(flagged)("$flag $text is refused with the message of $name", async ({ name, flag, value, text, others }) => {
  const written = flag.replace("=", "");
  const argument = flag.endsWith("=") ? [`${flag}${text}`] : [`${flag}=${text}`];
  const { status, stderr } = await runCli(["train", "--model", "x", "--data", "y", "--out", "z", ...argument]);
  const [sentence] = refusal({ ...others, [name]: value }).split(" but received ");
  expect(stderr).toContain(
    `${sentence!.replace(new RegExp(`${name}$`), written)} but received ${JSON.stringify(text)}`,
  );
  expect(status).toBe(2);
});

test.each<[string[], object]>([
  [["--no-shuffle", "--group-by-length"], { shuffle: false, groupByLength: true }],
  [["--no-keep-best", "--no-eval-every-epoch"], { keepBest: false, evalEveryEpoch: false }],
  [["--eval-on-start"], { evalOnStart: true }],
  [["--packing"], { packing: true }],
  [["--packing=9"], { packing: { maxTokens: 9 } }],
  [["--early-stopping", "2"], { earlyStopping: { patience: 2 } }],
  [["--early-stopping-min-delta", "0.5", "--early-stopping", "2"], { earlyStopping: { patience: 2, minDelta: 0.5 } }],
  [["--recompute", "--resume"], { recompute: true, resume: true }],
  [["--recompute=auto", "--resume=auto"], { recompute: "auto", resume: "auto" }],
  [["--recompute=false"], { recompute: false }],
  [["--loggers", "jsonl, tensorboard"], { loggers: ["jsonl", "tensorboard"] }],
  [["--learning-rate", "1e-2", "--max-steps", "7"], { learningRate: 0.01, maxSteps: 7 }],
  [["--learning-rate", "sweep"], { learningRate: "sweep" }],
  [["--max-length", "9", "--sites", "q"], {}],
])("%j sets %j", (argv, options) => {
  const needed = ["--model", "x", "--data", "y", "--out", "z"];
  const { values } = readArguments(trainCommand, [...needed, ...argv]);
  expect(trainingOptionsOf(values)).toEqual({ outputDir: "z", ...options });
});

test("every option but maxLength has a flag, and each flag sets its option", () => {
  const without = optionEntries.filter(([, { flags }]) => Object.keys(flags).length === 0);
  expect(without.map(([name]) => name)).toEqual(["maxLength"]);
  for (const [name, { flags }] of optionEntries)
    for (const flag of Object.keys(flags) as TrainingFlagName[]) {
      const { kind, alone } = trainingFlags[flag];
      if (kind.placeholder === undefined) expect([flag, alone]).toEqual([flag, expect.any(Boolean)]);
      expect(Object.keys(trainingOptionsOf({ [flag]: alone ?? 1 }))).toEqual([name]);
    }
});

test("defaults that depend on the run", () => {
  expect(settingsOf(evaluated)).toMatchObject({ evalEveryEpoch: true, keepBest: true });
  expect(settingsOf({ outputDir: "x" }).loggers).toEqual(["jsonl"]);
});

describe("the identity of a run", () => {
  const complete = {
    ...{ learningRate: 0.5, schedule: "cosine", warmupSteps: 3, maxSteps: 5, epochs: 9, batchSize: 3, packing: true },
    ...{ gradientAccumulationSteps: 2, groupByLength: true, shuffle: false, seed: 7, weightDecay: 0.5, beta1: 0.5 },
    ...{ weightDecayTarget: "zero", beta2: 0.25, epsilon: 1e-6, maxGradNorm: 0, evalEverySteps: 2, eval: 0.5 },
    ...{ evalEveryEpoch: false, earlyStopping: { patience: 2 }, keepBest: false, recompute: "auto", maxLength: 9 },
  };

  test("is written byte for byte as in checkpoints", () => {
    const full = { method: "full", adapter: undefined };
    expect(JSON.stringify(identityOf(settingsOf(full)))).toBe(
      '{"method":"full","adapter":null,"learningRate":0.001,"schedule":"linear","epochs":3,"maxSteps":null,"batchSize":8,' +
        '"packing":null,"gradientAccumulationSteps":1,"groupByLength":false,"shuffle":true,"seed":42,"weightDecay":0,' +
        '"weightDecayTarget":"identity","beta1":0.9,"beta2":0.999,"epsilon":1e-8,"maxGradNorm":1,"evalEverySteps":null,' +
        '"evalEveryEpoch":false,"earlyStopping":null,"keepBest":false}',
    );
    expect(JSON.stringify(identityOf(settingsOf({ ...full, ...complete })))).toBe(
      '{"method":"full","adapter":null,"learningRate":0.5,"schedule":"cosine","epochs":null,"maxSteps":5,"batchSize":null,' +
        '"packing":{"maxTokens":64},"gradientAccumulationSteps":2,"groupByLength":true,"shuffle":false,"seed":7,' +
        '"weightDecay":0.5,"weightDecayTarget":"zero","beta1":0.5,"beta2":0.25,"epsilon":0.000001,"maxGradNorm":0,' +
        '"evalEverySteps":2,"evalEveryEpoch":false,"earlyStopping":{"patience":2},"keepBest":false}',
    );
    expect(identityOf(settingsOf({})).adapter).toEqual(JSON.parse(JSON.stringify(adapter.config)));
  });

  test.each(table)("%s", (name, { identity }) => {
    expect(Object.hasOwn(identityOf(settingsOf({})), name)).toBe(identity);
  });

  test("a declaration without it does not compile", () => {
    // @ts-expect-error: identity is missing
    option(integer(1), { default: 1, flags: {} });
    // @ts-expect-error: the default has another type
    option(integer(1), { default: "1", identity: true, flags: {} });
    // @ts-expect-error: not a field of a declaration
    option(integer(1), { default: 1, identity: true, flags: {}, idnetity: true });
    expect(option(integer(1), { default: 1, identity: true, flags: {} }).identity).toBe(true);
  });
});

test("docs/api says each default", () => {
  const page = readFileSync(join(__dirname, "../../docs/api/train.md"), "utf8");
  const section = page.slice(page.indexOf("## TrainerOptions"), page.indexOf("## Schedule"));
  const members = new Map(
    section.split(/^- `readonly /m).map((text) => [/^\w+/.exec(text)?.[0], text.replace(/\s+/g, " ").trim()]),
  );
  for (const [name, { default: fallback }] of Object.entries(trainingOptions)) {
    const [, said] = /Default: (.*?)\.( |$)(?!\d)/.exec(members.get(name)!) ?? [];
    if (fallback === undefined) expect([name, said]).toEqual([name, undefined]);
    else if (typeof fallback === "function") expect([name, said]).toEqual([name, expect.any(String)]);
    else expect([name, JSON.parse(said!)]).toEqual([name, fallback]);
  }
});

test("dist/ declares each option with its doc comment, for editors", () => {
  const text = readFileSync(join(__dirname, "../../dist/train/option_table.d.ts"), "utf8");
  const plain = text.slice(text.indexOf("export interface TrainingOptions {"));
  const declared = [...plain.slice(0, plain.indexOf("\n}")).matchAll(/\*\/\n {4}readonly (\w+)\?: /g)];
  expect(declared.map(([, name]) => name)).toEqual(Object.keys(trainingOptions));
});

/** The command line of a comparison: what is refused before anything runs, and which command lines its runs have. */
import { cpSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readArguments } from "../../lib/cli/arguments";
import { commandsOf, sharedFlags } from "../../lib/cli/compare_commands";
import { comparedMethods, readMethods } from "../../lib/cli/compare_methods";
import { sharedOf } from "../../lib/cli/compare_shared";
import { flagWords } from "../../lib/cli/flag_words";
import { type FlagName, flags, type Values } from "../../lib/cli/flags";
import { descriptionAt } from "../../lib/cli/inspect_method";
import { commands } from "../../lib/cli/main";
import { methodFlags } from "../../lib/cli/method_flags";
import { limits } from "../../lib/limits";
import { rowsOf, runCli, writeModel } from "./cli_support";
import { method } from "./compare_support";
import { temporaryFolder } from "./failing_files";

let home: string;
const at = (...names: string[]) => join(home, ...names);
beforeAll(async () => {
  home = temporaryFolder();
  await writeModel(at("model"));
  writeFileSync(at("data.jsonl"), rowsOf(12));
  writeFileSync(at("test.jsonl"), rowsOf(5));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

const required = () => ({
  model: at("model"),
  data: at("data.jsonl"),
  test: at("test.jsonl"),
  methods: "red,lora",
  out: at("out"),
});
const argvOf = (given: Record<string, string>) => Object.entries(given).map(([name, value]) => `--${name}=${value}`);
const compare = (more: Record<string, string> = {}, ...words: string[]) =>
  runCli(["compare", ...argvOf({ ...required(), ...more }), ...words]);

test.each<[Record<string, string>, string]>([
  [
    { methods: "red,loar" },
    'Expected one of red, lora, ia3, bitfit, norms, bottleneck, melora, sibo, gift, pafi, sara, spt, ether, ether+, hiwi, lorta, loretta_rep, loretta_adp, full in --methods but received "loar"; did you mean lora?',
  ],
  [{ methods: "" }, "for --methods but received"],
  [{ methods: "red,red" }, "Expected different methods in --methods but red is there twice"],
  [{ methods: "red,red:sites=ffn" }, "but red:sites=ffn means the same as red"],
  [{ methods: "lora:rnk=4" }, 'received "rnk"; did you mean rank?'],
  [{ methods: "lora:rank=0" }, "Expected an integer from 1 to 8192 for rank of lora in --methods"],
  [{ methods: "lora:rank=4:rank=5" }, "Expected rank once for lora"],
  [{ methods: "full:rank=4" }, "Expected no option of full in --methods"],
  [{ methods: "red:layers=9" }, "red:layers=9 in --methods: Expected layer numbers from 0 to 1"],
  [{ methods: "red,spt" }, "Expected --budget with --method spt: how many weights to mark"],
  [{ methods: "spt:budget=5,spt:budget=5:rank=2,spt:budget=5" }, "but spt:budget=5 is there twice"],
  [{ methods: "bitfit" }, "bitfit in --methods: Expected a base that has biases"],
  [{ seeds: "0" }, 'Expected an integer from 1 to 1000 for --seeds but received "0"'],
  [{ seeds: "1001" }, "Expected an integer from 1 to 1000 for --seeds"],
  [{ "learning-rates": "0" }, "Expected auto or positive numbers, comma-separated, each once for --learning-rates"],
  [{ "learning-rates": "0.1,0" }, 'for --learning-rates but received "0.1,0"'],
  [{ "learning-rates": "0.1,0.10" }, "for --learning-rates"],
  [{ "learning-rates": "-1" }, "for --learning-rates"],
  [{ "learning-rates": "sweep" }, "for --learning-rates"],
  [{ dev: "1.5" }, "Expected a file, or a number between 0 and 1, for --dev but received"],
  [{ stop: "x" }, "Expected --metrics to go with --stop"],
  [{ "warmup-ratio": "0.1", "warmup-steps": "3" }, "warmup"],
  [{ "learning-rate": "0.1" }, 'received "--learning-rate"; did you mean --learning-rates?'],
  [{ "early-stopping": "3" }, 'Expected a flag of rubricate compare but received "--early-stopping"'],
])("%j is refused", async (given, message) => {
  const { status, stderr } = await compare(given);
  expect(stderr).toContain(message);
  expect(status).toBe(2);
  expect(existsSync(at("out"))).toBe(false);
});

test.each([
  [{ learningRate: 0.1 }, 'Unknown key "learningRate" in', "did you mean learningRates?"],
  [{ eval: 0.1 }, 'Unknown key "eval" in', "dev, test, methods"],
  [{ learningRates: [0.1, 0] }, "Expected auto or positive numbers", "for learningRates in"],
])("the key %j of a file with flags is refused", async (document, ...messages) => {
  writeFileSync(at("flags.json"), JSON.stringify(document));
  const { status, stderr } = await compare({ config: at("flags.json") });
  for (const message of messages) expect(stderr).toContain(message);
  expect(status).toBe(2);
});

test("a missing --test is named", async () => {
  const { test: _, ...others } = required();
  const { status, stderr } = await runCli(["compare", ...argvOf(others)]);
  expect([status, stderr]).toEqual([
    2,
    expect.stringContaining("Expected --test FILE: a file that each run is scored on once"),
  ]);
});

test("as many seeds as comparedSeeds are taken", () => {
  const command = commands.find(({ name }) => name === "compare")!;
  const argv = argvOf({ ...required(), seeds: String(limits.comparedSeeds) });
  expect(readArguments(command, argv).values.seeds).toBe(1000);
  expect(() => readArguments(command, argvOf({ ...required(), seeds: "1001" }))).toThrow("--seeds");
});

describe("--out", () => {
  test("is not the model's folder, nor a link to it", async () => {
    symlinkSync(at("model"), at("link"));
    for (const out of [at("model"), at("link")]) {
      const { status, stderr } = await compare({ out });
      expect([status, stderr]).toEqual([1, expect.stringContaining("other than the model's folder")]);
    }
  });

  test("has nothing of others", async () => {
    mkdirSync(at("used"), { recursive: true });
    cpSync(at("data.jsonl"), at("used", "mine.jsonl"));
    const { status, stderr } = await compare({ out: at("used") });
    expect([status, stderr]).toEqual([
      1,
      expect.stringContaining(`for --out but ${at("used")} has mine.jsonl [ERR_FILE]`),
    ]);
    expect(existsSync(at("used", "mine.jsonl"))).toBe(true);
    const inFile = await compare({ out: at("data.jsonl") });
    expect([inFile.status, inFile.stderr]).toEqual([1, expect.stringContaining("[ERR_FILE]")]);
  });
});

describe("what runs share", () => {
  const model = { fingerprint: { architecture: "a", weights: "w" }, device: "cpu", compute: "float32" };
  const shared = (more: Values = {}, dev: string | number = 0.1) =>
    sharedOf({ ...required(), ...more } as Values, dev, sharedFlags.all, model);

  test("has the contents of files, the options that are given, and the machine", async () => {
    const before = await shared();
    expect(await shared()).toEqual(before);
    expect(await shared({ batchSize: 4, shuffle: undefined } as Values)).toEqual({
      ...before,
      "--batch-size": "--batch-size=4",
    });
    writeFileSync(at("more.jsonl"), rowsOf(13));
    expect((await shared({ data: at("more.jsonl") }))["--data"]).not.toBe(before["--data"]);
    expect((await shared({}, at("more.jsonl")))["--dev"]).not.toBe("0.1");
    cpSync(at("model"), at("other"), { recursive: true });
    writeFileSync(at("other", "chat_template.jinja"), "x");
    const changed = await shared({ model: at("other") });
    expect(changed["the other files of --model"]).not.toBe(before["the other files of --model"]);
    expect(Object.keys(before)).toEqual(expect.arrayContaining(["kernels", "processor", "threads", "device", "dtype"]));
  });

  test("a test file with the rows of another one is refused, also as a copy", async () => {
    cpSync(at("data.jsonl"), at("copy.jsonl"));
    const test = at("copy.jsonl");
    await expect(shared({ test })).rejects.toThrow("Expected other rows in --test than those of --data");
    await expect(shared({ data: at("test.jsonl"), test }, at("data.jsonl"))).rejects.toThrow("than those of --dev");
  });
});

describe("methods", () => {
  const methodsOf = async (text: string, rates: readonly number[] | "auto" = "auto") =>
    comparedMethods(readMethods(text), await descriptionAt(at("model")), rates);

  test("have options behind colons, whose lists may have commas", async () => {
    const some = await methodsOf(
      "red: sites=ffn, attention :layers=0-1 ,lora:rank=4:rank-stabilized,bottleneck:place=attention+ffn,spt:budget=50,full",
    );
    expect(some.map(({ label, words }) => [label, words])).toEqual([
      ["red:sites=ffn,attention:layers=0-1", ["--method=red", "--sites=ffn,attention", "--layers=0,1"]],
      ["lora:rank=4:rank-stabilized", ["--method=lora", "--rank=4", "--rank-stabilized"]],
      ["bottleneck:place=attention+ffn", ["--method=bottleneck", "--place=attention+ffn"]],
      ["spt:budget=50", ["--method=spt", "--budget=50"]],
      ["full", ["--method=full"]],
    ]);
    expect(some.map(({ isFull }) => isFull)).toEqual([false, false, false, false, true]);
  });

  test("try three rates around that of train, or those that are given", async () => {
    const names = ["red", "lora", "ia3", "norms", "bottleneck", "ether+", "loretta_rep", "full"];
    for (const { words, rates } of await methodsOf(names.join(","))) {
      const argv = [
        "train",
        "--model",
        at("model"),
        "--data",
        at("data.jsonl"),
        ...words,
        "--max-steps",
        "1",
        "--json",
      ];
      const { stdout } = await runCli([...argv, "--out", at("trained", words[0]!)]);
      const start = stdout.split("\n").find((line) => line.includes('"type":"start"'))!;
      expect([words, rates]).toEqual([words, expect.arrayContaining([JSON.parse(start).learningRate])]);
      expect(rates).toHaveLength(3);
    }
    expect((await methodsOf("red,lora", [0.2, 0.3])).map(({ rates }) => rates)).toEqual([
      [0.2, 0.3],
      [0.2, 0.3],
    ]);
  });
});

describe("the command lines of runs", () => {
  const values = () =>
    ({ ...required(), batchSize: 4, loss: "all", strict: true, threads: 1, stop: ["a", "b"] }) as Values;
  const run = { method: method("red"), rate: 0.1, seed: 3 };

  test("a training has the options of all, its method, rate and seed, and writes no checkpoints", () => {
    expect(commandsOf(values(), 0.2).train(run, "out")).toEqual([
      ...[
        "train",
        `--model=${at("model")}`,
        "--threads=1",
        `--data=${at("data.jsonl")}`,
        "--strict",
        "--loss=all",
        "--eval=0.2",
      ],
      ...[
        "--method=red",
        "--batch-size=4",
        "--learning-rate=0.1",
        "--seed=3",
        "--checkpoint-every-minutes=0",
        "--out=out",
      ],
    ]);
  });

  test("a test takes the test file, with the adapter, or the model that was trained", () => {
    const testOf = commandsOf(values(), 0.2).test;
    const rest = ["--threads=1", `--data=${at("test.jsonl")}`, "--strict", "--loss=all", "--batch-size=4"];
    expect(testOf(undefined)).toEqual(["eval", `--model=${at("model")}`, ...rest]);
    expect(testOf({ folder: "f", isModel: false })).toEqual(["eval", `--model=${at("model")}`, "--adapter=f", ...rest]);
    expect(testOf({ folder: "f", isModel: true })).toEqual(["eval", "--model=f", ...rest]);
    const byTexts = commandsOf({ ...values(), metrics: true }, 0.2);
    const start = ["eval", `--model=${at("model")}`, "--threads=1", `--data=${at("test.jsonl")}`, "--strict"];
    expect(byTexts.test(undefined)).toEqual([...start, "--metrics", "--stop=a", "--stop=b"]);
    expect(byTexts.memory).toEqual([...start, "--loss=all", "--batch-size=4"]);
  });

  test("every flag of train can be given, or the comparison sets it", () => {
    const names = commands.find(({ name }) => name === "compare")!.flags;
    const train = commands.find(({ name }) => name === "train")!.flags;
    const missing = train.filter((name) => ![...names, ...methodFlags, "method"].includes(name)).sort();
    expect(missing).toEqual([
      ...[
        "checkpointEveryMinutes",
        "checkpointEverySteps",
        "earlyStopping",
        "earlyStoppingMinDelta",
        "eval",
        "evalOnStart",
      ],
      ...["keepCheckpoints", "learningRate", "loggers", "overwrite", "resume", "seed"],
    ]);
  });

  test("words mean the values that they were made of", () => {
    const argv = [
      "--packing",
      "--no-shuffle",
      "--recompute=auto",
      "--layers=0-1",
      "--learning-rate=1e-7",
      "--stop=a",
      "--stop=b=c",
    ];
    const all = { name: "all", summary: "", details: "", flags: Object.keys(flags) as FlagName[], run: async () => {} };
    const first = readArguments(all, argv).values;
    const words = flagWords(first, Object.keys(first) as FlagName[]);
    expect(readArguments(all, words).values).toEqual(first);
    const packed = readArguments(all, ["--packing=512"]).values;
    expect(flagWords(packed, ["packing"])).toEqual(["--packing=512"]);
  });
});

import { kebab, readArguments } from "../../lib/cli/arguments";
import { type Command, UsageError } from "../../lib/cli/command";
import { type FlagName, flags } from "../../lib/cli/flags";
import { commandHelp, generalHelp, usageOf } from "../../lib/cli/help";
import { commands } from "../../lib/cli/main";
import { mergeCommand } from "../../lib/cli/merge";
import { bytes, clipped, count, duration, lines, padded, shellQuoted, table, textWidth } from "../../lib/cli/text";
import { suggestion } from "../../lib/options";

const all: Command = {
  name: "all",
  summary: "",
  details: "",
  positionals: ["PATH"],
  flags: (Object.keys(flags) as FlagName[]).filter((name) => name !== "help" && name !== "json"),
  run: async () => {},
};
const valuesOf = (...argv: string[]) => readArguments(all, argv).values;
const failureOf = (...argv: string[]): string => {
  try {
    readArguments(all, argv);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
  }
  return "no UsageError";
};

test.each<[string[], object]>([
  [["--learning-rate", "1e-3"], { learningRate: 1e-3 }],
  [["--learning-rate=.5"], { learningRate: 0.5 }],
  [["--layers", "0-3,7"], { layers: [0, 1, 2, 3, 7] }],
  [["--layers", "5,1"], { layers: [1, 5] }],
  [["--layers", "all"], { layers: "all" }],
  [["--sites", "ffn,q"], { sites: ["ffn", "q"] }],
  [["--token-ids", "1, 2 3"], { tokenIds: [1, 2, 3] }],
  [["--resume"], { resume: true }],
  [["--resume=auto"], { resume: "auto" }],
  [["--packing"], { packing: true }],
  [["--packing=512"], { packing: 512 }],
  [["--stop", "a", "--stop", "b"], { stop: ["a", "b"] }],
  [["--seed", "1", "--seed", "2"], { seed: 2 }],
  [["--prompt", "-1 is a number"], { prompt: "-1 is a number" }],
  [["--prompt=--help"], { prompt: "--help" }],
  [["--top-k", "5", "--top-p", "0.5", "--min-p", "0.1"], { topK: 5, topP: 0.5, minP: 0.1 }],
  [["--frequency-penalty", "-2", "--presence_penalty=0.5"], { frequencyPenalty: -2, presencePenalty: 0.5 }],
  [
    ["--logit-bias", "13=-100, 8 = .5"],
    {
      logitBias: new Map([
        [13, -100],
        [8, 0.5],
      ]),
    },
  ],
  [["--beta1", "0.8"], { beta1: 0.8 }],
  [["--lr", "0.5"], { learningRate: 0.5 }],
  [["--learning_rate=0.5"], { learningRate: 0.5 }],
  [["--output_dir", "a_b"], { out: "a_b" }],
  [["--output-dir=--a_b"], { out: "--a_b" }],
  [["--num-train-epochs", "2", "--epochs", "3"], { epochs: 3 }],
  [
    ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "4"],
    { batchSize: 2, gradientAccumulationSteps: 4 },
  ],
  [["--lr-scheduler-type", "cosine", "--warmup_ratio", "0.1"], { schedule: "cosine", warmupRatio: 0.1 }],
  [
    ["--target_modules", "q_proj", "--lora_r", "4", "--lora-alpha", "16"],
    { targetModules: ["q_proj"], rank: 4, alpha: 16 },
  ],
  [["--save-steps", "10", "--max_steps", "20"], { checkpointEverySteps: 10, maxSteps: 20 }],
  [["--gradient-checkpointing"], { recompute: true }],
  [["--model_name_or_path", "m", "--train_file", "t", "--validation_file", "v"], { model: "m", data: "t", eval: "v" }],
  [["-h", "--learning-rate", "1"], { help: true }],
])("%j", (argv, values) => {
  expect(valuesOf(...argv)).toEqual(values);
});

test.each<[string[], string]>([
  [["--nonsense"], 'Expected a flag of rubricate all but received "--nonsense"'],
  [["-x"], 'Expected a flag of rubricate all but received "-x"'],
  [["--epoch", "1"], 'received "--epoch"; did you mean --epochs?'],
  [["--lr=x"], 'Expected a number of at least 0 or "sweep" for --lr but received "x"'],
  [["--eval-steps", "5"], "did you mean --eval-every-steps? (an epoch's end is evaluated as well"],
  [["--eval_steps", "5"], 'received "--eval_steps"; did you mean --eval-every-steps?'],
  [["--logging-steps", "5"], "; every step is logged: leave it out"],
  [["--save_total_limit", "5"], "did you mean --keep-checkpoints?"],
  [["--max_seq_length", "5"], "did you mean --max-length?"],
  [["--bf16"], "did you mean --dtype? (bfloat16)"],
  ...["", "13", "13=", "=1", "13=x", "13=101", "13=-100.5", "1.5=1", "13=1,13=1", "13=1,", "-1=1"].map(
    (value): [string[], string] => [[`--logit-bias=${value}`], "Expected token ids, each once, with numbers from -100"],
  ),
  [["--frequency-penalty", "2.1"], "Expected a number from -2 to 2 for --frequency-penalty"],
  [["--presence-penalty", "-3"], "Expected a number from -2 to 2 for --presence-penalty"],
  [["--epochs"], "Expected a positive integer for --epochs but received nothing"],
  [["--epochs", "--json"], "Expected a positive integer for --epochs but received nothing"],
  [["--epochs", "-"], 'Expected a positive integer for --epochs but received "-"'],
  [
    ["--data", "-"],
    'Expected a path for --data but received "-": stdin and stdout are not supported there (the path of a file with that name is ./-)',
  ],
  [
    ["--data=-"],
    'Expected a path for --data but received "-": stdin and stdout are not supported there (the path of a file with that name is ./-)',
  ],
  [["--epochs", "1.5"], 'for --epochs but received "1.5"'],
  [["--epochs", "1e3"], 'for --epochs but received "1e3"'],
  [["--epochs", "99999999999999999999"], "for --epochs"],
  [["--epochs="], 'for --epochs but received ""'],
  [["--learning-rate", "-1"], 'Expected a number of at least 0 for --learning-rate but received "-1"'],
  [["--learning-rate", "Infinity"], "for --learning-rate"],
  [["--learning-rate", "0x10"], "for --learning-rate"],
  [["--warmup-ratio", "1.1"], "Expected a number from 0 to 1 for --warmup-ratio"],
  [["--layers", "3-1"], "Expected layers from 0 such as 0-3,7"],
  [["--layers", "0-3,2"], "Expected layers"],
  [["--layers", "0-99999"], "Expected layers"],
  [["--sites", "ffn,ffn"], "Expected some of ffn, attention, q, k, v, gate, up, each once"],
  [["--device", "gpu"], 'Expected one of auto, cpu, cuda, cuda:N for --device but received "gpu"'],
  [["--json=yes"], 'Expected no value for --json but received "yes"'],
  [["--packing=0"], "Expected a positive integer for --packing"],
  [["a", "b"], 'Expected 1 argument at most for rubricate all but received "b"'],
])("%j is refused", (argv, message) => {
  expect(failureOf(...argv)).toContain(message);
});

test("a missing required flag is named", () => {
  const command: Command = { ...all, required: ["model"] };
  expect(() => readArguments(command, [])).toThrow("Expected --model DIR: a Hugging Face model folder");
  const given = ["--model", "a", "--adapter", "b"];
  expect(() => readArguments(mergeCommand, given)).toThrow("Expected --out DIR: folder of the merged model");
});

test("names on the command line", () => {
  expect(["maxSteps", "topK", "beta1", "json"].map(kebab)).toEqual(["max-steps", "top-k", "beta1", "json"]);
  expect(suggestion("--modle", ["--model", "--data"])).toBe("; did you mean --model?");
  expect(suggestion("--xyz", ["--model", "--data"])).toBe("");
});

test.each([60, 100])("help fits into %i columns and names every flag of its command", (width) => {
  expect(
    generalHelp(commands, width)
      .split("\n")
      .every((line) => line.length <= width),
  ).toBe(true);
  for (const command of commands) {
    const help = commandHelp(command, width);
    for (const name of command.flags) expect(help).toContain(`--${kebab(name)}`);
    const prose = help.split("\n").filter((line) => !/^ {2}-|^Usage/.test(line));
    expect(prose.filter((line) => line.length > width)).toEqual([]);
  }
});

test("flags with their placeholders", () => {
  expect((["json", "help", "model", "resume"] as const).map((name) => usageOf(name))).toEqual([
    "--json",
    "-h, --help",
    "--model DIR",
    "--resume[=auto|DIR]",
  ]);
});

test("widths of texts in columns", () => {
  expect(["ab", "日本", "e\u0301", "😀"].map(textWidth)).toEqual([2, 4, 1, 2]);
  expect(clipped("日本語", 5)).toBe("日本");
  expect(padded("日", 4)).toBe("日  ");
  expect(lines("one two three\nfour", 7)).toEqual(["one two", "three", "four"]);
  expect(lines("abcdefgh i", 3)).toEqual(["abc", "def", "gh", "i"]);
  expect(lines("日", 1)).toEqual(["日"]);
  expect(
    table([
      ["a", "bb"],
      ["ccc", "d"],
    ]),
  ).toEqual(["a    bb", "ccc   d"]);
});

test("numbers formatted for people", () => {
  expect([0, 59.6, 3600, 36_610].map(duration)).toEqual(["0:00", "1:00", "1:00:00", "10:10:10"]);
  expect([12, 1536, 5 * 2 ** 30].map(bytes)).toEqual(["12 bytes", "1.5 KiB", "5.0 GiB"]);
  expect(count(1234567)).toBe("1,234,567");
  expect(["a-b/c", "two words", "it's"].map(shellQuoted)).toEqual(["a-b/c", "'two words'", "'it'\\''s'"]);
  expect(["", "é", "$x", "it's\n", "\\é\t"].map(shellQuoted)).toEqual([
    ...["''", "'é'", "'$x'", "$'it\\047s\\012'", "$'\\134\\303\\251\\011'"],
  ]);
});

/** What the command line says: errors in its own terms, what an interrupt has stopped, and what to try after training. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { withFlags } from "../../lib/cli/arguments";
import { Interrupts } from "../../lib/cli/interrupts";
import { trainCommand } from "../../lib/cli/train";
import { embeddedModelDir } from "../../lib/embedded";
import { folderOf } from "../parity/fixtures";
import { rowsOf, runCli } from "./cli_support";

let home: string;
const at = (...names: string[]) => join(home, ...names);
const model = embeddedModelDir();
const chats = (count: number) =>
  Array.from({ length: count }, (_, row) =>
    JSON.stringify({
      messages: [
        { role: "user", content: `q${row}` },
        { role: "assistant", content: "a" },
      ],
    }),
  ).join("\n");

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "rubricate-messages-"));
  writeFileSync(at("rows.jsonl"), rowsOf(4));
  writeFileSync(at("chats.jsonl"), `${chats(3)}\n${rowsOf(2)}`);
  writeFileSync(at("file"), "x");
});
afterAll(() => rmSync(home, { recursive: true }));

const training = (...more: string[]) => [
  ...["train", "--model", model, "--data", at("rows.jsonl"), "--out", at("out"), "--max-steps", "1"],
  ...more,
];

test.each<[string, () => string[], number, () => string]>([
  ["layers", () => training("--layers", "3,9"), 2, () => "Expected layer numbers from 0 to 3 for --layers but received 9 [ERR_ARGUMENT]"],
  ["token ids", () => ["generate", "--token-ids", "1,99999999"], 2, () => "Expected an integer from 0 to 2047 for --token-ids but received 99999999 [ERR_ARGUMENT]"],
  ["feed-forward modules that are no targets", () => training("--model", at("none"), "--method", "ia3", "--feedforward-modules", "gate_proj"), 2, () => "Expected some of --target-modules (k_proj,v_proj,down_proj) for --feedforward-modules but received gate_proj\n"],
  ["the same, of given targets", () => training("--method", "ia3", "--target-modules", "q_proj,up_proj", "--feedforward-modules", "up_proj,down_proj"), 2, () => "Expected some of --target-modules (q_proj,up_proj) for --feedforward-modules but received down_proj\n"],
  ["a gate that all-linear has not", () => training("--model", folderOf("gpt2"), "--method", "ia3", "--target-modules", "all-linear", "--feedforward-modules", "gate_proj"), 2, () => 'each once, for --feedforward-modules but received "gate_proj"'],
  ["packing", () => training("--packing=4"), 1, () => "raise --packing or lower --max-length [ERR_DATA]"],
  ["a temperature", () => ["generate", "--prompt", "a", "--temperature", "-1"], 2, () => 'Expected 0, or a number from 2^-126 to 100 for --temperature but received "-1"\n'],
  ["log-probabilities without JSON", () => ["generate", "--prompt", "a", "--log-probabilities"], 2, () => "Expected --json to go with --log-probabilities\n"],
  ["the likeliest tokens without log-probabilities", () => ["generate", "--prompt", "a", "--json", "--top-log-probabilities", "3"], 2, () => "Expected --log-probabilities to go with --top-log-probabilities\n"],
  ["a bias of an unknown id", () => ["generate", "--prompt", "a", "--logit-bias", "1=2,99999999=1"], 2, () => "Expected token ids from 0 to 2047 for --logit-bias but received 99999999 [ERR_ARGUMENT]"],
  ["a file that is not there", () => ["eval", "--model", model, "--data", at("none")], 1, () => `Cannot read ${at("none")}: ENOENT: no such file or directory [ERR_FILE]`],
  ["a file in place of the output folder", () => training("--out", at("file")), 1, () => `Expected a folder or nothing at ${at("file")} but it is no folder [ERR_FILE]`],
  ["rows of a model", () => ["inspect", model, "--rows", "3"], 2, () => "Expected --rows only with data\n"],
  ["data flags of a model", () => ["inspect", model, "--loss", "all"], 2, () => "Expected --loss only with data\n"],
])("an error names the command's flags: %s", async (_, argv, status, says) => {
  const outcome = await runCli(argv());
  expect(outcome.status).toBe(status);
  expect(outcome.stderr).toContain(says());
}); // biome-ignore format: one line a case

test.each([
  ["lower learningRate or weightDecay", "lower --learning-rate or --weight-decay"],
  ["Expected a number for earlyStopping.minDelta but received 1", "Expected a number for --early-stopping-min-delta but received 1"],
  ["Cannot read /data/maxLength.jsonl", "Cannot read /data/maxLength.jsonl"],
  ['received "maxLength"', 'received "maxLength"'],
  ["maxLengthOf and maxNewTokens", "maxLengthOf and maxNewTokens"],
  ["Expected a model's folder for dir but received 1", "Expected a model's folder for dir but received 1"],
])("%s", (message, written) => {
  expect(withFlags(message, trainCommand)).toBe(written);
}); // biome-ignore format: one line a case

test.each([
  ["prompts", "rows.jsonl", / generate --model \S+ --adapter \S+ --prompt "\.\.\."\n$/],
  ["mostly chats", "chats.jsonl", / chat --model \S+ --adapter \S+\n$/],
])("after training on %s, the hint is for data of that shape", async (_, file, hint) => {
  const { status, stdout } = await runCli(training("--data", at(file), "--out", at(`out-${file}`)));
  expect(status).toBe(0);
  expect(stdout).toMatch(hint);
});

test("an interrupt while the model is loaded ends with one line", async () => {
  const interrupts = new Interrupts();
  interrupts.interrupt();
  const argv = ["generate", "--model", model, "--prompt", "a"];
  expect(await runCli(argv, { interrupts })).toEqual({
    status: 130,
    stdout: "",
    stderr: "interrupted while loading the model\n",
  });
  const silent = new Interrupts();
  silent.stopQuietly();
  expect((await runCli(argv, { interrupts: silent })).stderr).toBe("");
});

test("every flag of train is in one group of its help", () => {
  const { groups, flags } = trainCommand;
  expect(new Set(flags).size).toBe(flags.length);
  expect(Object.values(groups!).flat()).toEqual(flags);
});

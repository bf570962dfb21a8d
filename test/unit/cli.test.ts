/** The command line: training, evaluation, inspection, the demo, interrupts of a run, and its documents. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commandLine } from "../../lib/cli/hints";
import { Interrupts } from "../../lib/cli/interrupts";
import { loadDemoPairs } from "../../lib/embedded";
import { jsonLines, nodeArguments, rowsOf, runCli, spawnCli, writeModel } from "./cli_support";

let home: string;
const at = (...names: string[]) => join(home, ...names);

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-cli-"));
  await writeModel(at("model"));
  const long = JSON.stringify({ prompt: "long ", completion: "liberty ".repeat(100) });
  writeFileSync(at("data.jsonl"), `${rowsOf(12)}not json\n${long}\n`);
});
afterAll(() => rmSync(home, { recursive: true }));

const training = (...more: string[]) => [
  ...["train", "--model", at("model"), "--data", at("data.jsonl"), "--learning-rate", "0.05", "--batch-size", "4"],
  ...more,
];

test("version and help", async () => {
  const { version } = require("../../package.json");
  expect(await runCli(["--version"])).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
  const help = await runCli(["help"]);
  expect(help).toEqual({ status: 0, stdout: expect.stringContaining("Usage: rubricate COMMAND"), stderr: "" });
  expect(await runCli([])).toEqual({ status: 2, stdout: "", stderr: help.stdout });
  const train = await runCli(["train", "--help"]);
  expect(train.stdout).toContain("--learning-rate X");
  expect(await runCli(["help", "train"])).toEqual(train);
});

test.each<[string[], string]>([
  [["--warmup-steps", "3", "--warmup-ratio", "0.1"], "Give --warmup-steps or --warmup-ratio, not both"],
  [["--eval-every-steps", "3"], "--eval-every-steps needs --eval"],
  [["--early-stopping", "3"], "--early-stopping needs --eval"],
  [["--early-stopping-min-delta", "3"], "--early-stopping-min-delta needs --early-stopping"],
  [["--no-keep-best"], "--no-keep-best needs --eval"],
  [["--no-eval-every-epoch"], "--no-eval-every-epoch needs --eval"],
  [["--beta2", "1"], 'Expected a number in [0, 1) for --beta2 but received "1"'],
  [["--epsilon", "0"], 'Expected a positive number for --epsilon but received "0"'],
  [["--learning-rate", "1e39"], '(the range of float32) for --learning-rate but received "1e39"'],
  [["--weight-decay", "1e30", "--learning-rate", "1e30"], "for --learning-rate times --weight-decay"],
  [["--eval", "2"], "for --eval"],
  [["--learning-rate", "sweep"], '--learning-rate "sweep" needs --eval, whose loss it compares'],
  [["--method", "full", "--sites", "ffn"], "Expected no --sites with --method full"],
])("train refuses %j before it loads anything", async (flags, says) => {
  const argv = ["train", "--model", at("nowhere"), "--data", at("nowhere.jsonl"), "--out", at("out"), ...flags];
  const { status, stdout, stderr } = await runCli(argv);
  expect(stderr.split("\n")[0]).toContain(says);
  expect(stderr).not.toContain(at("nowhere"));
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
});

test("train prints one event a line, and ends with the figures of the run", async () => {
  const out = at("adapter");
  const { status, stdout, stderr } = await runCli(training("--out", out, "--eval", "0.25", "--epochs", "3", "--json"));
  expect(status).toBe(0);
  const events = jsonLines(stdout);
  expect(events.map(({ type }) => type).filter((type, i, types) => type !== types[i - 1])).toEqual([
    ...["data", "start", "step", "eval", "step", "eval", "step", "eval", "checkpoint", "saved", "end"],
  ]);
  expect(events[0]).toMatchObject({ rows: 13, skipped: 1, truncated: 1 });
  expect(events[0].reports.map(({ line }: { line: number }) => line)).toEqual([13, 14]);
  const end = events.at(-1);
  expect(Object.keys(end)).toEqual([
    ...["type", "steps", "trainLoss", "evalLoss", "seconds", "tokensPerSecond", "peakMemoryMib", "batches", "reason"],
  ]);
  const steps = events.filter(({ type }) => type === "step");
  expect(steps.at(-1).loss).toBeLessThan(steps[0].loss);
  expect(stderr).toContain("1 row skipped, 1 truncated");
  expect(stderr).toContain("line 13 skipped: not valid JSON");
  expect(readdirSync(out).sort()).toEqual([
    ...["adapter_config.json", "adapter_model.safetensors", "best", `checkpoint-${end.steps}`, "curve.svg"],
    ...["log.jsonl", "run.json"],
  ]);
});

test("train --learning-rate sweep shows its trials, and trains with the rate that it finds", async () => {
  const argv = [...training("--out", at("swept"), "--eval", "0.25", "--max-steps", "250", "--json"), "--learning-rate"];
  const { status, stdout, stderr } = await runCli([...argv, "sweep", "--no-eval-every-epoch"]);
  expect(status).toBe(0);
  const events = jsonLines(stdout);
  const trials = events.filter(({ type }) => type === "trial");
  expect(trials).toHaveLength(8);
  const { learningRate, learningRateFrom } = events.find(({ type }) => type === "start");
  expect(learningRateFrom).toBe("sweep");
  expect(trials.slice(6).map((trial) => trial.learningRate)).toContain(learningRate);
  expect(stderr).toContain(`sweep: learning rate 0.001, 5 steps: evaluation loss ${trials[0].evalLoss.toFixed(4)}\n`);
  expect(stderr).toContain(`learning rate ${learningRate}, found by the sweep\n`);
});

test("the demo refuses a sweep, for which it has no data", async () => {
  const { status, stderr } = await runCli(["demo", "--learning-rate", "sweep"]);
  expect([status, stderr.split("\n")[0]]).toEqual([
    2,
    expect.stringContaining("Expected a number for --learning-rate"),
  ]);
});

test("eval reports a lower loss with the adapter", async () => {
  const argv = ["eval", "--model", at("model"), "--data", at("data.jsonl"), "--json"];
  const [before] = jsonLines((await runCli(argv)).stdout);
  const [after] = jsonLines((await runCli([...argv, "--adapter", at("adapter")])).stdout);
  expect(Object.keys(before)).toEqual([
    "loss",
    "perplexity",
    "tokens",
    "accuracy",
    "skipped",
    "truncated",
    "peakMemoryMib",
  ]);
  expect(before.perplexity).toBeCloseTo(Math.exp(before.loss), 6);
  expect(after.loss).toBeLessThan(before.loss);
  const { stdout } = await runCli(argv.slice(0, -1));
  expect(stdout).toContain(`loss        ${before.loss.toFixed(6)}`);
});

test("inspect: a model, an adapter with figures, and data with its loss mask", async () => {
  const [model] = jsonLines((await runCli(["inspect", at("model"), "--json"])).stdout);
  expect(model).toMatchObject({ layers: 2, hidden: 16, vocabulary: 2048, chatTemplate: true, eosTokenIds: [1] });
  const [adapter] = jsonLines((await runCli(["inspect", at("adapter"), "--model", at("model"), "--json"])).stdout);
  expect(adapter).toMatchObject({ kind: "red", variant: "all", layers: [0, 1], parameters: 64 });
  expect(adapter.stats.map(({ site }: { site: string }) => site)).toEqual([
    "layers.0.mlp.down_proj",
    "layers.1.mlp.down_proj",
  ]);
  expect(adapter.stats[0].scale.max).toBeGreaterThan(adapter.stats[0].scale.mean);
  const data = ["inspect", at("data.jsonl"), "--model", at("model"), "--rows", "1"];
  const [, row] = jsonLines((await runCli([...data, "--json"])).stdout);
  const learned = (tokens: { text: string; supervised: boolean }[], supervised: boolean) =>
    tokens
      .filter((token) => token.supervised === supervised)
      .map(({ text }) => text)
      .join("");
  expect(learned(row.tokens, true)).toBe("Let number 0 be praised.</s>");
  expect(learned(row.tokens, false)).toBe("<s>What of number 0? ");
  expect((await runCli(data)).stdout).toContain("<s>What of number 0? [[Let number 0 be praised.</s>]]");
  expect((await runCli(data, { columns: 80 })).stdout).toContain("\u001b[32mLet number 0 be praised.</s>\u001b[0m");
});

test("bench names the machine and times every case", async () => {
  const { stdout, status } = await runCli(["bench", "--model", at("model"), "--json"]);
  expect(status).toBe(0);
  const [{ machine, matmuls, results }] = jsonLines(stdout);
  expect(machine).toMatchObject({ node: process.version });
  if (machine.device === "the CPU") expect({ matmul: machine.matmul, matmuls }).toEqual({ matmul: null, matmuls: [] });
  else expect(machine.matmul).toMatch(/^own kernels$|^cuBLASLt \d+\.\d+\.\d+, /);
  expect(results).toHaveLength(12);
  for (const { bestMs, medianMs } of results) expect(medianMs).toBeGreaterThanOrEqual(bestMs);
});

test("demo lowers the held-out loss, counts right answers, and prints the next commands", async () => {
  const argv = ["demo", "--model", at("model"), "--epochs", "1", "--out", at("demo"), "--max-new-tokens", "4"];
  const [result] = jsonLines((await runCli([...argv, "--json"])).stdout);
  const { before, after, fallPercent } = result.heldOutLoss;
  expect(after).toBeLessThan(before);
  expect(fallPercent).toBeCloseTo(100 * (1 - after / before), 9);
  expect(result.trainLosses).toHaveLength(result.steps);
  expect(result.exactMatch).toEqual({ before: 0, after: expect.any(Number), of: loadDemoPairs().heldOut.length });
  expect(result.adapter.bytes).toBe(readFileSync(at("demo", "adapter_model.safetensors")).length);
  expect(result.samples).toHaveLength(8);
  const offices = loadDemoPairs().heldOut.filter(({ prompt }) =>
    result.samples.some((sample: { prompt: string }) => sample.prompt === prompt),
  );
  expect(new Set(offices.map(({ completion }) => completion)).size).toBe(8);
  for (const columns of [50, 90]) {
    const { stdout } = await runCli(argv, { columns });
    expect(stdout).toContain(`Held-out loss  ${before.toFixed(1)} before, ${after.toFixed(2)} after`);
    expect(stdout).toContain("Right answers  0.0 % before");
    const next = ["generate", "--model", at("model"), "--adapter", at("demo"), "--chat", "--prompt"];
    expect(stdout).toContain(`\n  ${commandLine(next)} `);
    const samples = stdout.slice(
      stdout.indexOf(columns < 72 ? "> " : "held-out letter"),
      stdout.indexOf("Right answers"),
    );
    // biome-ignore lint/suspicious/noControlCharactersInRegex: styles of the terminal
    const plain = samples.replace(/\u001b\[\d*m/g, "").split("\n");
    expect(plain.filter((line) => !line.startsWith(">") && line.length > columns)).toEqual([]);
  }
});

test("full fine-tuning leaves a model that loads and has a lower loss", async () => {
  const out = at("full");
  const { status } = await runCli(training("--method", "full", "--out", out, "--learning-rate", "0.01"));
  expect(status).toBe(0);
  const lossOf = async (model: string) => {
    const { stdout } = await runCli(["eval", "--model", model, "--data", at("data.jsonl"), "--json"]);
    return jsonLines(stdout)[0].loss;
  };
  expect(await lossOf(out)).toBeLessThan(await lossOf(at("model")));
});

test("an interrupt leaves a checkpoint and the command line that resumes; the resumed run equals an uninterrupted one", async () => {
  const interrupts = new Interrupts();
  const onOutput = (text: string) => {
    if (text.includes('"step":5')) interrupts.interrupt();
  };
  const stopped = await runCli(training("--out", at("stopped"), "--json"), { interrupts, onOutput });
  expect(stopped.status).toBe(130);
  expect(stopped.stderr).toContain("stopping after a checkpoint");
  expect(stopped.stderr).toContain(
    `resume with:\n  ${commandLine([...training("--out", at("stopped"), "--json"), "--resume"])}\n`,
  );
  expect(jsonLines(stopped.stdout).at(-1)).toMatchObject({ type: "checkpoint" });
  expect(existsSync(at("stopped", "adapter_config.json"))).toBe(false);
  expect((await runCli(training("--out", at("stopped"), "--resume"))).status).toBe(0);
  expect((await runCli(training("--out", at("whole")))).status).toBe(0);
  const file = "adapter_model.safetensors";
  expect(readFileSync(at("stopped", file)).equals(readFileSync(at("whole", file)))).toBe(true);
});

test("a log that cannot grow leaves a checkpoint and prints how to resume; the resumed run equals an uninterrupted one", () => {
  const argv = training("--out", at("full-disk"), "--epochs", "40");
  const command = [process.execPath, ...nodeArguments, ...argv].map((word) => `'${word}'`).join(" ");
  const failed = spawnSync("bash", ["-c", `ulimit -f 16; exec ${command}`], { encoding: "utf8" });
  expect(failed.stderr).toMatch(/failed; the checkpoint is in .*checkpoint-\d+; resume with:\n.* --resume\n/);
  expect(failed.stderr).toMatch(/EFBIG.*; the last finished step, \d+, is in .*checkpoint-\d+: .*\[ERR_FILE\]/);
  expect(failed.status).toBe(1);
  const completed = (...more: string[]) =>
    spawnSync(process.execPath, [...nodeArguments, ...training(...more, "--epochs", "40")], { encoding: "utf8" })
      .status;
  expect(completed("--out", at("full-disk"), "--resume")).toBe(0);
  expect(completed("--out", at("room"))).toBe(0);
  const file = "adapter_model.safetensors";
  expect(readFileSync(at("full-disk", file)).equals(readFileSync(at("room", file)))).toBe(true);
});

test("doctor prints what it found", () => {
  const { stdout } = spawnCli(["doctor", "--json"], { RUBRICATE_NUM_THREADS: "1" });
  const { findings } = JSON.parse(stdout);
  const found = (name: string) => findings.find((one: { name: string }) => one.name === name);
  expect(found("Node")).toMatchObject({ ok: true, text: process.version });
  expect(found("addon")).toMatchObject({ ok: true });
  expect(found("threads").text).toMatch(/^1 of/);
  expect(found("CUDA")).toMatchObject({ ok: true, text: expect.stringMatching(/librubricate_cuda|NVIDIA driver/) });
});

describe("documents", () => {
  const read = (name: string) => readFileSync(join(__dirname, "../../docs", name), "utf8");

  test("docs/cli.md has the help of every command", async () => {
    const text = read("cli.md");
    for (const command of ["demo", "train", "eval", "generate", "chat", "inspect", "curve", "bench", "doctor"]) {
      const { stdout } = await runCli([command, "--help"]);
      expect(text).toContain(stdout.trim());
    }
  });
});

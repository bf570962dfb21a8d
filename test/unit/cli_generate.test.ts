/** rubricate generate and rubricate chat: their texts are those of the model, sampling repeats, an interrupt ends one answer. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Interrupts } from "../../lib/cli/interrupts";
import { LanguageModel } from "../../lib/model/model";
import { jsonLines, runCli, writeModel } from "./cli_support";

let home: string;
const at = (...names: string[]) => join(home, ...names);

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-cli-generate-"));
  await writeModel(at("model"));
});
afterAll(() => rmSync(home, { recursive: true }));

test("generate writes the text of model.generate, for a prompt from a flag and from stdin", async () => {
  const argv = ["generate", "--model", at("model"), "--max-new-tokens", "5", "--temperature", "1", "--seed", "3"];
  const prompt = "Fellow citizens ";
  const { stdout } = await runCli([...argv, "--prompt", prompt, "--json"]);
  const [result] = jsonLines(stdout);
  expect(Object.keys(result)).toEqual([
    ...["text", "tokens", "tokensPerSecond", "finishReason", "promptTokens", "tokenIds", "seed"],
  ]);
  const model = await LanguageModel.fromPretrained(at("model"));
  const { text } = await model.complete({ prompt, maxNewTokens: 5, temperature: 1, seed: 3 });
  model.dispose();
  expect(result.text).toBe(text);
  expect(result.tokens).toBe(result.tokenIds.length);
  expect(jsonLines((await runCli([...argv, "--json"], { stdin: prompt })).stdout)[0].text).toBe(text);
  const { status, stderr } = await runCli(argv);
  expect({ status, stderr }).toEqual({
    status: 2,
    stderr: expect.stringContaining("--prompt TEXT, or a text on stdin"),
  });
});

test("generate passes penalties and the bias on, and writes log-probabilities", async () => {
  const argv = ["generate", "--model", at("model"), "--max-new-tokens", "5", "--prompt", "x", "--json"];
  const flags = ["--frequency-penalty", "1.5", "--presence-penalty", "-1", "--logit-bias", "20=4,30=-2.5"];
  const log = ["--log-probabilities", "--top-log-probabilities", "2"];
  const [result] = jsonLines((await runCli([...argv, ...flags, ...log])).stdout);
  const model = await LanguageModel.fromPretrained(at("model"));
  const { tokenIds, logProbabilities } = await model.complete({
    prompt: "x",
    maxNewTokens: 5,
    frequencyPenalty: 1.5,
    presencePenalty: -1,
    logitBias: { 20: 4, 30: -2.5 },
    logProbabilities: true,
    topLogProbabilities: 2,
  });
  model.dispose();
  expect(result).toMatchObject({ tokenIds, logProbabilities });
});

test("sampling without --seed draws one, and reports it so that the text can be repeated", async () => {
  const argv = ["generate", "--model", at("model"), "--max-new-tokens", "5", "--temperature", "9", "--prompt", "x"];
  const [one] = jsonLines((await runCli([...argv, "--json"])).stdout);
  const [again] = jsonLines((await runCli([...argv, "--json", "--seed", `${one.seed}`])).stdout);
  expect(again).toMatchObject({ seed: one.seed, tokenIds: one.tokenIds });
  const { stdout, stderr } = await runCli(argv);
  const [, seed] = /^seed (\d+): --seed \1 gives this text again$/m.exec(stderr)!;
  expect(Number(seed)).not.toBe(one.seed);
  const repeated = await runCli([...argv, "--seed", seed!]);
  expect(repeated.stdout).toBe(stdout);
  expect(repeated.stderr).not.toContain("seed");
  const [greedy] = jsonLines((await runCli([...argv, "--temperature", "0", "--json"])).stdout);
  expect(greedy.seed).toBeNull();
  const chat = ["chat", ...argv.slice(1, -2), "--json"];
  const answers = jsonLines((await runCli(chat, { stdin: "hello\n/reset\nhello\n" })).stdout);
  expect(answers[0].seed).not.toBe(answers[1].seed);
  const [repeat] = jsonLines((await runCli([...chat, "--seed", `${answers[0].seed}`], { stdin: "hello\n" })).stdout);
  expect(repeat).toMatchObject({ text: answers[0].text, seed: answers[0].seed });
});

test("an interrupt ends generation with status 130, and its line", async () => {
  const interrupts = new Interrupts();
  const argv = ["generate", "--model", at("model"), "--max-new-tokens", "60", "--temperature", "2", "--prompt", "x"];
  argv.push("--seed", "0");
  let pieces = 0;
  const onOutput = () => {
    if (++pieces === 3) interrupts.interrupt();
  };
  const { status, stdout, stderr } = await runCli(argv, { interrupts, onOutput });
  expect({ status, stderr }).toEqual({ status: 130, stderr: "" });
  expect(stdout.trim()).not.toBe("");
  expect(stdout.endsWith("\n")).toBe(true);
});

test("chat answers line by line, and keeps the conversation", async () => {
  const argv = ["chat", "--model", at("model"), "--max-new-tokens", "3", "--system", "Be brief.", "--json"];
  const talk = async (stdin: string) => jsonLines((await runCli(argv, { stdin })).stdout).map(({ text }) => text);
  const three = await talk("hello\nhello\n/reset\nhello\n/exit\nhello\n");
  expect(three).toHaveLength(3);
  expect(three[2]).toBe(three[0]);
  const many = await runCli(argv, { stdin: "what of the Navy, and of the Army?\n".repeat(12) });
  expect(many.status).toBe(0);
  expect(jsonLines(many.stdout)).toHaveLength(12);
  expect(many.stderr).toContain("the oldest messages were dropped to fit the context");
});

test("an interrupt stops an answer, and the conversation continues", async () => {
  const interrupts = new Interrupts();
  let pieces = 0;
  const argv = ["chat", "--model", at("model"), "--max-new-tokens", "60", "--temperature", "2", "--seed", "0"];
  const onOutput = (text: string) => {
    if (text !== "\n" && ++pieces === 3) interrupts.interrupt();
  };
  const { status, stdout } = await runCli(argv, { stdin: "hello\nhello\n", interrupts, onOutput });
  expect(status).toBe(0);
  expect(interrupts.signal.aborted).toBe(false);
  expect(stdout.length).toBeGreaterThan(0);
});

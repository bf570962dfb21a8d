import { existsSync, linkSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { embeddedModelDir, LanguageModel, RubricateError, scoreTexts } from "../../lib";
import { Interrupts } from "../../lib/cli/interrupts";
import { runCli } from "./cli_support";

const folder = mkdtempSync(join(tmpdir(), "rubricate-scores-"));
const at = (name: string) => join(folder, name);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, rows: readonly unknown[]): string {
  writeFileSync(at(name), rows.map((row) => `${typeof row === "string" ? row : JSON.stringify(row)}\n`).join(""));
  return at(name);
}

const rows = [
  { prompt: "name[The Mill] ->", completion: " The Mill is a cheap riverside pub.\n" },
  { prompt: "name[Blue Spice] ->", completion: "Blue Spice serves French food." },
  { prompt: "name[The Mill] ->", completion: "By the river is a cheap pub, The Mill." },
  { prompt: "name[Café Adriatic] ->", completion: "Café Adriatic isn't cheap." },
];
const references = [
  ["The Mill is a cheap riverside pub.", "By the river is a cheap pub, The Mill."],
  ["Blue Spice serves French food."],
  ["Café Adriatic isn't cheap."],
];
const predictions = ["The Mill is a cheap pub by the river.", "", "Café Adriatic is cheap."];

describe("eval --metrics --predictions", () => {
  const data = () => write("data.jsonl", rows);
  const given = () =>
    write("predictions.txt", ["The Mill is a cheap pub by the river. \r", "", "Café Adriatic is cheap."]);
  const scoring = (...more: string[]) => ["eval", "--metrics", "--data", data(), "--predictions", given(), ...more];

  test("rows with the same prompt are references of one input, in the order of first appearance", async () => {
    const { status, stdout } = await runCli(scoring("--json"));
    expect(status).toBe(0);
    const expected = await scoreTexts({ predictions, references });
    expect(JSON.parse(stdout)).toEqual({
      ...expected,
      inputs: 3,
      references: 4,
      skipped: 0,
      peakMemoryMib: expect.any(Number),
    });
  });

  test("a table shows the scores", async () => {
    const { stdout } = await runCli(scoring());
    const { bleu, nist, rougeL, cider } = await scoreTexts({ predictions, references });
    const table = [
      ["BLEU", bleu],
      ["NIST", nist],
      ["ROUGE-L", rougeL],
      ["CIDEr", cider],
    ] as const;
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split(/\s{2,}/));
    expect(lines).toEqual([
      ...table.map(([name, score]) => [name, score.toFixed(4)]),
      ["inputs", "3"],
      ["references", "4"],
    ]);
  });

  test("conversations, other formats and rows that are no input", async () => {
    const user = (content: string) => ({ role: "user", content });
    const answer = (content: string) => ({ role: "assistant", content });
    const mixed = write("mixed.jsonl", [
      { messages: [user("a"), answer("b c"), user("d"), answer("e f g h")] },
      "",
      { text: "no prompt" },
      { messages: [user("a"), answer("b c"), user("d"), answer("e f g i")] },
      { instruction: "say", output: "k l m n o" },
      { messages: [user("a")] },
      "{",
    ]);
    const lines = write("mixed.txt", ["e f g h", "k l m n o"]);
    const argv = ["eval", "--metrics", "--data", mixed, "--predictions", lines];
    const { status, stdout, stderr } = await runCli([...argv, "--json"]);
    expect([status, JSON.parse(stdout)]).toEqual([
      0,
      expect.objectContaining({ bleu: 1, inputs: 2, references: 3, skipped: 3 }),
    ]);
    expect(stderr).toContain("3 rows skipped\n");
    expect(stderr).toContain("line 3: it is a text, without a prompt to answer\n");
    expect(stderr).toContain("line 6: its last message is not a text of the assistant\n");
    const strict = await runCli([...argv, "--strict"]);
    expect(strict.status).toBe(1);
    expect(strict.stderr).toContain("line 3 cannot be used: it is a text, without a prompt to answer [ERR_DATA]");
  });

  test("other numbers of lines and inputs are refused, with both", async () => {
    const short = write("short.txt", ["one", "two"]);
    const { status, stderr } = await runCli(["eval", "--metrics", "--data", data(), "--predictions", short]);
    expect(status).toBe(2);
    expect(stderr).toContain(
      `Expected 3 lines in ${short}, one for each input of ${data()}, but received 2 [ERR_ARGUMENT]`,
    );
  });

  test("data without an answer is refused", async () => {
    const texts = write("texts.jsonl", [{ text: "a" }]);
    const { status, stderr } = await runCli(["eval", "--metrics", "--data", texts, "--predictions", given()]);
    expect(status).toBe(1);
    expect(stderr).toContain("none of 1 rows can be used; line 1: it is a text, without a prompt to answer [ERR_DATA]");
  });

  test("an interrupt ends the scoring", async () => {
    const one = write("one.jsonl", [{ prompt: "a", completion: "a b c d e f g h ".repeat(20_000) }]);
    const lines = write("one.txt", ["a b c d e f g h ".repeat(20_000)]);
    const interrupts = new Interrupts();
    const scored = runCli(["eval", "--metrics", "--data", one, "--predictions", lines], { interrupts });
    setTimeout(() => interrupts.interrupt(), 0); // as the handler of a signal, in a turn of the event loop
    expect(await scored).toEqual({ status: 130, stdout: "", stderr: "" });
  });

  test("bytes that are not UTF-8 are refused", async () => {
    writeFileSync(at("latin1.txt"), Buffer.from([0x61, 0x0a, 0xe9, 0x0a, 0x62, 0x0a]));
    const { stderr } = await runCli(["eval", "--metrics", "--data", data(), "--predictions", at("latin1.txt")]);
    expect(stderr).toContain(`Expected UTF-8 in ${at("latin1.txt")} but line 2 has other bytes [ERR_FILE]`);
  });

  test.each<[string[], string]>([
    [["--model", "embedded"], "Expected --predictions without --model: no model is used"],
    [["--max-new-tokens", "3"], "Expected --predictions without --max-new-tokens: no model is used"],
    [["--loss", "all"], "Expected --loss without --metrics: it concerns the loss"],
  ])("%j is refused", async (more, message) => {
    const { status, stderr } = await runCli(scoring(...more));
    expect([status, stderr.split("\n")[0]]).toEqual([2, `rubricate eval: ${message}`]);
  });

  test.each<[string[], string]>([
    [["--predictions", "p"], "Expected --metrics to go with --predictions"],
    [["--write-predictions", "p"], "Expected --metrics to go with --write-predictions"],
    [["--metrics"], "Expected --model DIR: "],
    [[], "Expected --model DIR: "],
  ])("eval %j is refused", async (more, message) => {
    const { status, stderr } = await runCli(["eval", "--data", data(), ...more]);
    expect(status).toBe(2);
    expect(stderr).toContain(`rubricate eval: ${message}`);
  });
});

describe("eval --metrics with a model", () => {
  const argv = (data: string, ...more: string[]) => {
    const model = ["--model", "embedded", "--device", "cpu"];
    return ["eval", "--metrics", ...model, "--data", data, "--max-new-tokens", "8", ...more];
  };

  test("scores its greedy answers, and writes them in the order of the inputs", async () => {
    const data = write("asked.jsonl", rows);
    const out = at("written.txt");
    const { status, stdout } = await runCli(argv(data, "--write-predictions", out, "--json"));
    expect(status).toBe(0);
    const model = await LanguageModel.fromPretrained(embeddedModelDir(), { device: "cpu" });
    const answers: string[] = [];
    for (const prompt of [rows[0]!.prompt, rows[1]!.prompt, rows[3]!.prompt]) {
      const { text } = await model.complete({ prompt, maxNewTokens: 8 });
      answers.push(text.replace(/\s+/g, " ").trim());
    }
    model.dispose();
    expect(readFileSync(out, "utf8")).toBe(`${answers.join("\n")}\n`);
    const expected = await scoreTexts({ predictions: answers, references });
    expect(JSON.parse(stdout)).toEqual({
      ...expected,
      inputs: 3,
      references: 4,
      skipped: 0,
      peakMemoryMib: expect.any(Number),
    });
    const again = await runCli(["eval", "--metrics", "--data", data, "--predictions", out, "--json"]);
    const withoutMemory = (text: string) => ({ ...JSON.parse(text), peakMemoryMib: 0 });
    expect(withoutMemory(again.stdout)).toEqual(withoutMemory(stdout));
  });

  test("an answer that ends before others stays with its input", async () => {
    const data = write("asked.jsonl", rows);
    const out = at("stopped.txt");
    await runCli(argv(data, "--write-predictions", out));
    const whole = readFileSync(out, "utf8").split("\n");
    const stop = whole[2]!.split(" ").at(2)!;
    expect(whole.filter((text) => text.includes(stop))).toEqual([whole[2]]);
    await runCli(argv(data, "--write-predictions", out, "--stop", stop));
    const stopped = whole[2]!.slice(0, whole[2]!.indexOf(stop)).trim();
    expect(readFileSync(out, "utf8").split("\n")).toEqual([whole[0], whole[1], stopped, ""]);
  });

  test("prompts that do not fit are found before anything is generated", async () => {
    const tooLong = { prompt: "word ".repeat(5000), completion: "x" };
    const long = write("long.jsonl", [...rows, tooLong, { ...tooLong, prompt: `${tooLong.prompt}!` }]);
    const out = at("not_written.txt");
    const complete = jest.spyOn(LanguageModel.prototype, "complete");
    const { status, stderr } = await runCli(argv(long, "--write-predictions", out));
    expect(complete).not.toHaveBeenCalled();
    complete.mockRestore();
    expect(status).toBe(1);
    expect(stderr).toContain(`${long}: line 5: Expected a prompt of `);
    expect(stderr).toContain("(2 of 5 prompts cannot be answered, so nothing was generated) [ERR_CONTEXT_LENGTH]");
    expect([existsSync(out), existsSync(`${out}.partial`)]).toEqual([false, false]);
  });

  /** Answers fail, or something happens, from the third on. */
  async function failing(fail: () => void, interrupts: Interrupts) {
    const { complete } = LanguageModel.prototype;
    const before: Promise<unknown>[] = [];
    const spy = jest.spyOn(LanguageModel.prototype, "complete").mockImplementation(async function (
      this: LanguageModel,
      options,
    ) {
      if (before.length < 2) {
        const answer = complete.call(this, options);
        before.push(answer);
        return answer;
      }
      await Promise.all(before);
      fail();
      return complete.call(this, options);
    });
    const out = at("kept.txt");
    const argvOut = argv(write("asked.jsonl", rows), "--write-predictions", out);
    const outcome = await runCli(argvOut, { interrupts }).finally(() => spy.mockRestore());
    expect(existsSync(out)).toBe(false);
    const kept = readFileSync(`${out}.partial`, "utf8");
    rmSync(`${out}.partial`);
    expect((await runCli(argvOut)).status).toBe(0);
    const whole = readFileSync(out, "utf8").split("\n");
    rmSync(out);
    expect(kept).toBe([1, 2].map((line) => `${JSON.stringify({ line, prediction: whole[line - 1] })}\n`).join(""));
    return { ...outcome, note: `2 answers of 3 generated before it: ${out}.partial` };
  }

  test("if generation fails, the answers until then are kept", async () => {
    const { status, stderr, note } = await failing(() => {
      throw new RubricateError("ERR_NOT_FINITE", "a logit");
    }, new Interrupts());
    expect(status).toBe(1);
    expect(stderr).toContain(`${at("asked.jsonl")}: line 4: a logit (${note}) [ERR_NOT_FINITE]`);
  });

  test("if it is interrupted too", async () => {
    const interrupts = new Interrupts();
    const { status, stderr, note } = await failing(() => void interrupts.interrupt(), interrupts);
    expect([status, stderr]).toEqual([130, `${note}\n`]);
  });

  test.each<[string, (data: string, out: string) => void]>([
    ["the file itself", () => {}],
    ["a symbolic link to it", (data, out) => symlinkSync(data, out)],
    ["a hard link of it", (data, out) => linkSync(data, out)],
  ])("predictions do not replace the data: %s", async (_, make) => {
    const data = write("own.jsonl", rows);
    const text = readFileSync(data, "utf8");
    const out = at("link_of_own.jsonl");
    rmSync(out, { force: true });
    make(data, out);
    const target = existsSync(out) ? out : join(folder, ".", "own.jsonl");
    const load = jest.spyOn(LanguageModel, "fromPretrained");
    const { status, stderr } = await runCli(argv(data, "--write-predictions", target));
    expect(load).not.toHaveBeenCalled();
    load.mockRestore();
    expect(status).toBe(2);
    expect(stderr).toContain(
      `Expected another file for --write-predictions than that of --data (${data}) but received ${target}`,
    );
    expect(readFileSync(data, "utf8")).toBe(text);
  });

  test("nor do those that are kept after a failure", async () => {
    const data = write("named.jsonl.partial", rows);
    const { status, stderr } = await runCli([
      ...argv(data, "--format", "auto"),
      ...["--write-predictions", at("named.jsonl")],
    ]);
    expect([status, stderr.split("\n")[0]]).toEqual([2, expect.stringContaining(`but received ${data}`)]);
  });

  test("a folder in place of the file is refused before the model is loaded", async () => {
    const load = jest.spyOn(LanguageModel, "fromPretrained");
    const { status, stderr } = await runCli(argv(write("some.jsonl", rows), "--write-predictions", folder));
    expect(load).not.toHaveBeenCalled();
    load.mockRestore();
    expect([status, stderr]).toEqual([1, expect.stringContaining(`Cannot write ${folder}: it is a folder`)]);
  });

  test("a folder that does not exist is refused before the model is loaded", async () => {
    const out = at("none/written.txt");
    const { status, stderr } = await runCli(argv(write("some.jsonl", rows), "--write-predictions", out));
    expect([status, stderr.split("\n")[0]]).toEqual([1, expect.stringContaining(`Cannot write ${out}`)]);
  });
});

/** The runs of a comparison: which are made, in which order, and what becomes of failures. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SeedOutcome } from "../../lib/compare/comparison";
import { rowsOf } from "../../lib/compare/results";
import { compared, hashOfSeed, method, runText, type Script } from "./compare_support";
import { temporaryFolder } from "./failing_files";

let out: string;
beforeEach(() => {
  out = temporaryFolder();
});
afterEach(() => rmSync(out, { recursive: true, force: true }));

const rates = [0.01, 0.1, 1];
/** The best rate is that in the middle. */
const dev = (_: string, rate: number) => Math.abs(Math.log10(rate) + 1) + 1;

test("each method tries as many rates with seed 0, the best trains all seeds, tests come last", async () => {
  const methods = [method("red", rates), method("lora", rates)];
  const { started, outcome } = await compared({ out, methods, seeds: 2 }, { dev });
  expect(started.map(runText)).toEqual([
    "test base",
    ...["red", "lora"].flatMap((label) => rates.map((rate) => `train ${label} ${rate} 0`)),
    "train red 0.1 1", // that of seed 0 was the trial
    "train lora 0.1 1",
    "test red lr0.1-seed0",
    "test red lr0.1-seed1",
    "test lora lr0.1-seed0",
    "test lora lr0.1-seed1",
  ]);
  expect(outcome.methods.map(({ rate, edge }) => [rate, edge])).toEqual([
    [0.1, undefined],
    [0.1, undefined],
  ]);
  expect(outcome.batches).toEqual({ 0: hashOfSeed(0), 1: hashOfSeed(1) });
});

test("a record has what was read, and what the run said", async () => {
  const { outcome } = await compared({ out, methods: [method("red")] }, {});
  const [{ training, test: tested }] = outcome.methods[0]!.seeds as [SeedOutcome];
  expect(training).toMatchObject({ result: { trainRows: 9, devRows: 3, skippedRows: 1, notices: ["red says"] } });
  expect(tested).toMatchObject({ scores: { loss: 2, accuracy: 0.5 }, read: { tokens: 7, skipped: 2, truncated: 0 } });
});

test("a single rate is not tried", async () => {
  const { started, events } = await compared({ out, methods: [method("red", [0.3])], seeds: 2 }, {});
  expect(started.map(runText)).toEqual([
    "test base",
    "train red 0.3 0",
    "train red 0.3 1",
    "test red lr0.3-seed0",
    "test red lr0.3-seed1",
  ]);
  expect(events.filter(({ type }) => type === "rate")).toEqual([]);
});

test.each([
  [0.01, "lowest"],
  [1, "highest"],
])("the rate %d, at the end of those that were tried, is said to be the %s", async (best, edge) => {
  const { outcome } = await compared(
    { out, methods: [method("red", rates)] },
    { dev: (_, rate) => (rate === best ? 0.5 : 1) },
  );
  expect(outcome.methods[0]).toMatchObject({ rate: best, edge });
});

test("only what the best rate has trained stays, and no model", async () => {
  const methods = [method("red", rates), method("full", rates, true)];
  await compared({ out, methods, seeds: 1 }, { dev });
  expect(readdirSync(join(out, "trained")).map((name) => name.replace(/-[0-9a-f]{8}-/, " "))).toEqual([
    "red lr0.1-seed0",
  ]);
});

const crash = { status: null, signal: "SIGSEGV" as const };
const killed = { status: null, signal: "SIGKILL" as const };
const error = (code: string) => ({ error: { code, message: "It went wrong" } });

test("a child that crashes is one row with its reason; the others go on", async () => {
  const methods = [method("red"), method("lora"), method("ia3")];
  const script: Script = { dev: (label) => (label === "lora" ? { ...crash, stderr: "a\nbad address\n" } : 1) };
  const rows = rowsOf((await compared({ out, methods, seeds: 2 }, script)).outcome);
  expect(rows.map(({ scores }) => scores.loss?.count)).toEqual([2, undefined, 2]);
  expect(rows[1]!.failures).toEqual([
    ...[0, 1].map((seed) => ({
      learningRate: 0.1,
      seed,
      stage: "train",
      reason: "the process crashed (SIGSEGV): bad address",
    })),
  ]);
});

test.each([
  [error("ERR_NOT_FINITE"), "It went wrong [ERR_NOT_FINITE]"],
  [killed, "the process was killed (SIGKILL), as the system does when memory is short"],
  [{ status: 3 }, "the process ended with status 3 without a result"],
])("%j is told as %s", async (end, reason) => {
  const { outcome } = await compared({ out, methods: [method("red")] }, { dev: () => end });
  expect(rowsOf(outcome)[0]!.failures[0]!.reason).toBe(reason);
});

test("a rate at which a training fails is not chosen; without any the method has no seeds", async () => {
  const script: Script = {
    dev: (label, rate) => (label === "lora" || rate === 0.01 ? error("ERR_NOT_FINITE") : rate),
  };
  const { outcome, started } = await compared({ out, methods: [method("red", rates), method("lora", rates)] }, script);
  expect(outcome.methods.map(({ rate, seeds }) => [rate, seeds.length])).toEqual([
    [0.1, 1],
    [undefined, 0],
  ]);
  expect(started.map(runText).filter((text) => text.startsWith("test"))).toEqual(["test base", "test red lr0.1-seed0"]);
});

test("a failed evaluation of a run is told with its seed; the base's ends the comparison", async () => {
  const script: Script = { test: (folder) => (folder.includes("seed1") ? crash : 2) };
  const { outcome } = await compared({ out, methods: [method("red")], seeds: 2 }, script);
  const [row] = rowsOf(outcome);
  expect(row!.scores.loss).toMatchObject({ count: 1, values: { 0: 2 } });
  expect(row!.failures).toMatchObject([{ seed: 1, stage: "test" }]);
  const other = join(out, "other");
  const failing = compared({ out: other, methods: [method("red")] }, { test: () => error("ERR_DATA") });
  await expect(failing).rejects.toMatchObject({
    code: "ERR_DATA",
    message: expect.stringContaining("The evaluation of the base failed"),
  });
  expect(existsSync(join(other, "trained"))).toBe(false);
});

describe("the batches of a seed", () => {
  test("are refused if they differ, naming both runs", async () => {
    const batches = (label: string, seed: number) =>
      label === "lora" && seed === 1 ? "f".repeat(64) : hashOfSeed(seed);
    const run = compared({ out, methods: [method("red"), method("ia3"), method("lora")], seeds: 2 }, { batches });
    await expect(run).rejects.toMatchObject({
      code: "ERR_DATA",
      message:
        "Expected the same batches in all runs of seed 1 but those of red, learning rate 0.1, seed 1 (000000000000) and of lora, " +
        "learning rate 0.1, seed 1 (ffffffffffff) differ: the data may have changed meanwhile; nothing of this seed can be compared",
    });
  });

  test("are refused also if one of both was trained by an earlier command", async () => {
    await compared({ out, methods: [method("red")] }, {});
    const run = compared({ out, methods: [method("red"), method("lora")] }, { batches: () => "e".repeat(64) });
    await expect(run).rejects.toMatchObject({ code: "ERR_DATA" });
  });

  test("must be known", async () => {
    const run = compared({ out, methods: [method("red")] }, { batches: () => null });
    await expect(run).rejects.toThrow("Expected the SHA-256 of the batches of red, learning rate 0.1, seed 0");
  });
});

describe("the same command again", () => {
  const methods = [method("red", rates), method("lora")];

  test("runs nothing twice, and gives the same rows", async () => {
    const first = await compared({ out, methods, seeds: 2 }, { dev });
    const second = await compared({ out, methods, seeds: 2 }, { dev });
    expect(second.started).toEqual([]);
    expect(rowsOf(second.outcome)).toEqual(rowsOf(first.outcome));
    expect(second.events.every((event) => event.type !== "run" || event.recorded)).toBe(true);
  });

  test.each(Array.from({ length: 9 }, (_, at) => at))(
    "after an end in run %i runs only what is missing",
    async (last) => {
      const controller = new AbortController();
      let count = 0;
      const before = () => {
        if (count++ === last) controller.abort();
      };
      const stopped = compared({ out, methods, seeds: 2, signal: controller.signal }, { dev, before });
      await expect(stopped).rejects.toMatchObject({ code: "ERR_ABORTED" });
      const whole = join(out, "whole");
      const all = (await compared({ out: whole, methods, seeds: 2 }, { dev })).started.map(runText);
      const resumed = await compared({ out, methods, seeds: 2 }, { dev });
      expect(all).toHaveLength(11);
      expect(resumed.started.map(runText)).toEqual(all.slice(last));
    },
  );

  test("trains again what is still to be tested and lost its folder", async () => {
    const script: Script = { dev, test: (folder) => (folder === "base" ? 2 : crash) };
    await compared({ out, methods: [method("red", rates)] }, script);
    rmSync(join(out, "trained"), { recursive: true });
    const { started } = await compared({ out, methods: [method("red", rates)] }, { dev });
    expect(started.map(runText)).toEqual(["train red 0.1 0", "test red lr0.1-seed0"]);
  });

  test("tries a crashed run again, but not one that was not finite", async () => {
    const failing = (label: string) => (label === "red" ? crash : error("ERR_NOT_FINITE"));
    const both = [method("red"), method("lora")];
    await compared({ out, methods: both }, { dev: failing });
    const { started } = await compared({ out, methods: both }, {});
    expect(started.map(runText)).toEqual(["train red 0.1 0", "test red lr0.1-seed0"]);
  });

  test("with another method, another rate or more seeds runs only those", async () => {
    await compared({ out, methods: [method("red")] }, {});
    const more = await compared({ out, methods: [method("red"), method("lora")], seeds: 2 }, {});
    expect(more.started.map(runText)).toEqual([
      ...["train lora 0.1 0", "train red 0.1 1", "train lora 0.1 1"],
      ...["test red lr0.1-seed1", "test lora lr0.1-seed0", "test lora lr0.1-seed1"],
    ]);
  });

  test("with other options or files is refused, naming the first", async () => {
    const shared = { "--data": "a", "--batch-size": "--batch-size=8" };
    await compared({ out, methods: [method("red")], shared }, {});
    const refused = (other: Record<string, string>) => compared({ out, methods: [method("red")], shared: other }, {});
    await expect(refused({ ...shared, "--data": "b" })).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringContaining('but --data is "b" now and was "a"'),
    });
    await expect(refused({ "--data": "a" })).rejects.toThrow('--batch-size is none now and was "--batch-size=8"');
    await expect(refused({ ...shared, threads: "2" })).rejects.toThrow('threads is "2" now and was none');
  });

  test("refuses the record of another comparison, naming its file", async () => {
    await compared({ out, methods: [method("red")] }, {});
    const name = readdirSync(join(out, "runs")).find((one) => one.startsWith("train-"))!;
    const path = join(out, "runs", name);
    writeFileSync(path, readFileSync(path, "utf8").replace(/"comparison": "[0-9a-f]/, '"comparison": "x'));
    const again = compared({ out, methods: [method("red")] }, {});
    await expect(again).rejects.toMatchObject({ code: "ERR_CHECKPOINT", message: expect.stringContaining(path) });
  });
});

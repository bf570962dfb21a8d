/** Whole comparisons, each run in a process of its own. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { nodeArguments, rowsOf, writeModel } from "./cli_support";

jest.setTimeout(180_000);

let home: string;
const at = (...names: string[]) => join(home, ...names);
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-compare-"));
  await writeModel(at("model"));
  writeFileSync(at("data.jsonl"), rowsOf(12));
  writeFileSync(at("test.jsonl"), rowsOf(5));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

const comparing = (out: string, ...more: string[]) => [
  ...[
    "compare",
    "--model",
    at("model"),
    "--data",
    at("data.jsonl"),
    "--test",
    at("test.jsonl"),
    "--out",
    at(out),
    "--json",
  ],
  ...["--dev", "0.25", "--batch-size", "4", "--learning-rates", "0.05", "--no-eval-every-epoch", ...more],
];

interface Line {
  readonly type: string;
  readonly [name: string]: unknown;
}

/** Runs a command line. @param onLine called with each document that it prints, and with its process */
function running(argv: readonly string[], onLine: (line: Line, child: ReturnType<typeof spawn>) => void = () => {}) {
  const child = spawn(process.execPath, [...nodeArguments, ...argv], { stdio: ["ignore", "pipe", "pipe"] });
  const lines: Line[] = [];
  let [rest, stderr] = ["", ""];
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  child.stdout.on("data", (chunk) => {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop()!;
    for (const part of parts) {
      lines.push(JSON.parse(part));
      onLine(lines.at(-1)!, child);
    }
  });
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  return { child, ended: ended.then((status) => ({ status, lines, stderr })) };
}

const resultsIn = (out: string) => JSON.parse(readFileSync(at(out, "results.json"), "utf8"));
const runsOf = (lines: readonly Line[]) =>
  lines.flatMap(({ type, stage, method, recorded }) =>
    type === "run" ? [`${recorded ? "had " : ""}${stage} ${method}`] : [],
  );
/** A row without what is measured. */
const settled = ({ measured: _, ...row }: Record<string, unknown>) => row;

test("two calls give the same digits, files and batches; the same call again runs nothing", async () => {
  const argv = (out: string) => comparing(out, "--methods", "red:layers=0,full", "--seeds", "2", "--max-steps", "3");
  const first = await running(argv("one")).ended;
  expect([first.status, first.stderr]).toEqual([0, expect.any(String)]);
  expect((await running(argv("two")).ended).status).toBe(0);
  const [one, two] = [resultsIn("one"), resultsIn("two")];
  expect(two.rows.map(settled)).toEqual(one.rows.map(settled));
  expect(two.base.scores).toEqual(one.base.scores);
  expect(two.batches).toEqual(one.batches);
  const settledText = (out: string) => readFileSync(at(out, "table.md"), "utf8").split("## Memory")[0];
  expect(settledText("two")).toBe(settledText("one"));
  expect(readFileSync(at("two", "chart.svg"), "utf8")).toBe(readFileSync(at("one", "chart.svg"), "utf8"));
  expect(one.rows.map(({ method }: Line) => method)).toEqual(["red:layers=0", "full"]);
  for (const { scores, measured, parameters, bytes } of one.rows) {
    expect(scores.loss.count).toBe(2);
    expect(scores.loss.half).toBeGreaterThan(0);
    expect(measured.peakMib).toBeGreaterThan(20);
    expect(bytes).toBeGreaterThan(4 * parameters);
  }
  expect(Object.keys(one.batches)).toEqual(["0", "1"]);
  expect(one.batches[0]).not.toBe(one.batches[1]);
  expect(settledText("one")).toMatch(/- trained on: .*: 9 rows to train on, 3 to judge on, 0 skipped\n/);
  expect(settledText("one")).toMatch(/- tested on: .*: \d+ supervised tokens, 0 rows skipped, 0 truncated\n/);
  const again = await running(argv("one")).ended;
  expect(runsOf(again.lines).every((text) => text.startsWith("had "))).toBe(true);
  expect(resultsIn("one")).toEqual(one);
  const other = await running(comparing("one", "--methods", "red", "--max-steps", "4")).ended;
  expect([other.status, other.lines.at(-1)]).toEqual([
    1,
    expect.objectContaining({ code: "ERR_CHECKPOINT", message: expect.stringContaining("but --max-steps is") }),
  ]);
});

test("after a kill the same command runs only what is missing", async () => {
  const argv = comparing("killed", "--methods", "red,ia3", "--seeds", "1", "--max-steps", "3");
  const { status } = await running(argv, ({ stage }, child) => stage === "train" && child.kill("SIGKILL")).ended;
  expect(status).toBeNull();
  expect(existsSync(at("killed", "results.json"))).toBe(false);
  const resumed = await running(argv).ended;
  expect([resumed.status, runsOf(resumed.lines)]).toEqual([
    0,
    ["had test null", "had train red", "train ia3", "test red", "test ia3"],
  ]);
  expect(resultsIn("killed").rows).toHaveLength(2);
});

/** The first child of a process whose command line has a word. */
async function childOf(pid: number, word: string): Promise<number> {
  for (;;) {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean);
    for (const one of children) {
      const words = readFileSync(`/proc/${one}/cmdline`, "utf8").split("\0");
      if (words.includes(word)) return Number(one);
    }
    await setTimeout(20);
  }
}

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)("%s ends the run that is under way, and its process", async (signal, code) => {
  const out = `ended-${signal}`;
  const { child, ended } = running(comparing(out, "--methods", "red", "--epochs", "100000"));
  const pid = await childOf(child.pid!, "train");
  child.kill(signal);
  const { status, stderr } = await ended;
  expect([status, stderr]).toEqual([code, expect.stringContaining("the same command resumes the comparison")]);
  expect(existsSync(`/proc/${pid}`)).toBe(false);
  expect(readdirSync(at(out)).sort()).toEqual(expect.arrayContaining(["comparison.json", "runs"]));
  expect(readdirSync(at(out, "runs"))).toEqual(["base.json"]);
});

test("a training that crashes is one row; the table has the others, and the status is 1", async () => {
  // A value that overflows in training, but not in an evaluation of the base.
  const argv = comparing("crash", "--methods", "red,full", "--seeds", "1", "--max-steps", "4", "--max-grad-norm", "0");
  const { status, lines } = await running([...argv, "--learning-rates", "1e37"]).ended;
  expect(status).toBe(1);
  const rows = lines.filter(({ type }) => type === "row") as unknown as { failures: { reason: string }[] }[];
  expect(rows.flatMap(({ failures }) => failures).some(({ reason }) => reason.includes("ERR_NOT_FINITE"))).toBe(true);
  expect(readFileSync(at("crash", "table.md"), "utf8")).toContain("## Runs without a result");
});

test("a wrong test file is told before anything is trained", async () => {
  writeFileSync(at("bad.jsonl"), "{}\n");
  const { status, lines } = await running([...comparing("bad", "--methods", "red"), "--test", at("bad.jsonl")]).ended;
  expect([status, lines.at(-1)]).toEqual([1, expect.objectContaining({ type: "error", code: "ERR_DATA" })]);
  expect(runsOf(lines)).toEqual(["test null"]);
});

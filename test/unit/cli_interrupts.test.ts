/** Command lines that are stopped by a signal, killed, or lose their reader. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Interrupts } from "../../lib/cli/interrupts";
import { nodeArguments, rowsOf, runCli, writeModel } from "./cli_support";

let home: string;
const at = (...names: string[]) => join(home, ...names);
const jsonLines = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-cli-"));
  await writeModel(at("model"));
  writeFileSync(at("data.jsonl"), rowsOf(12));
});
afterAll(() => rmSync(home, { recursive: true }));

const training = (...more: string[]) => [
  ...["train", "--model", at("model"), "--data", at("data.jsonl"), "--learning-rate", "0.05", "--batch-size", "4"],
  ...more,
];

/** Runs a command line in its own process, and acts on it once it has reported a finished step, or what is given. */
async function disturbed(
  argv: string[],
  disturb: (child: ReturnType<typeof spawn>) => void,
  reported = '"type":"step"',
) {
  const child = spawn(process.execPath, [...nodeArguments, ...argv], { stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  const read = (chunk: Buffer) => {
    stdout += chunk;
    if (!stdout.includes(reported)) return;
    child.stdout.off("data", read).resume();
    disturb(child);
  };
  child.stdout.on("data", read);
  const status = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { status, stderr };
}
const hasCheckpoint = (folder: string) => readdirSync(folder).some((name) => /^checkpoint-\d+$/.test(name));

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const)("%s: exit status %d and a checkpoint", async (signal, code) => {
  const argv = training("--out", at(signal), "--json", "--epochs", "20000");
  const { status, stderr } = await disturbed(argv, (child) => child.kill(signal));
  expect(status).toBe(code);
  expect(stderr).toContain("resume with:");
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(hasCheckpoint(at(signal))).toBe(true);
});

/** Interrupts at these milliseconds. @returns for each whether the process must end at once */
function interruptedAt(times: number[]): boolean[] {
  let now = 0;
  const interrupts = new Interrupts(() => now);
  return times.map((time, at) => {
    now = time;
    return interrupts.interrupt(at === 0 ? "SIGINT" : "SIGTERM");
  });
}

test("a second interrupt ends the process immediately", () => {
  expect(interruptedAt([1000, 1600])).toEqual([false, true]);
});

test("a signal that arrives twice, as from timeout or npm, counts as one", () => {
  expect(interruptedAt([1000, 1001, 1499, 1501])).toEqual([false, false, false, true]);
});

test("a closed terminal, whose output is lost and which sends its signal twice, does not end it before its checkpoint", () => {
  let now = 0;
  const interrupts = new Interrupts(() => now);
  interrupts.stopQuietly();
  expect(interrupts.interrupt("SIGHUP")).toBe(false);
  now = 1000;
  expect(interrupts.interrupt("SIGHUP")).toBe(false);
  expect(interrupts.interrupt("SIGTERM")).toBe(true);
});

test("a run that is killed with the default options resumes from the newest checkpoint of its interval", async () => {
  const argv = training("--out", at("killed"), "--json", "--epochs", "20000", "--checkpoint-every-minutes", "1e-9");
  const { status } = await disturbed(argv, (child) => child.kill("SIGKILL"), '"type":"checkpoint"');
  expect(status).toBe(null);
  const made = readdirSync(at("killed")).flatMap((name) => /^checkpoint-(\d+)$/.exec(name)?.[1] ?? []);
  const newest = Math.max(...made.map(Number));
  const interrupts = new Interrupts();
  const resumed = await runCli([...argv, "--resume"], {
    interrupts,
    onOutput: (text) => text.includes('"type":"step"') && interrupts.interrupt(),
  });
  expect(newest).toBeGreaterThan(0);
  expect(jsonLines(resumed.stdout).find(({ type }) => type === "start")).toMatchObject({ resumedStep: newest });
});

test("if the reader of the output ends, the command writes its checkpoint and ends silently", async () => {
  const argv = training("--out", at("pipe"), "--json", "--epochs", "20000");
  const { status, stderr } = await disturbed(argv, (child) => child.stdout!.destroy());
  expect(status).toBe(0);
  expect(stderr).not.toContain("EPIPE");
  expect(hasCheckpoint(at("pipe"))).toBe(true);
});

/** Children of a comparison: what is read of them, and that none is left behind. */
import { spawn } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { launcher, reasonOfEnd } from "../../lib/compare/child";
import type { JsonObject } from "../../lib/files/json";
import { temporaryFolder } from "./failing_files";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a program of Node in place of rubricate. */
async function launched(program: string, signal = new AbortController().signal, onEvent?: (event: JsonObject) => void) {
  const path = join(folder, "program.cjs");
  writeFileSync(path, program);
  const events: JsonObject[] = [];
  const end = await launcher([process.execPath, path])({
    words: ["one", "two words"],
    signal,
    onEvent(event) {
      events.push(event);
      onEvent?.(event);
    },
  });
  return { events, end, reason: reasonOfEnd(end) };
}

test("its documents are read, however they arrive", async () => {
  const program = `
    process.stdout.write(JSON.stringify({ argv: process.argv.slice(2), text: "ä".repeat(70000) }) + '\\n{"half"');
    setTimeout(() => process.stdout.write(':1}\\nno JSON\\n[1]\\n{"cut'), 20);`;
  const { events, end } = await launched(program);
  expect(events).toEqual([{ argv: ["one", "two words", "--json"], text: "ä".repeat(70000) }, { half: 1 }]);
  expect(end).toMatchObject({ status: 0, error: undefined });
});

test.each([
  [
    'console.log(JSON.stringify({ type: "error", code: "ERR_DATA", message: "No rows" })); process.exitCode = 1;',
    "No rows [ERR_DATA]",
  ],
  ['process.stderr.write("one\\ntwo\\n"); process.kill(process.pid, "SIGSEGV");', "the process crashed (SIGSEGV): two"],
  ["process.exit(9)", "the process ended with status 9 without a result"],
])("%s ends with a reason", async (program, reason) => {
  expect((await launched(program)).reason).toBe(reason);
});

test("a program that cannot be started is an error", async () => {
  const run = launcher([join(folder, "missing")])({ words: [], signal: new AbortController().signal, onEvent() {} });
  await expect(run).rejects.toMatchObject({ code: "ERR_FILE", message: expect.stringContaining("missing") });
});

const isRunning = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test("an abort ends the child, and is reported once that has ended", async () => {
  const controller = new AbortController();
  let pid = 0;
  const program = "console.log(JSON.stringify({ pid: process.pid })); setTimeout(() => {}, 90_000);";
  const run = launched(program, controller.signal, (event) => {
    pid = event.pid as number;
    controller.abort();
  });
  await expect(run).rejects.toMatchObject({ code: "ERR_ABORTED" });
  expect(pid).toBeGreaterThan(0);
  expect(isRunning(pid)).toBe(false);
  expect(process.listeners("exit").filter(({ name }) => name === "kill")).toEqual([]);
});

test("if the process ends at once, so does its child", async () => {
  const file = join(folder, "pid");
  const child = join(folder, "child.cjs");
  writeFileSync(
    child,
    `require("fs").writeFileSync(${JSON.stringify(file)}, String(process.pid)); console.log("{}"); setTimeout(() => {}, 20_000);`,
  );
  const parent = join(folder, "parent.cjs");
  writeFileSync(
    parent,
    `require(${JSON.stringify(join(__dirname, "../runtime/typescript.cjs"))});
     const { launcher } = require(${JSON.stringify(join(__dirname, "../../lib/compare/child.ts"))});
     const launch = launcher([process.execPath, ${JSON.stringify(child)}]);
     launch({ words: [], signal: new AbortController().signal, onEvent: () => process.exit(3) });`,
  );
  const ended = spawn(process.execPath, [parent], { stdio: "ignore" });
  expect(await new Promise((resolve) => ended.on("close", resolve))).toBe(3);
  const pid = Number(readFileSync(file, "utf8"));
  for (let tried = 0; tried < 200 && isRunning(pid); tried++) await setTimeout(20); // a killed process takes a moment
  expect(isRunning(pid)).toBe(false);
});

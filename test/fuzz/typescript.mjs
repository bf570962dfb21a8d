/**
 * Fuzzes the TypeScript parsers of files and data: every outcome must be success or a RubricateError, quickly and in bounded
 * memory. Needs `npm run build`.
 *
 *     node test/fuzz/typescript.mjs --seconds 60 [--seed 1] [--target NAME]... [--case N]
 *
 * --seconds  for all targets together
 * --case     only that execution of the target, to reproduce a finding
 *
 * Prints executions and the longest stall of the event loop for each target. The exit status is 1 if there is a finding.
 */
import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const names = ["tokenizer", "tokenizer_config", "config", "index", "header", "adapter", "trainer_state", "rows"];
names.push("template", "messages", "torch_file");
const { values: options } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    target: { type: "string", multiple: true, default: [] },
    case: { type: "string" },
  },
});
const unknown = options.target.filter((name) => !names.includes(name));
if (unknown.length > 0) throw new Error(`Unknown target ${unknown.join(", ")}; there are ${names.join(", ")}`);
const chosen = options.target.length > 0 ? options.target : names;
const child = fileURLToPath(new URL("typescript_child.mjs", import.meta.url));
const hangMs = 20_000;

/** Executions from a case on, until time is up or the process ends. */
function runChild(target, seed, from, until, home, report) {
  return new Promise((resolve) => {
    const run = fork(child, [target, String(seed), String(from), home, options.case === undefined ? "" : "once"], {
      execArgv: ["--max-old-space-size=512"],
      stdio: ["ignore", "inherit", "pipe", "ipc"],
    });
    let current = from;
    let since = Date.now();
    let errors = "";
    let expected = false;
    run.stderr.on("data", (data) => {
      errors = (errors + data).slice(-2000);
    });
    const timer = setInterval(() => {
      if (Date.now() - since < hangMs) return;
      report(current, `no end within ${hangMs / 1000} s`);
      expected = true;
      run.kill("SIGKILL");
    }, 500);
    run.on("message", (message) => {
      if (message.start !== undefined) current = message.start;
      since = Date.now();
      if (message.findings) report(current, ...message.findings);
      if (message.stall !== undefined) report.stall(message.stall);
      if (message.start === undefined && (Date.now() >= until || options.case !== undefined)) {
        expected = true;
        run.kill("SIGKILL");
      }
    });
    run.on("exit", (code, signal) => {
      clearInterval(timer);
      if (!expected) report(current, `the process ended with ${code ?? signal}: ${errors.trim().split("\n")[0] ?? ""}`);
      resolve(current + 1);
    });
  });
}

async function fuzz(target, seed, seconds) {
  const home = mkdtempSync(join(tmpdir(), "rubricate-fuzz-"));
  const found = new Map();
  let worst = 0;
  const first = Number(options.case ?? 0);
  const report = (at, ...findings) => {
    for (const finding of findings) {
      const known = found.get(finding);
      found.set(finding, { count: (known?.count ?? 0) + 1, first: known?.first ?? at });
      if (!known) console.log(`FOUND ${target}: ${finding}\n      --target ${target} --seed ${seed} --case ${at}`);
    }
  };
  report.stall = (ms) => {
    worst = Math.max(worst, ms);
  };
  const until = Date.now() + 1000 * seconds;
  let next = first;
  try {
    do next = await runChild(target, seed, next, until, home, report);
    while (Date.now() < until && options.case === undefined);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
  const summary = `${String(next - first).padStart(7)} executions, longest stall ${String(Math.round(worst)).padStart(4)} ms`;
  console.log(`${target.padEnd(16)} ${summary}, ${found.size} findings`);
  return found.size;
}

let findings = 0;
for (const target of chosen)
  findings += await fuzz(target, Number(options.seed), Number(options.seconds) / chosen.length);
process.exitCode = findings > 0 ? 1 : 0;

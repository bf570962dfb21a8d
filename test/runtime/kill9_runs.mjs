#!/usr/bin/env node
/**
 * Kills a process with four runs of a MultiTrainer with SIGKILL at random moments, and resumes them each time:
 *
 *   node test/runtime/kill9_runs.mjs [moments = 20] [seed]
 *
 * The finished adapters must be those of runs that were never killed, bit for bit.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const child = join(dirname(fileURLToPath(import.meta.url)), "kill9_runs_child.cjs");

/** Park and Miller's generator, for reproducible moments. */
function randomFrom(seed) {
  let state = (seed % 2147483646) + 1;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

/** Runs the child, and kills it `killAfterMs` after all runs have begun. @returns the digest; undefined if it was killed */
async function run(outputDir, steps, killAfterMs) {
  const process = spawn(globalThis.process.execPath, [child, outputDir, String(steps)]);
  const closed = new Promise((resolve) => process.on("close", (code, signal) => resolve({ code, signal })));
  let errors = "";
  let end;
  let timer;
  process.stderr.on("data", (data) => (errors += data));
  createInterface(process.stdout).on("line", (line) => {
    const [kind, ...rest] = line.split(" ");
    if (kind === "start" && killAfterMs !== undefined) timer = setTimeout(() => process.kill("SIGKILL"), killAfterMs);
    if (kind === "notice") errors += `${line}\n`;
    if (kind === "end") [end] = rest;
  });
  const { code, signal } = await closed;
  clearTimeout(timer);
  assert.equal(errors, "");
  if (signal === "SIGKILL") return undefined;
  assert.equal(code, 0, `the process ended with ${code ?? signal}`);
  return end;
}

/** @param moments how often the process is killed */
export async function killAndResumeRuns(moments, seed = 1) {
  const folder = mkdtempSync(join(tmpdir(), "rubricate-kill9-runs-"));
  const random = randomFrom(seed);
  try {
    const steps = 20 + moments * 4;
    const expected = await run(join(folder, "straight"), steps);
    for (let kills = 0; ; ) {
      const end = await run(join(folder, "killed"), steps, kills < moments ? random() * 120 : undefined);
      if (end === undefined) kills++;
      else {
        assert.equal(end, expected);
        return { steps, kills };
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [moments = "20", seed = String(Date.now() % 100000)] = process.argv.slice(2);
  process.stdout.write(`seed ${seed}\n`);
  const seen = await killAndResumeRuns(Number(moments), Number(seed));
  process.stdout.write(`${JSON.stringify(seen)}\nthe finished adapters are those of runs that were never killed\n`);
}

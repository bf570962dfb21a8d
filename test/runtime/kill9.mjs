#!/usr/bin/env node
/**
 * Kills a run that checkpoints every step with SIGKILL at random moments, and resumes it each time:
 *
 *   node test/runtime/kill9.mjs [moments = 50] [seed]
 *
 * Every run must resume from the last reported checkpoint or the one after it, without a damaged checkpoint, and the
 * finished adapter and the best one must be those of an uninterrupted run, bit for bit.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const child = join(dirname(fileURLToPath(import.meta.url)), "kill9_child.cjs");

/** Park and Miller's generator, for reproducible moments. */
function randomFrom(seed) {
  let state = (seed % 2147483646) + 1;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

/**
 * Runs the child, and kills it `killAfterMs` after it reported its start.
 * @returns its reports: where it started, its last checkpoint, notices, and at its end the digest
 */
function run(outputDir, steps, killAfterMs) {
  return new Promise((resolve, reject) => {
    const reported = { start: 0, checkpoint: 0, notices: [], end: undefined, killed: false };
    const process = spawn(globalThis.process.execPath, [child, outputDir, String(steps)]);
    let text = "";
    let errors = "";
    let timer;
    process.stderr.on("data", (data) => (errors += data));
    process.stdout.on("data", (data) => {
      text += data;
      const lines = text.split("\n");
      text = lines.pop();
      for (const line of lines) {
        const [kind, rest] = [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)];
        if (kind === "start") {
          reported.start = reported.checkpoint = Number(rest);
          if (killAfterMs !== undefined) timer = setTimeout(() => process.kill("SIGKILL"), killAfterMs);
        } else if (kind === "checkpoint") reported.checkpoint = Number(rest);
        else if (kind === "notice") reported.notices.push(rest);
        else if (kind === "end") reported.end = rest;
      }
    });
    process.on("close", (code, signal) => {
      clearTimeout(timer);
      reported.killed = signal === "SIGKILL";
      if (reported.killed || code === 0) resolve(reported);
      else reject(new Error(`the run ended with ${code ?? signal}: ${errors}`));
    });
  });
}

/**
 * @param moments how often the run is killed
 * @returns counts of what was observed
 */
export async function killAndResume(moments, seed = 1) {
  const folder = mkdtempSync(join(tmpdir(), "rubricate-kill9-"));
  const random = randomFrom(seed);
  try {
    const steps = 40 + moments * 8;
    const begun = Date.now();
    const expected = await run(join(folder, "straight"), steps);
    const pace = Date.now() - begun;
    const seen = { steps, digest: expected.end, kills: 0, duringSteps: 0, uninterruptedMs: pace };
    let last = 0;
    for (;;) {
      const reported = await run(join(folder, "killed"), steps, seen.kills < moments ? random() * 120 : undefined);
      assert.deepEqual(reported.notices, []);
      assert.ok(
        reported.start === last || reported.start === last + 1,
        `resumed at ${reported.start} after checkpoint ${last}`,
      );
      last = reported.checkpoint;
      if (reported.killed) {
        seen.kills++;
        if (reported.checkpoint > reported.start) seen.duringSteps++;
        continue;
      }
      assert.equal(reported.end, expected.end);
      return seen;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [moments = "50", seed = String(Date.now() % 100000)] = process.argv.slice(2);
  process.stdout.write(`seed ${seed}\n`);
  const seen = await killAndResume(Number(moments), Number(seed));
  process.stdout.write(`${JSON.stringify(seen)}\nthe finished adapter is the uninterrupted run's\n`);
}

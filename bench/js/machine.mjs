import { execFileSync } from "node:child_process";
import os from "node:os";
import { built, native, root } from "./package.mjs";

const { processorText, thisProcessor } = built("cli/bench_machine.js");

function git(...args) {
  try {
    return execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return undefined; // no git, or not a checkout
  }
}

/** The machine, on which figures depend besides the code; part of every result. */
export function describeMachine() {
  const { path, threads } = native.cpu();
  const processor = thisProcessor();
  return {
    cpu: processorText(processor),
    processor,
    cores: os.cpus().length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    path,
    threads,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
  };
}

/** The head of a result: the machine, the code, the time, and the load average at the start. */
export function describeRun() {
  const dirty = git("status", "--porcelain", "--untracked-files=no");
  return {
    date: new Date().toISOString(),
    commit: git("rev-parse", "HEAD") ?? null,
    changedSinceCommit: dirty === undefined ? null : dirty !== "",
    rubricate: native.version,
    machine: describeMachine(),
    loadAverage: os.loadavg()[0],
  };
}

/** A readable line. */
export function machineLine({ machine, commit, loadAverage }) {
  const { cpu, cores, path, threads, node } = machine;
  const at = commit ? `, commit ${commit.slice(0, 12)}` : "";
  return `${cpu}, ${cores} cores, ${threads} threads, ${path} kernels, Node ${node}${at}, load ${loadAverage.toFixed(2)}`;
}

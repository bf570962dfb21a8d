/** The work of both sides, and their protocol with run.mjs: lines of JSON, see Side in ../js/pairs.mjs. */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

const option = { type: "string" };

/** @returns {{model: string, peer?: string, measure: string, sequences: number, length: number, count: number}} */
export function workOptions() {
  const names = ["model", "peer", "measure", "sequences", "length", "count"];
  const { values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, option])) });
  const { sequences, length, count } = values;
  return { ...values, sequences: Number(sequences), length: Number(length), count: Number(count) };
}

/** Ids of a prompt, without special and byte tokens; the same for the same seed. */
export function prompt(length, vocabulary, seed) {
  let state = (Math.imul(seed + 1, 0x9e3779b9) ^ 0x5bd1e995) >>> 0;
  return Int32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 259 + Math.floor((state / 2 ** 32) * (vocabulary - 259));
  });
}

/** Answers lines "step" with the result of `step(number)`, and "end" with the peak of resident memory. */
export async function answer(about, step) {
  const say = (line) => console.log(JSON.stringify(line));
  say({ ready: true, ...about });
  let steps = 0;
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "step") say(await step(steps++));
    if (line === "end") break;
  }
  say({ peakMiB: Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024 });
  process.exit(0);
}

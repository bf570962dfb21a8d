import { cpus } from "node:os";
import { native } from "../native";
import { type BenchCase, modelCases, opCases } from "./bench_cases";
import type { Command, Invocation } from "./command";
import { modelFlags } from "./flags";
import { version } from "./help";
import { loadModel } from "./load";
import { plural, table } from "./text";

/** Runs of a case: at least so many, for at least so long. */
const leastRuns = 5;
const leastSeconds = 0.5;

interface BenchResult {
  readonly name: string;
  readonly runs: number;
  /** Milliseconds of the fastest run and of the one in the middle. */
  readonly bestMs: number;
  readonly medianMs: number;
  /** Work of the fastest run in `unit`. */
  readonly rate: number | null;
  readonly unit: string | null;
}

export const benchCommand: Command = {
  name: "bench",
  summary: "Times the parts of training and generation on this machine.",
  details:
    "Each case runs for at least half a second; the fastest run and the one in the middle are told. Kernels are timed as the public ops run them, with their allocations. Nothing else should run meanwhile.",
  flags: [...modelFlags],
  defaults: { model: "embedded" },
  async run(invocation) {
    const { terminal, interrupts } = invocation;
    const model = await loadModel(invocation);
    try {
      const cases = [...opCases(), ...(await modelCases(model))];
      const results: BenchResult[] = [];
      for (const [at, one] of cases.entries()) {
        if (interrupts.signal.aborted) break;
        terminal.progress.show(at / cases.length, one.name, true);
        results.push(await timed(one, interrupts.signal));
        one.end?.();
      }
      terminal.progress.restart();
      interrupts.signal.throwIfAborted();
      show(invocation, model.dir, results);
    } finally {
      model.dispose();
    }
  },
};

async function timed({ name, run, work, unit }: BenchCase, signal: AbortSignal): Promise<BenchResult> {
  await run(); // warms caches and memory up
  const times: number[] = [];
  for (let total = 0; (times.length < leastRuns || total < leastSeconds * 1e3) && !signal.aborted; ) {
    const start = process.hrtime.bigint();
    await run();
    const ms = Number(process.hrtime.bigint() - start) / 1e6;
    times.push(ms);
    total += ms;
  }
  times.sort((a, b) => a - b);
  const bestMs = times[0] ?? Number.NaN;
  const medianMs = times[times.length >> 1] ?? Number.NaN;
  return {
    name,
    runs: times.length,
    bestMs,
    medianMs,
    rate: work === undefined ? null : work / (bestMs / 1e3),
    unit: unit ?? null,
  };
}

function show({ terminal }: Invocation, model: string, results: readonly BenchResult[]): void {
  const { path, threads } = native().cpu();
  const machine = {
    cpu: cpus()[0]?.model ?? "unknown",
    threads,
    kernels: path,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    rubricate: version(),
  };
  terminal.event({ machine, model, results });
  terminal.print(
    `${machine.cpu}, ${plural(threads, "thread")}, ${path} kernels, Node ${process.version}, rubricate ${version()}`,
  );
  terminal.print();
  const ms = (value: number) => (value < 0.01 ? `${(value * 1e3).toFixed(2)} us` : `${value.toFixed(3)} ms`);
  const rows = results.map(({ name, runs, bestMs, medianMs, rate, unit }) => [
    name,
    ms(bestMs),
    ms(medianMs),
    rate === null ? "" : `${rate >= 100 ? rate.toFixed(0) : rate.toPrecision(3)} ${unit}`,
    String(runs),
  ]);
  for (const line of table([["case", "best", "median", "rate", "runs"], ...rows])) terminal.print(line);
}

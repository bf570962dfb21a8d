import { cpus } from "node:os";
import { deviceText } from "../model/device";
import type { LlamaModel } from "../model/model";
import { native } from "../native";
import type { BenchCase } from "./bench_cases";
import { decoding, prefill, trainingStep } from "./bench_model";
import { attention, callOverheads, matmul, redEdit } from "./bench_ops";
import type { Command, Invocation } from "./command";
import { modelFlags } from "./flags";
import { version } from "./help";
import { loadModel } from "./load";
import { plural, table } from "./text";

/** Minimum number of runs of a case, and their minimum duration. */
const leastRuns = 5;
const leastSeconds = 0.5;

interface BenchResult {
  readonly name: string;
  readonly runs: number;
  /** Milliseconds of the fastest and of the median run. */
  readonly bestMs: number;
  readonly medianMs: number;
  /** Rate of the fastest run in `unit`. */
  readonly rate: number;
  readonly unit: string;
}

/** Kernels at shapes of a model with 110 million parameters, in fp32, and whole steps of the model. */
function casesOf(model: LlamaModel): BenchCase[] {
  const tokens = Math.min(256, model.contextLength - 40);
  const works = [trainingStep(4, tokens), prefill(tokens), ...([0, 1, 2] as const).map((one) => decoding(8, 32, one))];
  return [
    redEdit(512, 768, "float32", false),
    redEdit(512, 768, "float32", true),
    matmul(512, 768, 2048, "float32"),
    attention(512, 12, 12, 64, "float32", false),
    ...callOverheads(),
    ...works.map((one) => ({ ...one, start: () => one.start(model) })),
  ];
}

export const benchCommand: Command = {
  name: "bench",
  summary: "Measures the speed of training and generation, and of their parts, on this machine.",
  details:
    "Each case runs for at least half a second; the fastest and the median run are reported. Kernels are timed through the public ops, including allocations. Nothing else should run on the machine.",
  flags: [...modelFlags],
  defaults: { model: "embedded" },
  async run(invocation) {
    const { terminal, interrupts } = invocation;
    const model = await loadModel(invocation);
    try {
      const cases = casesOf(model);
      const results: BenchResult[] = [];
      for (const [at, one] of cases.entries()) {
        if (interrupts.signal.aborted) break;
        terminal.progress.show(at / cases.length, one.name, true);
        results.push(await timeCase(one, interrupts.signal));
      }
      terminal.progress.restart();
      interrupts.signal.throwIfAborted();
      show(invocation, model, results);
    } finally {
      model.dispose();
    }
  },
};

async function timeCase({ group, name, start, work, unit }: BenchCase, signal: AbortSignal): Promise<BenchResult> {
  const { run, end } = start();
  const times: number[] = [];
  try {
    await run(); // warm-up
    for (let total = 0; (times.length < leastRuns || total < leastSeconds * 1e3) && !signal.aborted; ) {
      const before = process.hrtime.bigint();
      await run();
      const ms = Number(process.hrtime.bigint() - before) / 1e6;
      times.push(ms);
      total += ms;
    }
  } finally {
    end();
  }
  times.sort((a, b) => a - b);
  const bestMs = times[0] ?? Number.NaN;
  const medianMs = times[times.length >> 1] ?? Number.NaN;
  return {
    name: `${group}: ${name}`,
    runs: times.length,
    bestMs,
    medianMs,
    rate: work / (bestMs / 1e3),
    unit,
  };
}

function show({ terminal }: Invocation, model: LlamaModel, results: readonly BenchResult[]): void {
  const { path, threads } = native().cpu();
  const machine = {
    cpu: cpus()[0]?.model ?? "unknown",
    threads,
    kernels: path,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    rubricate: version(),
    device: deviceText(model.device),
    matmul: model.device.matmul ?? null,
  };
  terminal.event({ machine, model: model.dir, products: model.native.products(), results });
  terminal.print(
    `${machine.cpu}, ${plural(threads, "thread")}, ${path} kernels, Node ${process.version}, rubricate ${version()}`,
  );
  if (machine.matmul !== null) terminal.print(`the model on ${machine.device}, matmuls by ${machine.matmul}`);
  terminal.print();
  const ms = (value: number) => (value < 0.01 ? `${(value * 1e3).toFixed(2)} us` : `${value.toFixed(3)} ms`);
  const rows = results.map(({ name, runs, bestMs, medianMs, rate, unit }) => [
    name,
    ms(bestMs),
    ms(medianMs),
    `${rate >= 100 ? rate.toFixed(0) : rate.toPrecision(3)} ${unit}`,
    String(runs),
  ]);
  for (const line of table([["case", "best", "median", "rate", "runs"], ...rows])) terminal.print(line);
}

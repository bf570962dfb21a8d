import { quoted } from "../errors";
import { replaceFile } from "../files/atomic";
import type { LanguageModel } from "../model/model";
import type { BenchCase } from "./bench_cases";
import { type Comparison, compared, readStored } from "./bench_compare";
import { describeMachine, type Machine, processorText } from "./bench_machine";
import { decoding, prefill, trainingStep } from "./bench_model";
import { attention, callOverheads, matmul, redEdit } from "./bench_ops";
import { type BenchResult, quick, thorough, timeCase } from "./bench_timing";
import { type Command, type Invocation, UsageError } from "./command";
import { modelFlags } from "./flags";
import { loadModel } from "./load";
import { plural, table } from "./text";
import { requireWritable } from "./writable";

/** Kernels at shapes of a model with 110 million parameters, in fp32, and whole steps of the model. */
function casesOf(model: LanguageModel): BenchCase[] {
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
    "Each case runs for at least half a second. The table has the time of a call in the fastest and in the median run, how much the runs differ (interquartile range, as a share of the median), the rate of the fastest run, and its share of the machine's peak, measured in the same run: a loop of multiply-adds on registers, for GB/s a plain read of memory, which data in a cache can exceed. Kernels are timed through the public ops, including allocations. Nothing else should run on the machine.",
  flags: [...modelFlags, "filter", "quick", "out", "compare"],
  defaults: { model: "embedded" },
  meanings: { out: { placeholder: "FILE", help: "also writes the results into this file, as JSON" } },
  async run(invocation) {
    const { values, terminal, interrupts } = invocation;
    const before = values.compare === undefined ? undefined : await readStored(values.compare);
    if (values.out !== undefined) await requireWritable(values.out); // now, not after minutes
    const model = await loadModel(invocation);
    try {
      const cases = chosen(casesOf(model), values.filter);
      const machine = describeMachine(model);
      const results: BenchResult[] = [];
      for (const [at, one] of cases.entries()) {
        terminal.progress.show(at / cases.length, one.name, true);
        const result = await timeCase(one, values.quick ? quick : thorough, machine.peaks, interrupts.signal);
        interrupts.signal.throwIfAborted();
        results.push(result!);
      }
      terminal.progress.restart();
      const isQuick = values.quick ?? false;
      const report = { machine, quick: isQuick, model: model.dir, matmuls: model.native.matmuls(), results };
      if (values.out !== undefined) {
        const date = new Date().toISOString();
        await replaceFile(values.out, `${JSON.stringify({ date, ...report }, null, 2)}\n`);
      }
      const comparison = before && compared({ machine, results, isQuick }, before);
      const { differences, ratios, missing } = comparison ?? {};
      const comparedWith = comparison && {
        file: values.compare,
        differences,
        ratios: Object.fromEntries(ratios!),
        missing,
      };
      terminal.event({ ...report, ...(comparedWith && { compared: comparedWith }) });
      show(invocation, machine, results, comparison);
    } finally {
      model.dispose();
    }
  },
};

/** @throws UsageError if no case matches */
function chosen(all: readonly BenchCase[], filter = ""): BenchCase[] {
  const full = ({ group, name }: BenchCase) => `${group}: ${name}`;
  const found = all.filter((one) => full(one).includes(filter));
  if (found.length === 0)
    throw new UsageError(
      `Expected a part of a case's name for --filter but received ${quoted(filter)}; the cases are ${all.map(full).join("; ")}`,
    );
  return found;
}

const percent = (share: number) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
const time = (ms: number) => (ms < 0.01 ? `${(ms * 1e3).toFixed(2)} us` : `${ms.toFixed(3)} ms`);

function show(
  { terminal, values }: Invocation,
  machine: Machine,
  results: readonly BenchResult[],
  comparison: Comparison | undefined,
): void {
  const { processor, threads, kernels, node, rubricate, peaks, loadAverage, matmul, device } = machine;
  const giga = (value: number) => (value / 1e9).toFixed(1);
  terminal.print(
    `${processorText(processor)}, ${plural(threads, "thread")}, ${kernels} kernels, Node ${node}, rubricate ${rubricate}`,
  );
  terminal.print(
    `peaks: ${giga(peaks.float32)} GFLOP/s in float32, ${giga(peaks.bfloat16)} in bfloat16, reading ${giga(peaks.read)} GB/s; ` +
      `load ${loadAverage.toFixed(2)}`,
  );
  if (matmul !== null) terminal.print(`the model on ${device}, matmuls by ${matmul}`);
  for (const difference of comparison?.differences ?? [])
    terminal.print(`not the machine or effort of ${values.compare}: ${difference}; the ratios show that, too`);
  terminal.print();
  const ratioOf = (name: string) => comparison?.ratios.get(name)?.toFixed(2) ?? "";
  const rows = results.map(({ name, runs, bestMs, medianMs, spread, rate, unit, peakShare }) => [
    name,
    time(bestMs),
    time(medianMs),
    percent(spread),
    `${rate >= 100 ? rate.toFixed(0) : rate.toPrecision(3)} ${unit}`,
    peakShare === null ? "" : percent(peakShare),
    String(runs),
    ...(comparison ? [ratioOf(name)] : []),
  ]);
  const head = ["case", "best", "median", "spread", "rate", "of peak", "runs", ...(comparison ? ["ratio"] : [])];
  for (const line of table([head, ...rows])) terminal.print(line);
  if (comparison && comparison.missing.length > 0)
    terminal.print(`only in ${values.compare}: ${comparison.missing.join("; ")}`);
}

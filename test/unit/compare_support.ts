/** Comparisons whose runs are made up: no process is started. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ChildEnd, ChildRequest, Launch } from "../../lib/compare/child";
import { Comparison, type ComparisonEvent, type Outcome } from "../../lib/compare/comparison";
import type { ComparedMethod } from "../../lib/compare/plan";
import { Records, type Shared } from "../../lib/compare/records";
import { type Commands, Runs } from "../../lib/compare/runs";
import { throwIfAborted } from "../../lib/job";

export const method = (label: string, rates: readonly number[] = [0.1], isFull = false): ComparedMethod => ({
  label,
  words: [`--method=${label}`],
  isFull,
  rates,
});

/** The command lines name their run: stage, method, rate and seed. */
const commands: Commands = {
  train: ({ method: { label }, rate, seed }, folder) => ["train", label, String(rate), String(seed), folder],
  test: (subject) => ["test", subject?.folder ?? "base"],
  memory: undefined,
};

/** What a run of the made-up program does. */
export interface Script {
  /** Dev loss of a training; a failure in its place. */
  readonly dev?: (label: string, rate: number, seed: number) => number | Partial<ChildEnd>;
  /** Test loss of a training's folder, or of "base"; a failure in its place. */
  readonly test?: (folder: string) => number | Partial<ChildEnd>;
  readonly batches?: (label: string, seed: number) => string | null;
  /** Before each run. */
  readonly before?: (words: readonly string[]) => void;
}

const done: ChildEnd = { status: 0, signal: null, error: undefined, stderr: "" };
export const hashOfSeed = (seed: number) => String(seed).padStart(64, "0");

/** A program that does what the script says. @returns it, and the command lines that it was given */
export function scripted({ dev = () => 1, test = () => 2, batches, before }: Script) {
  const started: (readonly string[])[] = [];
  const train = ({ words, onEvent }: ChildRequest): ChildEnd => {
    const [, label, rate, seed, folder] = words as [string, string, string, string, string];
    const loss = dev(label, Number(rate), Number(seed));
    if (typeof loss !== "number") return { ...done, status: 1, ...loss };
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "adapter_model.safetensors"), "x".repeat(100));
    onEvent({ type: "start", trainableParameters: label.length, trainRows: 9, evalRows: 3, skippedRows: 1 });
    onEvent({ type: "notice", message: `${label} says` });
    const hash = batches === undefined ? hashOfSeed(Number(seed)) : batches(label, Number(seed));
    const numbers = { steps: 5, trainLoss: 3, seconds: 1, tokensPerSecond: 100 + Number(seed), peakMemoryMib: 50 };
    onEvent({ type: "end", evalLoss: loss, batches: hash, ...numbers });
    return done;
  };
  const launch: Launch = async (request) => {
    const { words, signal, onEvent } = request;
    throwIfAborted(signal);
    started.push(words);
    before?.(words);
    throwIfAborted(signal);
    if (words[0] === "train") return train(request);
    const loss = test(words[1]!);
    if (typeof loss !== "number") return { ...done, status: 1, ...loss };
    onEvent({ loss, accuracy: 0.5, tokens: 7, skipped: 2, truncated: 0, peakMemoryMib: 40 });
    return done;
  };
  return { launch, started };
}

interface Setting {
  readonly out: string;
  readonly methods: readonly ComparedMethod[];
  readonly seeds?: number;
  readonly shared?: Shared;
  readonly signal?: AbortSignal;
}

/** Makes a comparison. @returns its outcome, what it told, and the command lines of the runs that it started */
export async function compared(
  { out, methods, seeds = 1, shared = { "--data": "a" }, signal }: Setting,
  script: Script,
) {
  const { launch, started } = scripted(script);
  const records = new Records(out, shared);
  await records.claim();
  const events: ComparisonEvent[] = [];
  const runs = new Runs(out, records, commands, launch, signal ?? new AbortController().signal);
  const watcher = { event: (event: ComparisonEvent) => events.push(event), progress: () => {} };
  const outcome: Outcome = await new Comparison(methods, seeds, runs, watcher).run();
  return { outcome, events, started };
}

/** "train red 0.1 0" of a command line, without its folder; "test FOLDER". */
export const runText = (words: readonly string[]) =>
  words[0] === "train"
    ? words.slice(0, 4).join(" ")
    : `test ${words[1]!
        .split("/")
        .at(-1)!
        .replace(/-[0-9a-f]{8}-/, " ")}`;

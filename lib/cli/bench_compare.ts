/** Compares results of a benchmark with stored ones. */
import { quoted, RubricateError } from "../errors";
import { isObject, type JsonObject, readJson } from "../files/json";
import { type Processor, processorText } from "./bench_machine";

interface Rate {
  readonly name: string;
  readonly rate: number;
}

/** What a comparison needs of a stored result: `rubricate bench --out` and a checkout's `npm run bench -- --out` write it. */
export interface Stored {
  readonly machine: JsonObject;
  readonly results: readonly Rate[];
  readonly isQuick: boolean;
}

export interface Comparison {
  /** Differences of the machines, because of which the ratios are not of the code alone; empty if there are none. */
  readonly differences: readonly string[];
  /** By case, in order: rate of the fastest run now, divided by the stored one; null where the file lacks the case. */
  readonly ratios: ReadonlyMap<string, number | null>;
  /** Cases of the file that did not run now. */
  readonly missing: readonly string[];
}

function rateOf(value: unknown): Rate | undefined {
  if (!isObject(value) || typeof value.name !== "string" || typeof value.rate !== "number" || !(value.rate > 0))
    return undefined;
  return { name: typeof value.group === "string" ? `${value.group}: ${value.name}` : value.name, rate: value.rate };
}

/** @throws RubricateError ERR_FILE, ERR_JSON */
export async function readStored(path: string): Promise<Stored> {
  const document = await readJson(path);
  const all = isObject(document) && Array.isArray(document.results) ? document.results.map(rateOf) : [];
  if (!isObject(document) || !isObject(document.machine) || all.length === 0 || all.includes(undefined))
    throw new RubricateError(
      "ERR_JSON",
      `Expected results that "rubricate bench --out" wrote in ${quoted(path)} but found another document`,
    );
  return { machine: document.machine, results: all as Rate[], isQuick: document.quick === true };
}

/** What makes figures of two machines incomparable, as text by name. A field that only one result has is not compared. */
function identity(machine: JsonObject, isQuick: boolean): Record<string, string | undefined> {
  const text = (value: unknown) => (value === undefined || value === null ? undefined : String(value));
  const { processor, kernels, path, threads, cores, device } = machine;
  return {
    processor: isObject(processor) ? processorText(processor as unknown as Processor) : text(machine.cpu),
    "instruction sets": isObject(processor) ? text(processor.flags) : undefined,
    kernels: text(kernels ?? path),
    threads: text(threads),
    processors: text(cores),
    device: text(device),
    effort: isQuick ? "--quick" : "full",
  };
}

export function compared(now: Stored, before: Stored): Comparison {
  const [ours, theirs] = [identity(now.machine, now.isQuick), identity(before.machine, before.isQuick)];
  const differences = Object.entries(ours).flatMap(([name, value]) => {
    const other = theirs[name];
    return value === undefined || other === undefined || value === other ? [] : [`${name} ${value}, not ${other}`];
  });
  const stored = new Map(before.results.map(({ name, rate }) => [name, rate]));
  const ratio = ({ name, rate }: Rate) => {
    const other = stored.get(name);
    return [name, other === undefined ? null : rate / other] as const;
  };
  const ratios = new Map(now.results.map(ratio));
  return { differences, ratios, missing: [...stored.keys()].filter((name) => !ratios.has(name)) };
}

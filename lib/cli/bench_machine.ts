/** The machine that a benchmark ran on, exactly enough to tell processors with the same name apart. */
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg } from "node:os";
import { deviceText } from "../model/device";
import type { LanguageModel } from "../model/model";
import { native } from "../native";
import { version } from "./help";

/** As /proc/cpuinfo has it; many cloud processors are all called "AMD EPYC". */
export interface Processor {
  readonly name: string;
  readonly vendor?: string;
  readonly family?: string;
  readonly model?: string;
  readonly stepping?: string;
  /** Instruction sets that matter to kernels, sorted, with spaces between. */
  readonly flags: string;
}

/** The names are those of x64; arm64 has others. */
const keys = {
  vendor: ["vendor_id", "CPU implementer"],
  family: ["cpu family", "CPU architecture"],
  model: ["model", "CPU part"],
  stepping: ["stepping", "CPU variant"],
};
const vectorFlags = /^(sse4_2|avx|fma|f16c|amx|gfni|asimd|sve|sme2?$|bf16|i8mm|fphp)/;

/** @param text of /proc/cpuinfo, of which the first processor counts; empty where there is none */
export function processorOf(text: string, fallback: string): Processor {
  const [first = ""] = text.split(/\n\n/);
  const fields = new Map(
    first.split("\n").flatMap((line) => {
      const [, key, value] = /^([^:\t]+?)\s*:\s*(.*)$/.exec(line) ?? [];
      return key === undefined ? [] : [[key, value ?? ""] as const];
    }),
  );
  const field = (names: readonly string[]) =>
    names.map((name) => fields.get(name)).find((value) => value !== undefined);
  const all = (field(["flags", "Features"]) ?? "").split(" ");
  return {
    name: field(["model name"])?.trim() || fallback.trim() || "unknown",
    vendor: field(keys.vendor),
    family: field(keys.family),
    model: field(keys.model),
    stepping: field(keys.stepping),
    flags: all
      .filter((flag) => vectorFlags.test(flag))
      .sort()
      .join(" "),
  };
}

/** This machine's processor. */
export function thisProcessor(): Processor {
  let text = "";
  try {
    text = readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    // not Linux
  }
  return processorOf(text, cpus()[0]?.model ?? "");
}

/** "AMD EPYC (AuthenticAMD family 25 model 1 stepping 1)". */
export function processorText({ name, vendor, family, model, stepping }: Processor): string {
  const numbers = Object.entries({ family, model, stepping }).flatMap(([key, value]) => (value ? [key, value] : []));
  const exact = [vendor ?? "", ...numbers].filter((part) => part !== "").join(" ");
  return exact === "" ? name : `${name} (${exact})`;
}

/** Operations and bytes a second that the processor reaches at most, measured in this run. */
export type Peaks = ReturnType<ReturnType<typeof native>["peakRates"]>;

export function describeMachine(model: LanguageModel) {
  const { path, threads } = native().cpu();
  return {
    processor: thisProcessor(),
    cores: availableParallelism(),
    threads,
    kernels: path,
    peaks: native().peakRates(),
    loadAverage: loadavg()[0]!,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    rubricate: version(),
    device: deviceText(model.device),
    matmul: model.device.matmul ?? null,
  };
}

export type Machine = ReturnType<typeof describeMachine>;

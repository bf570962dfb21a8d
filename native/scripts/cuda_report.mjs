// Reads the compiler's output for each kernel of the plug-in: ptxas's report, the PTX and the machine code, which build_cuda.mjs
// keeps beside the objects (nvcc_with_report.sh). Computes the occupancy on each architecture from them.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { root } from "./commands.mjs";
import { readCubin } from "./cuda_machine_code.mjs";

/** The folder of build_cuda.mjs's reports. */
export const reportFolder = join(root, "build-cuda", "native", "device", "cuda", "CMakeFiles", "rubricate_cuda.dir");

/**
 * Limits of a multiprocessor (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"): warps, blocks,
 * bytes of shared memory, and those that the system reserves for each block. All have 65,536 registers.
 */
export const architectures = {
  sm_75: { warps: 32, blocks: 16, shared: 64 << 10, reserved: 0 },
  sm_80: { warps: 64, blocks: 32, shared: 164 << 10, reserved: 1 << 10 },
  sm_86: { warps: 48, blocks: 16, shared: 100 << 10, reserved: 1 << 10 },
  sm_89: { warps: 48, blocks: 24, shared: 100 << 10, reserved: 1 << 10 },
  sm_90: { warps: 64, blocks: 32, shared: 228 << 10, reserved: 1 << 10 },
  sm_100: { warps: 64, blocks: 32, shared: 228 << 10, reserved: 1 << 10 },
  sm_120: { warps: 48, blocks: 24, shared: 100 << 10, reserved: 1 << 10 },
};

/** Those of `npm run build:cuda -- few` (native/device/cuda/CMakeLists.txt). */
export const few = ["sm_75", "sm_80", "sm_90"];

const roundUp = (value, unit) => Math.ceil(value / unit) * unit;

/**
 * The share of a multiprocessor's warps that can be resident at once, 0 to 1, by registers, shared memory and block size.
 * Registers are allocated to warps in units of 256, in each quarter of the multiprocessor separately; shared memory in units
 * of 128 bytes.
 */
export function occupancy(architecture, threads, registers, sharedBytes) {
  const limits = architectures[architecture];
  const warps = Math.ceil(threads / 32);
  const ofRegisters = Math.floor(65536 / 4 / roundUp(registers * 32, 256)) * 4;
  const shared = roundUp(sharedBytes + limits.reserved, architecture === "sm_75" ? 256 : 128);
  const blocks = Math.min(
    limits.blocks,
    Math.floor(limits.warps / warps),
    Math.floor(ofRegisters / warps),
    shared === 0 ? limits.blocks : Math.floor(limits.shared / shared),
  );
  return (blocks * warps) / limits.warps;
}

/** Each kernel of a report of `ptxas -v`: { symbol, architecture, registers, shared, spilled }, the last two in bytes. */
export function readPtxas(text) {
  const found = [];
  for (const part of text.split("Compiling entry function").slice(1)) {
    const [, symbol, architecture] = part.match(/^ '(\S+)' for '(sm_\d+)a?'/);
    const [, stores, loads] = part.match(/(\d+) bytes spill stores, (\d+) bytes spill loads/);
    const [, registers] = part.match(/Used (\d+) registers/);
    const shared = part.match(/(\d+) bytes smem/)?.[1] ?? 0;
    found.push({
      symbol,
      architecture,
      registers: Number(registers),
      shared: Number(shared),
      spilled: Number(stores) + Number(loads),
    });
  }
  return found;
}

/** Each kernel of a file of PTX: { symbol, target, threads, body }, and the compiler's version. */
export function readPtx(text) {
  const [, target] = text.match(/^\.target (sm_\d+)/m);
  const version = text.match(/release [\d.]+, V([\d.]+)/)?.[1];
  const kernels = text
    .split(/^(?:\.visible |\.weak )*\.entry /m)
    .slice(1)
    .map((part) => {
      const body = part.slice(0, part.search(/^}/m));
      const threads = body.match(/^\.maxntid (\d+)(?:, (\d+), (\d+))?/m)?.slice(1) ?? [];
      return {
        symbol: part.match(/^[\w$]+/)[0],
        target,
        threads: threads.reduce((product, size) => product * Number(size ?? 1), 1),
        body,
      };
    });
  return { version, kernels };
}

/** Names as in the sources, without namespaces and parameters: `matmul_plain<bf16, float, 64, 64, 4, 4>`. */
export function shortNames(symbols) {
  const { status, stdout, error } = spawnSync("c++filt", { input: symbols.join("\n"), encoding: "utf8" });
  if (status !== 0) throw error ?? new Error("c++filt failed");
  return stdout.trimEnd().split("\n").map(shortName);
}

function shortName(demangled) {
  const name = demangled
    .replaceAll("(anonymous namespace)::", "")
    .replace(/\brubricate::(cuda::)?/g, "")
    .replace(/\(bool\)([01])/g, (_, value) => (value === "1" ? "true" : "false"))
    .replace(/\(\w+\)(-?\d+)/g, "$1")
    .replace(/^void /, "");
  let depth = 0; // the parameters begin at the first parenthesis outside <>
  for (let i = 0; i < name.length; ++i) {
    if (name[i] === "<") depth++;
    if (name[i] === ">") depth--;
    if (name[i] === "(" && depth === 0) return name.slice(0, i);
  }
  return name;
}

/** Every report of a build: [{ source, ptxas, ptx, code }], by source; `source` is a name such as "attention_cuda.cu". */
export function readReports(folder) {
  const reports = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name.endsWith(".o.report"))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      const [ptx, cubins] = [".ptx", ".cubin"].map((end) => readdirSync(path).filter((file) => file.endsWith(end)));
      return {
        source: basename(entry.name, ".o.report"),
        ptxas: readPtxas(readFileSync(join(path, "ptxas.txt"), "utf8")),
        ptx: ptx.sort().map((file) => readPtx(readFileSync(join(path, file), "utf8"))),
        code: cubins.flatMap((file) => readCubin(readFileSync(join(path, file)))),
      };
    });
  if (reports.length === 0) throw new Error(`No reports in ${folder}: run npm run build:cuda`);
  return reports.sort((a, b) => (a.source < b.source ? -1 : 1));
}

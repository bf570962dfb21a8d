// Writes the table of the kernels' resources, native/device/cuda/RESOURCES.md, from the reports of `npm run build:cuda`.
//   node native/scripts/cuda_resources.mjs [--check | --check-few | --slower] [REPORTS [TABLE]]
// Exits with 1 if a kernel spills registers, does not fit or lacks an architecture; with --check also if the table differs from the
// build; with --check-few only in the columns of `npm run build:cuda -- few`. Does not write the table, and exits with 1, if a kernel
// has more instructions for the same work than the table says; --slower writes it nevertheless.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./commands.mjs";
import { architectures, few, occupancy, readReports, reportFolder, shortNames } from "./cuda_report.mjs";

/** Bytes of dynamic shared memory that the launchers request for kernels that use it, from their template arguments. */
const dynamicShared = {
  attention_forward_tensor_cores: (dim) => 3 * 64 * (dim + 8) * 2,
  attention_query_gradient: (dim) => 4 * 64 * (dim + 8) * 2,
  attention_key_gradient: (dim) => (2 * 64 + 4 * 32) * (dim + 8) * 2 + 4 * 32 * 4,
  matmul_tensor_cores: (_type, _a, _b, m, n, _down, _across, stages) => stages * (m + n) * 32 * 2,
};

function dynamicBytes(kernel, body) {
  if (!body.includes("rubricate_dynamic_")) return 0;
  const [, name, parameters] = kernel.match(/^(\w+)(?:<(.*)>)?$/);
  if (!dynamicShared[name])
    throw new Error(`cuda_resources.mjs does not know how much dynamic shared memory ${kernel} has`);
  return dynamicShared[name](...parameters.split(", ").map((value) => (/^\d+$/.test(value) ? Number(value) : value)));
}

/** Rows { source, kernel, threads, shared, cells }, cells by architecture. */
function rowsOf({ source, ptxas, ptx, code }) {
  const inPtx = ptx.flatMap(({ kernels }) => kernels);
  const names = ptxas.length > 0 ? shortNames(ptxas.map(({ symbol }) => symbol)) : [];
  const rows = new Map();
  ptxas.forEach(({ symbol, architecture, registers, shared, spilled }, i) => {
    const kernel = names[i];
    const older = architecture === "sm_75";
    const { threads, body } = inPtx.find((one) => one.symbol === symbol && (one.target === "sm_75") === older);
    const row = rows.get(symbol) ?? { source, kernel, threads, shared: 0, cells: {} };
    const bytes = shared + dynamicBytes(kernel, body);
    const share = Math.round(100 * occupancy(architecture, threads, registers, bytes));
    row.shared = Math.max(row.shared, bytes);
    const cost = code.find((one) => one.symbol === symbol && one.architecture === architecture)?.cost;
    row.cells[architecture] = { registers, spilled, share, cost, runs: !body.includes("trap;") };
    rows.set(symbol, row);
  });
  return [...rows.values()].sort((a, b) => (a.kernel < b.kernel ? -1 : 1));
}

function cellText(cell) {
  if (cell === undefined) return "missing";
  if (!cell.runs) return "-";
  const cost = cell.cost ? ` / ${costText(cell.cost)}` : "";
  return `${cell.registers} / ${cell.share} %${cost}${cell.spilled > 0 ? ` / **${cell.spilled} spilled**` : ""}`;
}

const costText = ({ unit, instructions }) => `${instructions.toFixed(1)}${unit === "mma" ? " m" : ""}`;

/** @param columns architectures */
function tableOf(rows, version, columns) {
  const lines = [
    "# Resources of the kernels",
    "",
    `Made by \`node native/scripts/cuda_resources.mjs\` after \`npm run build:cuda\`, from the report of nvcc ${version}. For each`,
    "kernel: threads of a block; bytes of shared memory of a block, static and dynamic; then for each architecture registers of",
    "a thread / expected occupancy, the share of a multiprocessor's warps that registers, shared memory and the block's size let",
    "be resident at once / instructions in the kernel's main loop for each access of 16 bytes to global memory, or, with `m`, for",
    "each tensor core instruction (mma.sync). Bytes of registers spilled to memory follow, if any. `-`: not run there.",
  ];
  let source;
  for (const row of rows) {
    if (row.source !== source) {
      source = row.source;
      lines.push("", `## ${source}`, "", `| kernel | threads | shared | ${columns.join(" | ")} |`);
      lines.push(`|---|---${"|---".repeat(columns.length + 1)}|`);
    }
    const cells = columns.map((architecture) => cellText(row.cells[architecture]));
    lines.push(`| \`${row.kernel}\` | ${row.threads} | ${row.shared} | ${cells.join(" | ")} |`);
  }
  return `${lines.join("\n")}\n`;
}

/** The committed table with these architectures alone. */
function withColumns(table, columns) {
  const all = Object.keys(architectures);
  const keeps = (at) => at < 4 || at >= 4 + all.length || columns.includes(all[at - 4]);
  const narrowed = (line) =>
    line
      .split("|")
      .filter((_, at) => keeps(at))
      .join("|");
  return table
    .split("\n")
    .map((line) => (line.startsWith("|") ? narrowed(line) : line))
    .join("\n");
}

function problemsOf(rows, columns) {
  const problems = [];
  for (const { source, kernel, threads, cells } of rows) {
    if (threads === 1) problems.push(`${kernel} (${source}) has no __launch_bounds__`);
    for (const architecture of columns) {
      const cell = cells[architecture];
      if (!cell) problems.push(`${kernel} (${source}) was not compiled for ${architecture}: npm run build:cuda`);
      else if (cell.runs && cell.share === 0) problems.push(`${kernel} (${source}) does not fit on ${architecture}`);
      else if (cell.spilled > 0)
        problems.push(`${kernel} (${source}) spills ${cell.spilled} bytes of registers on ${architecture}`);
    }
  }
  return problems;
}

/** Kernels with more instructions for the same work than in the committed table. */
function slower(committed, rows, columns) {
  const cells = new Map();
  let source;
  for (const line of committed.split("\n")) {
    source = line.match(/^## (.+)/)?.[1] ?? source;
    const [, kernel, ...rest] = line.match(/^\| `(.+)` \| \d+ \| \d+ \| (.*) \|$/) ?? [];
    if (kernel) cells.set(`${source} ${kernel}`, rest[0].split(" | "));
  }
  const all = Object.keys(architectures);
  return rows.flatMap((row) =>
    columns.flatMap((architecture) => {
      const text = cells.get(`${row.source} ${row.kernel}`)?.[all.indexOf(architecture)];
      const before = Number(text?.split(" / ")[2]?.split(" ")[0]);
      const now = row.cells[architecture]?.cost?.instructions;
      if (!(now > before * 1.02)) return [];
      return [`${row.kernel} has ${now.toFixed(1)} instructions for the work of ${before} on ${architecture}`];
    }),
  );
}

/** The first lines that differ between the committed table and the build's. */
function differences(committed, made) {
  const [was, is] = [committed.split("\n"), made.split("\n")];
  const lost = was.filter((line) => !is.includes(line)).map((line) => `- ${line}`);
  const added = is.filter((line) => !was.includes(line)).map((line) => `+ ${line}`);
  return [...lost.slice(0, 20), ...added.slice(0, 20)];
}

const isFew = process.argv.includes("--check-few");
const check = isFew || process.argv.includes("--check");
const columns = isFew ? few : Object.keys(architectures);
const [folder = reportFolder, file = join(root, "native", "device", "cuda", "RESOURCES.md")] = process.argv
  .slice(2)
  .filter((argument) => !argument.startsWith("--"));
const reports = readReports(folder);
const rows = reports.flatMap(rowsOf);
const table = tableOf(rows, reports.flatMap(({ ptx }) => ptx)[0].version, columns);
const problems = problemsOf(rows, columns);
if (!check) {
  const worse = process.argv.includes("--slower")
    ? []
    : slower(existsSync(file) ? readFileSync(file, "utf8") : "", rows, columns);
  if (worse.length === 0) writeFileSync(file, table);
  else problems.push(`${file} is not written; --slower writes it:`, ...worse);
} else {
  const committed = withColumns(readFileSync(file, "utf8"), columns);
  if (committed !== table) {
    problems.push(`${file} differs from the build; node native/scripts/cuda_resources.mjs renews it:`);
    problems.push(...differences(committed, table));
  }
}
for (const problem of problems) console.error(problem);
console.log(`${rows.length} kernels, ${columns.length} architectures, ${problems.length} problems`);
process.exit(problems.length === 0 ? 0 : 1);

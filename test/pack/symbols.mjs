// Checks what an addon asks of the system: `node test/pack/symbols.mjs [ADDON]` (build/Release/rubricate.node where none is named).
// At most GLIBC_2.28 and GLIBCXX_3.4.25, which the oldest systems have that run Node 20; nothing exported but Node-API's entry
// points; never unloaded.
import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const addon = process.argv[2] ?? join(root, "build", "Release", "rubricate.node");
const floors = { GLIBC: "2.28", GLIBCXX: "3.4.25", CXXABI: "1.3.11", GCC: "7.0.0" };
const entryPoints = new Set(["napi_register_module_v1", "node_api_module_get_api_version_v1"]);

const parts = (version) => version.split(".").map(Number);
function newer(a, b) {
  const [x, y] = [parts(a), parts(b)];
  const at = x.findIndex((number, i) => number !== (y[i] ?? 0));
  return at >= 0 && x[at] > (y[at] ?? 0);
}

const problems = [];
const symbols = execFileSync("objdump", ["-T", addon], { encoding: "utf8", maxBuffer: 2 ** 26 });
const highest = {};
for (const line of symbols.split("\n")) {
  const needed = line.match(/\((GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+)\)\s+(\S+)$/);
  if (needed) {
    const [, library, version, name] = needed;
    if (!highest[library] || newer(version, highest[library])) highest[library] = version;
    if (newer(version, floors[library]))
      problems.push(`${name} needs ${library}_${version}, above the floor of ${floors[library]}`);
  } else if (/ (g|w) +D[FO]? /.test(line) && !line.includes("*UND*") && !entryPoints.has(line.split(/\s+/).at(-1))) {
    problems.push(`${line.split(/\s+/).at(-1)} is exported`);
  }
}
const dynamic = execFileSync("readelf", ["-d", addon], { encoding: "utf8" });
if (!/FLAGS_1.*NODELETE/.test(dynamic)) problems.push("it was linked without -z nodelete");
const libraries = [...dynamic.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name]) => name);
const expected = /^(lib(stdc\+\+|gcc_s|m|c|dl|pthread)\.so|ld-linux)/;
for (const name of libraries) if (!expected.test(name)) problems.push(`it needs ${name}`);

for (const problem of problems) console.error(`${addon}: ${problem}`);
const summary = Object.entries(highest).map(([library, version]) => `${library}_${version}`);
console.log(`${addon}: ${summary.join(", ")}; ${libraries.join(", ")}`);
process.exit(problems.length === 0 ? 0 : 1);

// Checks the system requirements of our libraries: `node test/pack/symbols.mjs [FILE...]` (default build/Release/rubricate.node).
// The addon: at most GLIBC_2.28 and GLIBCXX_3.4.25, which the oldest systems that run Node 20 have; exports only Node-API's entry
// points; is never unloaded. The CUDA plug-in, a .so: at most GLIBC_2.34, which the statically linked CUDA runtime needs; nothing
// of libstdc++; exports exactly its two functions.
import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const kinds = {
  addon: {
    floors: { GLIBC: "2.28", GLIBCXX: "3.4.25", CXXABI: "1.3.11", GCC: "7.0.0" },
    exported: ["napi_register_module_v1"],
    mayExport: ["node_api_module_get_api_version_v1"],
    libraries: /^(lib(stdc\+\+|gcc_s|m|c|dl|pthread)\.so|ld-linux)/,
  },
  plugin: {
    floors: { GLIBC: "2.34", GLIBCXX: "3.4.25", CXXABI: "1.3.11", GCC: "7.0.0" },
    exported: ["rubricate_device", "rubricate_kernel"],
    mayExport: [],
    libraries: /^(lib(stdc\+\+|gcc_s|m|c|dl|pthread|rt)\.so|ld-linux)/,
  },
};

const parts = (version) => version.split(".").map(Number);
function newer(a, b) {
  const [x, y] = [parts(a), parts(b)];
  const at = x.findIndex((number, i) => number !== (y[i] ?? 0));
  return at >= 0 && x[at] > (y[at] ?? 0);
}

function check(file) {
  const { floors, exported, mayExport, libraries: expected } = file.endsWith(".so") ? kinds.plugin : kinds.addon;
  const problems = [];
  const symbols = execFileSync("objdump", ["-T", file], { encoding: "utf8", maxBuffer: 2 ** 26 });
  const highest = {};
  const found = [];
  for (const line of symbols.split("\n")) {
    const needed = line.match(/\((GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+)\)\s+(\S+)$/);
    if (needed) {
      const [, library, version, name] = needed;
      if (!highest[library] || newer(version, highest[library])) highest[library] = version;
      if (!floors[library]) problems.push(`${name} needs ${library}`);
      else if (newer(version, floors[library]))
        problems.push(`${name} needs ${library}_${version}, above the floor of ${floors[library]}`);
    } else if (/ (g|w) +D[FO]? /.test(line) && !line.includes("*UND*")) {
      found.push(line.split(/\s+/).at(-1));
    }
  }
  for (const name of found) if (![...exported, ...mayExport].includes(name)) problems.push(`${name} is exported`);
  for (const name of exported) if (!found.includes(name)) problems.push(`${name} is not exported`);
  const dynamic = execFileSync("readelf", ["-d", file], { encoding: "utf8" });
  if (file.endsWith(".node") && !/FLAGS_1.*NODELETE/.test(dynamic)) problems.push("it was linked without -z nodelete");
  const libraries = [...dynamic.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name]) => name);
  for (const name of libraries) if (!expected.test(name)) problems.push(`it needs ${name}`);

  for (const problem of problems) console.error(`${file}: ${problem}`);
  const summary = Object.entries(highest).map(([library, version]) => `${library}_${version}`);
  console.log(`${file}: ${summary.join(", ")}; ${libraries.join(", ")}`);
  return problems.length === 0;
}

const files = process.argv.length > 2 ? process.argv.slice(2) : [join(root, "build", "Release", "rubricate.node")];
process.exit(files.map(check).every(Boolean) ? 0 : 1);

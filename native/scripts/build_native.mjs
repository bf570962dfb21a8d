// Builds the addon into build/Release/rubricate.node: with cmake-js if cmake is installed, else with node-gyp. In an installed package
// `npm run build:gyp` calls it; it has neither cmake-js nor node-gyp, but npm has a node-gyp of its own in the PATH of its scripts.
//   node native/scripts/build_native.mjs [cmake|gyp]
//   node native/scripts/build_native.mjs --target linux-arm64      in build-linux-arm64, with a cross compiler
// RUBRICATE_JOBS: number of parallel compiler processes (default 2).
import { copyFileSync, existsSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { jobs, root, run, works } from "./commands.mjs";
import { buildFor, targetOption } from "./cross.mjs";

const require = createRequire(join(root, "package.json"));

/** The folder of Node's installed headers, if any, so that node-gyp need not download them. */
function headers() {
  const prefix = join(dirname(process.execPath), "..");
  return existsSync(join(prefix, "include", "node", "node_api.h")) ? [`--nodedir=${prefix}`] : [];
}

export function buildWithCmake() {
  // node-gyp builds in the same folder; its files would confuse CMake.
  if (existsSync(join(root, "build", "config.gypi"))) rmSync(join(root, "build"), { recursive: true, force: true });
  run(process.execPath, [require.resolve("cmake-js/bin/cmake-js"), "build", "--parallel", jobs]);
}

function nodeGyp() {
  try {
    return [process.execPath, require.resolve("node-gyp/bin/node-gyp.js")];
  } catch {
    if (works("node-gyp")) return ["node-gyp"];
    console.error("Expected node-gyp in PATH but there is none: use npm run build:gyp, because npm has one.");
    process.exit(1);
  }
}

export function buildWithGyp() {
  const [command, ...program] = nodeGyp();
  run(command, [...program, "rebuild", `--jobs=${jobs}`, ...headers()]);
  // The addon looks for the plug-in in its own folder.
  const plugin = "librubricate_cuda.so";
  const shipped = join(root, "prebuilds", `${process.platform}-${process.arch}`, plugin);
  if (existsSync(shipped)) copyFileSync(shipped, join(root, "build", "Release", plugin));
}

/** Ends this process with a sentence if nothing can be built here. */
function requireTools(gyp) {
  const compiler = process.env.CXX?.split(" ")[0] ?? "c++";
  const missing = [compiler, ...(gyp ? ["make", process.env.PYTHON ?? "python3"] : [])].filter((tool) => !works(tool));
  if (process.platform === "win32" || missing.length === 0) return;
  console.error(
    `Building rubricate from source needs a C++20 compiler, and cmake or make with Python, but ${missing.join(", ")} cannot be run.`,
  );
  process.exit(1);
}

export function build(how) {
  const gyp = how === "gyp" || (how === undefined && !works("cmake"));
  requireTools(gyp);
  if (gyp) buildWithGyp();
  else buildWithCmake();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { target, rest } = targetOption(process.argv.slice(2));
  if (target === undefined) build(rest[0]);
  else buildFor(target);
}

// Builds the addon into build/Release/rubricate.node: with cmake-js if cmake is installed, else with node-gyp.
//   node native/scripts/build_native.mjs [cmake|gyp]
// RUBRICATE_JOBS: number of parallel compiler processes (default 2).
import { existsSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { jobs, root, run, works } from "./commands.mjs";

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

export function buildWithGyp() {
  run(process.execPath, [require.resolve("node-gyp/bin/node-gyp.js"), "rebuild", `--jobs=${jobs}`, ...headers()]);
}

export function build(how) {
  if (how === "gyp" || (how === undefined && !works("cmake"))) buildWithGyp();
  else buildWithCmake();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build(process.argv[2]);

// Builds the fuzz targets of the native parsers with clang, and runs each for a while.
//   node test/fuzz/native.mjs [--seconds N] [--only NAME]... [--jobs N]
//
// --seconds  for each target (default 20)
// --only     json, safetensors or architecture; may be given several times
// --jobs     targets that run at once (default 1)
//
// Prints executions and coverage. The exit status is 1 if a target crashes, leaks, exceeds a limit of time or memory,
// or cannot be built. The corpus is kept in build-fuzz/corpus, and the next run starts from it.
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { generator, jobs, root, run, works } from "../../native/scripts/commands.mjs";
import { seeds } from "./native_seeds.mjs";

const folder = join(root, "build-fuzz");
const { values: options } = parseArgs({
  options: {
    seconds: { type: "string", default: "20" },
    only: { type: "string", multiple: true, default: [] },
    jobs: { type: "string", default: "1" },
  },
});

function build() {
  const clang = process.env.CLANGXX ?? "clang++";
  if (!works(clang) || !works("cmake")) {
    console.error(`The fuzz targets need cmake and ${clang}; install clang, or name another one in CLANGXX.`);
    process.exit(1);
  }
  run("cmake", ["-S", root, "-B", folder, ...generator(), "-DRUBRICATE_FUZZ=ON", `-DCMAKE_CXX_COMPILER=${clang}`]);
  run("cmake", ["--build", folder, "--target", "fuzzers", "--parallel", jobs]);
}

function corpusOf(name) {
  const corpus = join(folder, "corpus", name);
  mkdirSync(corpus, { recursive: true });
  seeds[name].forEach((seed, at) => {
    writeFileSync(join(corpus, `seed-${at}`), seed);
  });
  return corpus;
}

/** Runs a target to its end and resolves to { name, status, log }. */
function fuzz(name) {
  const args = [
    corpusOf(name),
    `-dict=${join(root, "test", "fuzz", "native", `${name}.dict`)}`,
    `-max_total_time=${options.seconds}`,
    `-artifact_prefix=${join(folder, `${name}-`)}`,
    ...["-max_len=65536", "-timeout=10", "-rss_limit_mb=1024", "-malloc_limit_mb=64", "-print_final_stats=1"],
  ];
  return new Promise((resolve, reject) => {
    const child = spawn(join(folder, "test", "fuzz", `fuzz_${name}`), args, { stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (text) => {
      log = (log + text).slice(-(1 << 20)); // the end has the result; coverage is repeated throughout
    });
    child.on("error", reject).on("close", (status) => resolve({ name, status, log }));
  });
}

function report({ name, status, log }) {
  const executions = Number(log.match(/number_of_executed_units:\s*(\d+)/)?.[1] ?? 0);
  const covered = [...log.matchAll(/cov: (\d+) ft: (\d+)/g)].at(-1) ?? [];
  const [, edges = 0, features = 0] = covered;
  const text = `${executions} executions, ${edges} edges and ${features} features covered`;
  console.log(`${name.padEnd(14)} ${status === 0 ? "passed" : "FAILED"}  ${text}`);
  if (status !== 0) console.log(log.slice(-6000));
}

build();
const names = options.only.length > 0 ? options.only : Object.keys(seeds);
const unknown = names.filter((name) => !Object.hasOwn(seeds, name));
if (unknown.length > 0) {
  console.error(`There is no fuzz target ${unknown.join(", ")}; there are ${Object.keys(seeds).join(", ")}.`);
  process.exit(2);
}
const waiting = [...names];
const worker = async () => {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    const result = await fuzz(name);
    report(result);
    if (result.status !== 0) process.exitCode = 1;
  }
};
await Promise.all(Array.from({ length: Number(options.jobs) }, worker));

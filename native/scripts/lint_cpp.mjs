// Checks the layout of every tracked C++ file with clang-format; with --write, corrects it.
// Without clang-format it prints a message, and fails only if CI is set.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const write = process.argv.includes("--write");

const listed = spawnSync("git", ["ls-files", "-z", "native", "bench", "test"], { cwd: root, encoding: "utf8" });
if (listed.status !== 0) throw new Error(`git ls-files failed: ${listed.stderr}`);
const files = listed.stdout
  .split("\0")
  .filter((file) => /\.(cc|h|inl|cuh?)$/.test(file) && !file.startsWith("native/third_party/"));

if (spawnSync("clang-format", ["--version"], { stdio: "ignore" }).status !== 0) {
  console.log("clang-format is not installed: the layout of the C++ files was not checked.");
  process.exit(process.env.CI ? 1 : 0);
}
const { status } = spawnSync("clang-format", [...(write ? ["-i"] : ["--dry-run", "-Werror"]), ...files], {
  cwd: root,
  stdio: "inherit",
});
process.exit(status ?? 1);

// Shared by the scripts that build and test the native parts.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout. */
export const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
/** Number of parallel compiler processes. */
export const jobs = process.env.RUBRICATE_JOBS ?? "2";

/** The sanitizers that the tests are built with. */
export const sanitize = process.env.RUBRICATE_SANITIZE ?? "";

/** Whether a command can be run. */
export const works = (command) => spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0;

/** CMake's generator: ninja if it is installed. */
export const generator = () => (works("ninja") ? ["-G", "Ninja"] : []);

/** Runs a command in the checkout and shows its output; if it fails, ends this process with its status. */
export function run(command, args, environment = {}) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...environment },
  });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

/**
 * Builds targets of the C++ tests, with the sanitizers of RUBRICATE_SANITIZE (`address,undefined`, `thread` or none), and returns
 * the folder. If the addon was built with cmake, they are built beside it, from the same objects; else, and with sanitizers, in
 * build-tests or build-tests-SANITIZERS.
 */
export function buildTests(targets, options = []) {
  if (!works("cmake")) {
    console.error("The C++ tests need cmake; install it, or run only the package's tests with npm run test:js.");
    process.exit(1);
  }
  const withAddon = !sanitize && existsSync(join(root, "build", "CMakeCache.txt"));
  const own = sanitize ? `build-tests-${sanitize.replaceAll(",", "-")}` : "build-tests";
  const folder = join(root, withAddon ? "build" : own);
  const settings = ["-DRUBRICATE_TESTS=ON", `-DRUBRICATE_SANITIZE=${sanitize}`, ...options];
  run("cmake", ["-S", root, "-B", folder, ...(withAddon ? [] : generator()), ...settings]);
  run("cmake", ["--build", folder, "--parallel", jobs, "--target", ...targets]);
  return folder;
}

/** Sanitizer options: the first finding ends the tests, with a stack trace. */
export const sanitizerOptions = {
  UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
  TSAN_OPTIONS: "halt_on_error=1",
};

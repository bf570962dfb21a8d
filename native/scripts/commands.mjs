// What the scripts that build and test the native parts share.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout. */
export const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
/** Compilers that run at once. */
export const jobs = process.env.RUBRICATE_JOBS ?? "2";

/** Whether a command can be run at all. */
export const works = (command) => spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0;

/** CMake's choice of a generator: ninja where it is installed. */
export const generator = () => (works("ninja") ? ["-G", "Ninja"] : []);

/** Runs a command in the checkout, its output shown; ends this process with its status where it fails. */
export function run(command, args, environment = {}) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...environment },
  });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
